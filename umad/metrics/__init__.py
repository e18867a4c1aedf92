"""What the machine did lately: the scorecard that `umad metrics`, the socket and HTTP return.

Not: collecting (the daemon calls in), printing (`umad.cli`), or deciding anything.

    scorecard  Scorecard: events in, one JSON-able object out, over a sliding window
    summary    from rows to figures, and how each figure is computed
    rows       what is kept of tokens, steps and endings; latest: what is a state of now
    window     WindowRing: rows of numbers in time order, old ones overwritten
    pending    PendingClock: wall time during which work was pending
    memory     MemoryFacts: what a process holds, asked of the platform; faults: read back in
    step_facts what an engine's report has to have
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
