"""The table of the zoo: what llama.cpp and umad make of every architecture. Not a test."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

# yes: as llama.cpp by itself. ties: but for tokens that are as likely there as the likeliest. cold:
# right, but nothing was reused. differs: llama.cpp by itself does not agree with itself there. no:
# wrong. -: not asked.
Verdict = Literal["yes", "ties", "cold", "differs", "no", "-"]
CHECKS = (
    "bare",
    "umad",
    "beside",
    "turn",
    "edited",
    "cancelled",
    "parked",
    "preempted",
    "killed",
    "embeds",
)
_WIDTH = max(map(len, CHECKS)) + 1


@dataclass(slots=True, kw_only=True)
class Row:
    """One model. Errors: of what umad reckons, in per cent of what llama.cpp allocates. reasons: of
    what is not "yes"."""

    name: str
    checks: dict[str, Verdict] = field(default_factory=dict)
    kv_error_pct: float | None = None
    state_error_pct: float | None = None
    reasons: list[str] = field(default_factory=list)

    def of(self, check: str) -> Verdict:
        """How it went."""
        return self.checks.get(check, "-")

    def failed(self, *, may_be_cold: Collection[str] = ()) -> list[str]:
        """Checks that went wrong, with the reasons. may_be_cold: where nothing can be reused."""
        wrong = [
            check
            for check in CHECKS
            if self.of(check) == "no" or (self.of(check) == "cold" and check not in may_be_cold)
        ]
        return [*wrong, *self.reasons] if wrong else []

    def line(self) -> str:
        """For the table."""
        checks = "".join(f"{self.of(check):{_WIDTH}}" for check in CHECKS)
        return (
            f"{self.name:24} {checks}{_pct(self.kv_error_pct):>7}{_pct(self.state_error_pct):>8}"
            f"  {'; '.join(self.reasons)}"
        )


@dataclass(slots=True)
class Report:
    """Rows in the order they came, and lines beside them."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, name: str) -> Row:
        """A new one."""
        self.rows.append(Row(name=name))
        return self.rows[-1]

    def lines(self) -> list[str]:
        """The table, and a summary of it."""
        if not self.rows:
            return self.notes
        heading = "".join(f"{check:{_WIDTH}}" for check in CHECKS)
        runs = [row for row in self.rows if row.of("bare") == "yes"]
        counted = ", ".join(f"{check} {_counts(runs, check)}" for check in CHECKS[1:-1])
        embeds = sum(row.of("embeds") == "yes" for row in self.rows)
        worst = max((abs(row.kv_error_pct or 0.0) for row in self.rows), default=0.0)
        states = max((abs(row.state_error_pct or 0.0) for row in self.rows), default=0.0)
        return [
            f"{'model':24} {heading}{'KV %':>7}{'state %':>8}  reason",
            *(row.line() for row in self.rows),
            f"{len(self.rows)} models: bare llama.cpp decodes {len(runs)}; of them {counted}",
            (
                f"{embeds} embed; largest error of KV {worst:.2f} %, of states {states:.2f} %"
                " (yes: as llama.cpp by itself; ties: but for tokens as likely there; cold: right,"
                " nothing reused; differs: llama.cpp does not agree with itself there)"
            ),
            *self.notes,
        ]


def _counts(rows: list[Row], check: str) -> str:
    """As in "135 yes, 2 differs"."""
    said: dict[str, int] = {}
    for row in rows:
        said[row.of(check)] = said.get(row.of(check), 0) + 1
    return " and ".join(f"{n} {verdict}" for verdict, n in sorted(said.items(), reverse=True))


def _pct(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


REPORT = Report()
