"""Turns the times at which tokens reached a client into speeds. Pure: no clock, no I/O.

A stream is what one request got back: a list of `Arrival`, oldest first. All times come from
one clock of the measuring process.
"""

import dataclasses
from collections.abc import Sequence

from bench.errors import BenchError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One message with tokens in it; a message may carry several, or finish an earlier one."""

    at_ns: int
    tokens: int  # of this stream so far, this message's included


def decode_tokens_per_s(streams: Sequence[Sequence[Arrival]]) -> float:
    """Decode speed of all streams together while every one of them was decoding.

    The window opens when the last stream got its first token and closes when the first stream
    got its last, so no prompt and no idle place is in it: what llama-batched-bench calls S_TG.
    Each stream's speed is taken between its own first and last arrival inside the window; the
    sum has no error from where the window's edges fall between two arrivals.

    Raises BenchError when some stream has fewer than two arrivals in the window.
    """
    if not streams or any(not stream for stream in streams):
        raise BenchError("a stream ended without a token; the contender's log says why")
    opens_ns = max(stream[0].at_ns for stream in streams)
    closes_ns = min(stream[-1].at_ns for stream in streams)
    total = 0.0
    for stream in streams:
        inside = [arrival for arrival in stream if opens_ns <= arrival.at_ns <= closes_ns]
        if len(inside) < 2 or inside[0].at_ns == inside[-1].at_ns:
            raise BenchError("the streams did not decode side by side; ask for more tokens")
        span_ns = inside[-1].at_ns - inside[0].at_ns
        total += (inside[-1].tokens - inside[0].tokens) * 1e9 / span_ns
    return total
