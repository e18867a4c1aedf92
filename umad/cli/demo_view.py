"""Shows each app's own figures for `umad demo`, live and at the end.

Not: starting or measuring anything. Pure but for the console it is given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table

from umad.cli.demo_report import Report
from umad.cli.tables import number, plain_table
from umad.metrics import quantiles

# What is left beside the figures on a terminal of 80 columns.
TAIL_CHARS = 24
# The apps of a demo and its daemon need some of the cores themselves.
BUSY_PCT = 20.0


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
        self.tail = " ".join((self.tail + report.tail).split())[-TAIL_CHARS:]

    def row(self) -> dict[str, str]:
        """The cells of a table by heading."""
        p50, p95, p99, longest = quantiles(np.array(self.gaps_ms), 0.5, 0.95, 0.99, 1.0)
        (ttft,) = quantiles(np.array(self.ttft_ms), 0.5)
        figures = {
            "REPLIES": self.done,
            "IN": self.read,
            "OUT": self.tokens,
            "p50": p50,
            "p95": p95,
            "p99": p99,
            "LONGEST": longest,
            "TTFT": ttft,
        }
        return {"APP": self.name, "LANE": self.lane} | {
            heading: number(figure) for heading, figure in figures.items()
        }


# Both fit a terminal of 80 columns. Times are milliseconds.
LIVE = ("APP", "IN", "OUT", "p50", "p95", "LONGEST")
FINAL = ("APP", "LANE", "REPLIES", "IN", "OUT", "p50", "p95", "p99", "LONGEST", "TTFT")


def app_table(apps: Sequence[AppFigures], *, live: bool) -> Table:
    """One row per app: tokens in and out, and the gaps between tokens, as the app saw them."""
    table = plain_table()
    for heading in LIVE if live else FINAL:
        left = heading in ("APP", "LANE")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    if live:
        table.add_column("IT READS", no_wrap=True, style="dim", overflow="crop")
    for app in apps:
        row = app.row()
        text = [app.tail] if live else []
        table.add_row(*(row[heading] for heading in (LIVE if live else FINAL)), *text)
    return table


def one_line(elapsed_s: float, apps: Sequence[AppFigures]) -> str:
    """Progress where there is no terminal to redraw."""
    parts = []
    for app in apps:
        (p95,) = quantiles(np.array(app.gaps_ms), 0.95)
        parts.append(f"{app.name} {app.read}+{app.tokens} tokens, p95 {number(p95)} ms")
    return f"{elapsed_s:4.0f} s  " + "  |  ".join(parts)


def verdict(scorecard: Mapping[str, Any]) -> str:
    """One sentence: what held, and how much else the machine had to do."""
    beyond_pct, cap = scorecard["over_cap_pct"], scorecard["latency_cap"]
    if beyond_pct is None:
        return "Nobody interactive got two tokens, so nothing is known of the guard."
    if scorecard["guard_held"]:
        return (
            f"The guard held: {number(beyond_pct)} % of the waits were longer than {cap:g} of what "
            "they are alone, and 5 may be."
        )
    held = f"{number(100.0 - beyond_pct)} % of the waits were"
    alone = f"within {cap:g} of what they are alone"
    lost_pct = scorecard["cores_lost_pct"] or 0.0
    if lost_pct > BUSY_PCT:
        others = f"For {number(lost_pct)} % of the time others had the cores"
        return f"{others}, and {held} still {alone}."
    return f"{held} {alone}; the rest were longer, or a few of them much longer."


def idle(apps: Sequence[AppFigures]) -> list[str]:
    """The apps for which nothing was done yet."""
    return [app.name for app in apps if not app.tokens and not app.read]
