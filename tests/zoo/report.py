"""The table of the zoo: what llama.cpp and umad make of every architecture. Not a test."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Row:
    """One model. bare, umad, beside: "yes", "no" or "-". Errors: of what umad reckons, in per cent
    of what llama.cpp allocates."""

    name: str
    bare: str = "-"
    umad: str = "-"
    beside: str = "-"
    kv_error_pct: float | None = None
    state_error_pct: float | None = None
    reason: str = ""

    def line(self) -> str:
        """For the table."""
        return (
            f"{self.name:24} {self.bare:5} {self.umad:5} {self.beside:7}"
            f"{_pct(self.kv_error_pct):>8}{_pct(self.state_error_pct):>9}  {self.reason}"
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
        heading = (
            f"{'model':24} {'bare':5} {'umad':5} {'beside':7}{'KV %':>8}{'state %':>9}  reason"
        )
        runs = sum(row.bare == "yes" for row in self.rows)
        same = sum(row.umad == "yes" for row in self.rows)
        together = sum(row.beside == "yes" for row in self.rows)
        worst = max((abs(row.kv_error_pct or 0.0) for row in self.rows), default=0.0)
        states = max((abs(row.state_error_pct or 0.0) for row in self.rows), default=0.0)
        return [
            heading,
            *(row.line() for row in self.rows),
            (
                f"{len(self.rows)} models: bare llama.cpp decodes {runs}, umad the same tokens of "
                f"{same}, two streams beside each other of {together}; largest error of KV "
                f"{worst:.2f} %, of states {states:.2f} %"
            ),
            *self.notes,
        ]


def _pct(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


REPORT = Report()
