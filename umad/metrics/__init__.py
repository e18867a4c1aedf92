"""Measures what the machine did lately, as the scorecard of `umad metrics`, the socket and HTTP.

Not: collecting (the daemon calls in), printing (`umad.cli`), or deciding anything.

    scorecard  Scorecard: events in, one JSON-able object out, over a sliding window
    summary    turns rows into figures, and says how each figure is computed
    slowness   what readers' gaps coincided with, and the longest gap of each second
    rows       rows of tokens, steps and endings
    latest     Latest: facts of this moment, which are not sums over the window
    window     WindowRing: rows of numbers in time order; old ones are overwritten
    pending    PendingClock: wall time during which work was pending
    memory     MemoryFacts: the memory of a process, asked of the platform
    faults     FaultWindow: bytes of a model that were read from disk again
    step_facts the facts that an engine's report must have
    csv_rows   one flat row of the scorecard per line, with a header that never changes order

Owner: the daemon's event loop. Nothing here locks or reads a clock; `memory` reads /proc.
"""

from umad.metrics.csv_rows import CSV_COLUMNS, csv_header, csv_row
from umad.metrics.memory import MemoryFacts, read_memory
from umad.metrics.scorecard import TOGETHER_NS, Scorecard
from umad.metrics.summary import quantiles

__all__ = [
    "CSV_COLUMNS",
    "TOGETHER_NS",
    "MemoryFacts",
    "Scorecard",
    "csv_header",
    "csv_row",
    "quantiles",
    "read_memory",
]
