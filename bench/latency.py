"""Computes what a client felt from the times of its tokens. Pure: no clock, no I/O.

The unit is the *wait*: the time between two messages that brought text. A message with several
tokens ends one wait, and messages that were read at one moment end one wait between them, because
that is when a user sees something. So tokens that came in a bunch give nobody credit.

A wait that was still open when the window closed counts with the length it had, if it is longer
than the median of those that ended. Without this rule a stream that stalled to the end would have
no stall in its figures. With all open waits, the short ones, which say nothing, would lower the
figures. Where no client got a second token, only the waits for a first token that were open at the
end exist, and they count.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence

from bench.arrivals import Arrival
from bench.errors import BenchError

_MS = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One request as its client saw it. ended: it got its last token before the window closed."""

    sent_ns: int
    arrivals: tuple[Arrival, ...] = ()  # of text
    prompt: tuple[Arrival, ...] = ()  # prompt tokens computed so far, as the contender told
    ended: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Felt:
    """What the interactive clients of one window felt, all of them together."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    longest_ms: float
    first_token_p50_ms: float
    first_token_p95_ms: float
    tokens_per_s: float


def felt(traces: Sequence[Trace], *, opened_ns: int, closed_ns: int) -> Felt:
    """Figures of all `traces`; raises BenchError when nothing was waited for in the window."""
    between: list[int] = []
    between_open: list[int] = []
    first: list[int] = []
    first_open: list[int] = []
    tokens = 0
    for trace in traces:
        times = sorted({arrival.at_ns for arrival in trace.arrivals})
        between += [later - before for before, later in itertools.pairwise(times)]
        if times:
            first.append(times[0] - trace.sent_ns)
            tokens += trace.arrivals[-1].tokens
            if not trace.ended:
                between_open.append(closed_ns - times[-1])
        else:
            first_open.append(closed_ns - trace.sent_ns)
    waits_ms = _with_open(between, between_open)
    first_ms = _with_open(first, first_open)
    if not waits_ms:
        # Nobody got a second token: what they waited for the first one, they waited for text.
        waits_ms = _with_open([], first_open)
    if not waits_ms or not first_ms:
        raise BenchError("no interactive stream got two tokens in the window; give more --seconds")
    return Felt(
        p50_ms=percentile(waits_ms, 50),
        p95_ms=percentile(waits_ms, 95),
        p99_ms=percentile(waits_ms, 99),
        longest_ms=waits_ms[-1],
        first_token_p50_ms=percentile(first_ms, 50),
        first_token_p95_ms=percentile(first_ms, 95),
        tokens_per_s=tokens * 1e9 / (closed_ns - opened_ns),
    )


def since(trace: Trace, opened_ns: int) -> Trace:
    """What of a request lies in a window that opened while its answer was under way. The wait that
    was open then counts from its beginning."""
    n_before = sum(arrival.at_ns < opened_ns for arrival in trace.arrivals)
    kept = trace.arrivals[max(0, n_before - 1) :]
    n_tokens = kept[0].tokens if n_before and kept else 0
    arrivals = tuple(
        dataclasses.replace(arrival, tokens=arrival.tokens - n_tokens) for arrival in kept
    )
    return dataclasses.replace(trace, sent_ns=opened_ns, arrivals=arrivals)


def first_token_ms(trace: Trace) -> float:
    """From sending the request to its first text; raises BenchError when none came."""
    if not trace.arrivals:
        raise BenchError("a request ended without a token; the contender's log says why")
    return (trace.arrivals[0].at_ns - trace.sent_ns) / _MS


def prompt_tokens_per_s(traces: Sequence[Trace], *, opened_ns: int, closed_ns: int) -> float:
    """Prompt tokens computed in the window, as far as the contender had told of them.

    llama-server tells after each batch of up to 2,048 tokens: what it had computed of the one
    that was running when the window closed is not in its figure, so short windows wrong it.
    """
    tokens = sum(trace.prompt[-1].tokens for trace in traces if trace.prompt)
    return tokens * 1e9 / (closed_ns - opened_ns)


def left_idle(traces: Sequence[Trace], *, opened_ns: int, closed_ns: int) -> float:
    """Share of the window, 0 to 1, in which none of these requests was under way."""
    idle_ns, quiet_since_ns = 0, opened_ns
    for trace in sorted(traces, key=lambda trace: trace.sent_ns):
        idle_ns += max(0, trace.sent_ns - quiet_since_ns)
        ended_ns = trace.arrivals[-1].at_ns if trace.ended and trace.arrivals else closed_ns
        quiet_since_ns = max(quiet_since_ns, ended_ns)
    return (idle_ns + max(0, closed_ns - quiet_since_ns)) / (closed_ns - opened_ns)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The least value that at least `percent` % of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _with_open(ended: Sequence[int], still_open: Sequence[int]) -> list[float]:
    """Both in ms, ascending, without the open ones that say nothing."""
    usual = statistics.median(ended) if ended else 0
    waits = [*ended, *(wait for wait in still_open if wait > usual)]
    return sorted(wait / _MS for wait in waits)
