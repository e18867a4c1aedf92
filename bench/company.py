"""Counts how much of another client's long prompt was computed while a user waited for a token.

Pure. It is a count, not a time. So it tells a slice from a whole prompt even on a machine so busy
that milliseconds mean nothing. It needs a contender that reports its prompts' progress step by
step, as umad does.
"""

import bisect
import itertools
from collections.abc import Sequence

from bench.latency import Trace


def background_tokens_per_wait(
    interactive: Sequence[Trace], background: Sequence[Trace]
) -> list[int]:
    """For each wait between two messages of an interactive stream, ascending."""
    told_ns: list[int] = []
    so_far: list[int] = [0]
    for trace in sorted(background, key=lambda each: each.sent_ns):
        before = so_far[-1]
        for progress in trace.prompt:
            told_ns.append(progress.at_ns)
            so_far.append(before + progress.tokens)

    def computed(at_ns: int) -> int:
        return so_far[bisect.bisect_right(told_ns, at_ns)]

    waits = []
    for trace in interactive:
        times = sorted({arrival.at_ns for arrival in trace.arrivals})
        waits += [computed(later) - computed(first) for first, later in itertools.pairwise(times)]
    return sorted(waits)
