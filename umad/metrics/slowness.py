"""Tells what the gaps of readers coincided with, for "who slows me" of `umad top`. Pure numpy.

A gap's causes are bits of one number. What the gap's own step carried comes with its tokens
(`umad.step`). The rest is looked up at a snapshot, so that a token costs nothing more:

    cores        other programs had the cores for at least half of the time by which the gap
                 exceeded its solo, as the engine's reports of that time say
    other_model  the engine of another model worked meanwhile
    restart      the model's engine was started again meanwhile

A gap may have several causes, or none: then umad was not the reason, as far as umad can see. To
coincide is not to cause: a report covers a fifth of a second, so a cause may be told of a gap that
happened beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.metrics.rows import Rows
from umad.step import CARRIED_BACKGROUND, CARRIED_COPY, CARRIED_EMBEDDING, CARRIED_PROMPT

_CORES, _OTHER_MODEL, _RESTART = 1 << 8, 1 << 9, 1 << 10
# In the order in which they are told.
CAUSES: Mapping[str, int] = {
    "background": CARRIED_BACKGROUND,
    "prompt": CARRIED_PROMPT,
    "copy": CARRIED_COPY,
    "embedding": CARRIED_EMBEDDING,
    "cores": _CORES,
    "other_model": _OTHER_MODEL,
    "restart": _RESTART,
}
NOTHING = "nothing"
# Of the time by which a gap is too long, cores that were lost for so much of it count as a cause.
_CORES_SHARE = 0.5

Bits = NDArray[np.uint16]


def causes_of(arrivals: Rows, steps: Rows, restarts_ns: Mapping[int, Sequence[int]]) -> Bits:
    """The causes of each arrival's gap, as bits of `CAUSES`; 0 where there is no gap. Of a gap that
    is no longer than its solo nobody asks: it has the bits of its step alone.

    arrivals, steps: rows of a window, of all models. restarts_ns: when each model's engine was
    started again, by the model's number.
    """
    found: Bits = arrivals["carried"].astype(np.uint16)
    gaps_ms = arrivals["gap_ms"]
    is_gap = ~np.isnan(gaps_ms)
    found[~is_gap] = 0
    until_ns = arrivals["at_ns"]
    from_ns = until_ns - (np.where(is_gap, gaps_ms, 0.0) * 1e6).astype(np.int64)
    late_ms = gaps_ms - arrivals["solo_ms"]
    is_late = late_ms > 0  # false where one of both is not known
    for model in np.unique(arrivals["model"]):
        mine = np.flatnonzero(is_late & (arrivals["model"] == model))
        if not mine.size:
            continue
        spans = (from_ns[mine], until_ns[mine])
        reports = steps[steps["model"] == model]
        lost_ms = _overlapping(reports, reports["coreless_ms"], *spans)
        lost = (lost_ms > 0) & (lost_ms >= _CORES_SHARE * late_ms[mine])
        found[mine[lost]] |= _CORES
        others = steps[(steps["model"] != model) & (steps["device_ms"] > 0)]
        busy = np.zeros(mine.size, dtype=np.bool_)
        for other in np.unique(others["model"]):
            theirs = others[others["model"] == other]
            busy |= _overlapping(theirs, theirs["device_ms"], *spans) > 0
        found[mine[busy]] |= _OTHER_MODEL
        for at_ns in restarts_ns.get(int(model), ()):
            found[mine[(spans[0] < at_ns) & (at_ns <= spans[1])]] |= _RESTART
    return found


def _overlapping(
    reports: Rows, amounts: NDArray[Any], from_ns: NDArray[Any], until_ns: NDArray[Any]
) -> NDArray[Any]:
    """For each span, the amounts of the reports that overlap it. Reports are in order of time and
    do not overlap one another.
    """
    summed = np.concatenate(([0.0], np.cumsum(amounts)))
    first = np.searchsorted(reports["at_ns"], from_ns, side="right")
    last = np.searchsorted(reports["began_ns"], until_ns, side="left")
    return summed[np.maximum(first, last)] - summed[first]


def counted(bits: Bits) -> dict[str, int]:
    """How many gaps each cause coincided with, and how many coincided with nothing."""
    counts = {name: int(np.count_nonzero(bits & bit)) for name, bit in CAUSES.items()}
    return {**counts, NOTHING: int(np.count_nonzero(bits == 0))}


def longest_by_second(arrivals: Rows, *, now_ns: int, window_ns: int) -> list[float]:
    """The longest gap of each second of the window in milliseconds, the oldest first; 0 where no
    gap ended. It is what a sparkline shows.
    """
    seconds = max(1, -(-window_ns // 1_000_000_000))
    longest = np.zeros(seconds)
    # Rows are in order of time, so those of a second lie side by side. What is older than the
    # window counts for its first second.
    edges_ns = now_ns - np.arange(seconds - 1, 0, -1, dtype=np.int64) * 1_000_000_000
    starts = np.concatenate(([0], np.searchsorted(arrivals["at_ns"], edges_ns, side="right")))
    filled = np.flatnonzero(np.diff(starts, append=arrivals.size))
    if filled.size:
        # A row without a gap is not a number, which fmax passes over.
        longest[filled] = np.fmax.reduceat(arrivals["gap_ms"], starts[filled])
    return [round(one, 3) for one in np.nan_to_num(longest).tolist()]
