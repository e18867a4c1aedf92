"""Says what pairs of answers with guesses and without show, as ratios and as tables to print.

Values only; `bench.speculation` measures them.
"""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence

from rich import box
from rich.table import Table

EDIT, JSON, PROSE, AGAIN = "edit", "json", "prose", "again"
KINDS = (EDIT, JSON, PROSE, AGAIN)
# Times as fast as the bare library that guesses have to be.
ASKED: Mapping[str, float] = {EDIT: 2.0, JSON: 1.3, PROSE: 0.99}
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Milliseconds for each token of one answer: with guesses, without, without again, by the bare
    library, and with a draft model. n_steps: that brought the tokens of the one with guesses."""

    kind: str
    plain_ms: float
    again_ms: float
    guessed_ms: float
    bare_ms: float
    n_tokens: int
    n_steps: int
    # The text is the same with guesses as without, and the same without again.
    is_same: bool
    is_steady: bool
    # 0 where no draft was asked for; then so many steps, and whether the text is the same.
    drafted_ms: float = 0.0
    n_drafted_steps: int = 0
    is_drafted_same: bool = True

    @property
    def drafted_to_bare(self) -> float:
        """The pace with a draft over that of the bare library."""
        return self.bare_ms / self.drafted_ms

    @property
    def drafted_ratio(self) -> float:
        """The pace with a draft over that without guesses."""
        return (self.plain_ms + self.again_ms) / (2 * self.drafted_ms)

    @property
    def ratio(self) -> float:
        """The pace with guesses over that without."""
        return (self.plain_ms + self.again_ms) / (2 * self.guessed_ms)

    @property
    def to_bare(self) -> float:
        """The pace with guesses over that of the bare library."""
        return self.bare_ms / self.guessed_ms


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Their median, the lowest and the highest."""
    return statistics.median(values), min(values), max(values)


def ratios(
    pairs: Sequence[Pair], ratio: Callable[[Pair], float] = lambda pair: pair.ratio
) -> dict[str, tuple[float, float, float]]:
    """Of each kind a ratio, the pace with guesses over that without unless another is named: a
    median and its spread."""
    return {
        kind: spread([ratio(pair) for pair in pairs if pair.kind == kind])
        for kind in KINDS
        if any(pair.kind == kind for pair in pairs)
    }


def to_bare(pair: Pair) -> float:
    """The ratio that `ASKED` is held against: with a draft, where there was one."""
    return pair.drafted_to_bare if pair.drafted_ms else pair.to_bare


def table(pairs: Sequence[Pair]) -> Table:
    """To print."""
    title = "tokens a second: bare, without and with guesses of next tokens"
    drawn = _table(title, "", "bare", "without", "again", "with", *_RATIO_COLUMNS)
    for name in ("other texts", "without guesses too"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for kind in ratios(pairs):
        mine = [pair for pair in pairs if pair.kind == kind]
        paces = [_pace(mine, name) for name in ("bare_ms", "plain_ms", "again_ms", "guessed_ms")]
        drawn.add_row(
            kind,
            *paces,
            _spread_of([pair.ratio for pair in mine]),
            _spread_of([pair.to_bare for pair in mine]),
            f"{sum(one.n_tokens for one in mine) / sum(one.n_steps for one in mine):.2f}",
            f"{sum(not pair.is_same for pair in mine)} of {len(mine)}",
            f"{sum(not pair.is_steady for pair in mine)} of {len(mine)}",
        )
    return drawn


def draft_table(pairs: Sequence[Pair]) -> Table:
    """The same with a draft model."""
    drawn = _table("with a draft model, too", "", "bare", "without", "with", *_RATIO_COLUMNS)
    drawn.add_column("other texts", justify="right", no_wrap=True)
    for kind in ratios(pairs):
        mine = [pair for pair in pairs if pair.kind == kind]
        drawn.add_row(
            kind,
            *[_pace(mine, name) for name in ("bare_ms", "plain_ms", "drafted_ms")],
            _spread_of([pair.drafted_ratio for pair in mine]),
            _spread_of([pair.drafted_to_bare for pair in mine]),
            f"{sum(one.n_tokens for one in mine) / sum(one.n_drafted_steps for one in mine):.2f}",
            f"{sum(not pair.is_drafted_same for pair in mine)} of {len(mine)}",
        )
    return drawn


_RATIO_COLUMNS = ("÷ without", "÷ bare", "a step")


def _table(title: str, *columns: str) -> Table:
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in columns:
        drawn.add_column(name, justify="right", no_wrap=True)
    return drawn


def _pace(pairs: Sequence[Pair], name: str) -> str:
    return f"{statistics.median([1000 / getattr(one, name) for one in pairs]):.1f}"


def _spread_of(values: Sequence[float]) -> str:
    middle, low, high = spread(values)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def verdicts(pairs: Sequence[Pair]) -> list[str]:
    """What was asked for beside what was found, a line for each kind."""
    return [
        f"{kind}: {found:.2f} times as fast as bare, {ASKED[kind]} asked for"
        + ("" if found >= ASKED[kind] else ": missed")
        for kind, (found, _, _) in ratios(pairs, to_bare).items()
        if kind in ASKED
    ]


def rows_table(depths: Mapping[int, Sequence[float]]) -> Table:
    """What rows cost, and the most that guesses can bring by it."""
    title = "milliseconds of so many rows, and how many times as fast guesses are that all hold"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    drawn.add_column("rows", justify="right")
    for depth in depths:
        drawn.add_column(f"behind {depth} tokens", justify="right", no_wrap=True)
    for at, n in enumerate(ROWS):
        columns = [f"{took[at]:.1f} ({n * took[0] / took[at]:.2f}x)" for took in depths.values()]
        drawn.add_row(str(n), *columns)
    return drawn
