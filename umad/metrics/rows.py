"""Defines the scorecard's rows: one for each arrival of tokens, each step and each ending.

Not: the figures made from rows (`summary`), or how long rows are kept (`window`). Pure numpy.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRIVAL = np.dtype(
    [
        ("at_ns", np.int64),
        ("n", np.int32),
        ("gap_ms", np.float64),
        ("ttft_ms", np.float64),
        ("solo_ms", np.float64),
        ("carried", np.uint8),
        ("model", np.int32),
        ("lane", np.int32),
        ("app", np.int32),
    ]
)
STEP = np.dtype(
    [
        ("at_ns", np.int64),
        ("began_ns", np.int64),
        ("device_ms", np.float64),
        ("useful_ms", np.float64),
        ("coreless_ms", np.float64),
        ("bytes", np.int64),
        ("rows", np.int32),
        ("background_rows", np.int32),
        ("sampled", np.int64),
        ("copied", np.int64),
        ("prompt", np.int64),
        ("cached", np.int64),
        ("cuts", np.int64),
        ("preemptions", np.int64),
        ("guess_steps", np.int64),
        ("guesses_held", np.int64),
        ("media_encoded", np.int64),
        ("media_reused", np.int64),
        ("encode_us", np.int64),
        ("row_copies", np.int64),
        ("model", np.int32),
    ]
)
ENDING = np.dtype(
    [
        ("at_ns", np.int64),
        ("failed", np.bool_),
        # Texts that were embedded or ranked, and those of them whose vectors were at hand.
        ("texts", np.int32),
        ("texts_cached", np.int32),
        ("model", np.int32),
        ("lane", np.int32),
        ("app", np.int32),
    ]
)
# Clients choose the names, so their number is bounded: further names are counted together.
MAX_NAMES = 1024
OTHERS = "(others)"

Rows = NDArray[Any]


class Names:
    """Small numbers for names, in order of appearance."""

    __slots__ = ("_numbers", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The name's number; the same one for ever."""
        found = self._numbers.get(name)
        if found is not None:
            return found
        if len(self.names) >= MAX_NAMES and name != OTHERS:
            return self.number(OTHERS)
        self._numbers[name] = len(self.names)
        self.names.append(name)
        return len(self.names) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The rows of one model, lane or app."""

    arrivals: Rows
    steps: Rows
    endings: Rows
    # The requests that are live now, as rows of ENDING.
    live: Rows
    # The number of the interactive lane.
    interactive: int
    # What each arrival's gap coincided with (`umad.metrics.slowness`).
    causes: Rows

    def of(self, column: str, number: int) -> "Slice":
        """Return the rows whose `column` is `number`: this slice itself where all are. Steps belong
        to models, not to lanes or apps, so for those all steps stay.
        """
        chosen = {
            name: mine
            for name in ("arrivals", "endings", "live", *(["steps"] if column == "model" else []))
            if not (mine := getattr(self, name)[column] == number).all()
        }
        if not chosen:
            return self  # one model is the common case
        if "arrivals" in chosen:
            chosen["causes"] = chosen["arrivals"]
        return replace(self, **{name: getattr(self, name)[mine] for name, mine in chosen.items()})

    def numbers(self, column: str) -> list[int]:
        """Return the numbers that occur in `column`, which is "lane" or "app"."""
        seen = [part[column] for part in (self.arrivals, self.endings, self.live)]
        return [int(one) for one in np.unique(np.concatenate(seen))]
