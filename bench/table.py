"""Makes tables of interleaved measurements: medians, spread, and ratios to one of the columns.

Pure but for rendering; it holds samples and judges nothing. Ratios are paired: each repetition's
value is divided by the baseline's of the same repetition, so slow drift of the machine
cancels out. Owner: the caller.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from rich.table import Table

from bench.machine import Machine


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and range of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Needs at least one sample."""
        return cls(median=statistics.median(samples), low=min(samples), high=max(samples))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Samples of several contenders under several conditions; all in one unit."""

    kind: str  # the table's stable name in JSON, one of its benchmark's
    title: str
    unit: str
    condition: str  # what a row varies: "streams"
    baseline: str  # the contender the ratios are taken to
    samples: Mapping[str, Mapping[str, Sequence[float]]]  # row, contender, one per repetition
    notes: tuple[str, ...] = ()  # how each number was computed

    def ratio(self, row: str, contender: str) -> Spread | None:
        """Paired ratios to the baseline; None for the baseline itself, or where it is or was 0."""
        base = self.samples[row].get(self.baseline)
        if contender == self.baseline or not base or not all(base):
            return None
        pairs = zip(self.samples[row][contender], base, strict=True)
        return Spread.of([value / reference for value, reference in pairs])


def render(comparison: Comparison) -> Table:
    """The comparison as a table to print: median and the ratio's median, the range below."""
    contenders = list(next(iter(comparison.samples.values())))
    table = Table(
        title=f"{comparison.title}, {comparison.unit}", title_justify="left", show_lines=True
    )
    table.add_column(comparison.condition, justify="right")
    for contender in contenders:
        table.add_column(contender, justify="right", no_wrap=True)
    for row, measured in comparison.samples.items():
        cells = [_cell(comparison, row, contender) for contender in measured]
        table.add_row(row, *cells)
    return table


def as_json(machine: Machine, comparisons: Sequence[Comparison]) -> dict[str, object]:
    """Everything a chart or a later reader needs; values are plain JSON types."""
    return {
        "machine": dataclasses.asdict(machine),
        "comparisons": [_comparison_json(comparison) for comparison in comparisons],
    }


def _cell(comparison: Comparison, row: str, contender: str) -> str:
    spread = Spread.of(comparison.samples[row][contender])
    ratio = comparison.ratio(row, contender)
    times = "" if ratio is None else f"  {ratio.median:.3f}x"
    return f"{_plain(spread.median)}{times}\n{_plain(spread.low)}-{_plain(spread.high)}"


def _plain(value: float) -> str:
    """Three or four digits that mean something."""
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _comparison_json(comparison: Comparison) -> dict[str, object]:
    rows: list[dict[str, object]] = []
    for row, measured in comparison.samples.items():
        for contender, samples in measured.items():
            ratio = comparison.ratio(row, contender)
            rows.append(
                {
                    comparison.condition: row,
                    "contender": contender,
                    "samples": list(samples),
                    **dataclasses.asdict(Spread.of(samples)),
                    "ratio": None if ratio is None else dataclasses.asdict(ratio),
                }
            )
    return {
        "kind": comparison.kind,
        "title": comparison.title,
        "condition": comparison.condition,
        "unit": comparison.unit,
        "baseline": comparison.baseline,
        "notes": list(comparison.notes),
        "rows": rows,
    }
