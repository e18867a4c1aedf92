"""What `umad demo` shows: each app's own figures, live and at the end.

Not: starting or measuring anything. Pure but for the console it is handed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table

from umad.cli.demo_report import Report
from umad.cli.tables import number, plain_table
from umad.metrics import quantiles


@dataclass(slots=True, kw_only=True)
class AppFigures:
    """What one app felt since the demo began, told by its own clock."""

    name: str
    lane: str
    read: int = 0
    tokens: int = 0
    done: int = 0
    gaps_ms: list[float] = field(default_factory=list)
    ttft_ms: list[float] = field(default_factory=list)
    tail: str = ""

    def add(self, report: Report) -> None:
        """Take in what the app felt since its last report."""
        self.read += report.read
        self.tokens += report.tokens
        self.done += report.done
        self.gaps_ms += report.gaps_ms
        self.ttft_ms += report.ttft_ms
        self.tail = " ".join((self.tail + report.tail).split())[-40:]

    def row(self) -> list[str]:
        """The cells of the table, without the text."""
        gaps = quantiles(np.array(self.gaps_ms), 0.5, 0.95, 0.99, 1.0)
        (ttft,) = quantiles(np.array(self.ttft_ms), 0.5)
        figures = (self.done, self.read, self.tokens, *gaps, ttft)
        return [self.name, self.lane, *map(number, figures)]


HEADINGS = (
    *("APP", "LANE", "REPLIES", "TOKENS IN", "TOKENS OUT"),
    *("p50 ms", "p95 ms", "p99 ms", "LONGEST ms", "TTFT p50 ms"),
)


def app_table(apps: Sequence[AppFigures], *, with_text: bool) -> Table:
    """One row per app; the gaps are between tokens, as the app saw them."""
    table = plain_table()
    for at, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if at < 2 else "right", no_wrap=True)
    if with_text:
        table.add_column("IT READS", no_wrap=True, style="dim", overflow="crop")
    for app in apps:
        table.add_row(*app.row(), *([app.tail] if with_text else []))
    return table


def one_line(elapsed_s: float, apps: Sequence[AppFigures]) -> str:
    """Progress where there is no terminal to redraw."""
    parts = []
    for app in apps:
        (p95,) = quantiles(np.array(app.gaps_ms), 0.95)
        parts.append(f"{app.name} {app.read}+{app.tokens} tokens, p95 {number(p95)} ms")
    return f"{elapsed_s:4.0f} s  " + "  |  ".join(parts)


def idle(apps: Sequence[AppFigures]) -> list[str]:
    """The apps for which nothing was done yet."""
    return [app.name for app in apps if not app.tokens and not app.read]
