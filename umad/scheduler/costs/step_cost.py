"""Estimates a step's milliseconds from its shape, and learns the estimate while serving.

A step's cost has two parts. The cost of its decode rows comes from a curve over their number. The
cost of its prefill tokens comes from a second curve, or from a third one where they run beside
decode rows and the fixed cost is already paid. Beyond what was measured, the third one rises as the
second one does. Each part also pays for the KV cells that its rows
read, which is far less where the rows fill a tile of the attention kernel. Readers wait a little
longer than that, for the host's part (`solo_pace`).

Pure; owner: the step thread.
"""

from collections.abc import Sequence

from umad.scheduler.costs.cell_cost import CellCost
from umad.scheduler.costs.cost_curve import CostCurve
from umad.scheduler.costs.solo_pace import Pace
from umad.scheduler.costs.tiles import ATTENTION_ROWS, in_whole_tiles

# The pace's name among the curves.
PACE = "pace"
# The rows are taken to cost at least this share of a step, however many cells it read.
LEAST_ROWS_SHARE = 0.1
# The cells that a short prompt reads follow from its number of rows. So beside decode rows the
# price of a cell cannot be told from the price of a row, and such prompts teach nothing about it.
SHORT_PROMPT_CELLS = 256
# The largest slice beside decode rows that is tried while none has been measured.
FIRST_TRIED = 8
# A token beside decode rows costs at least this share of what it costs in the cheapest prompt. What
# a slice costs is the difference of two noisy times, and may come out as nothing. A first price of
# nothing stayed for a hundred steps, and each of them carried far too much.
LEAST_TOKEN_SHARE = 0.5
# A step that carries other work and yet takes less than this share of what its readers would wait
# alone shows that they would not wait so long.
WRONG = 0.8
# Padding rows must save at least this share of a step: computing them costs power.
PADDING_SAVES = 0.1


def slice_cells(n_tokens: int, start: int) -> int:
    """Cells that the rows of a prefill slice read. On average a row reads all cells before the
    slice and half of the slice."""
    return n_tokens * (start + n_tokens // 2)


# For each curve, and for the pace: (milliseconds, times seen) of every point of `cost_curve.ROWS`,
# and the price of a cell.
CostSnapshot = dict[str, tuple[list[tuple[float, int]], float]]


class ShapeCost:
    """Estimates the milliseconds of a number of rows that together read a number of cells.

    beside: rows of the step that are not this shape's, but fill tiles with them.
    """

    def __init__(
        self,
        initial_ms_each: float,
        *,
        least_depth: int = 0,
        cells: CellCost | None = None,
        few: CellCost | None = None,
        tiled: CellCost | None = None,
        like: CostCurve | None = None,
    ) -> None:
        """least_depth: how many cells each row of a step must read, on average, before the step
        teaches anything about the price of a cell.
        cells: the price of a cell.
        few: the price of a cell in steps whose rows do not fill a tile; None where it is the
        same.
        tiled: the other way round, the price of a cell in steps whose rows fill one. Another shape
        learns it.
        like: the curve that the one of the rows follows beyond what was measured."""
        self._least_depth = least_depth
        self.rows = CostCurve(initial_ms_each, like=like)
        self.cells = cells or CellCost()
        self._few = few
        self._tiled = tiled

    def at(self, n: int, n_cells: int = 0, beside: int = 0) -> float:
        """Expected milliseconds; 0 for no rows."""
        return self.rows.at(n) + self._cell_ms(n + beside) * n_cells if n > 0 else 0.0

    def slice_ms(self, n_tokens: int, start: int, beside: int = 0) -> float:
        """Expected milliseconds of a prefill slice that begins at position `start`."""
        return self.at(n_tokens, slice_cells(n_tokens, start), beside)

    def most(self, budget_ms: float, n_max: int, start: int, beside: int = 0) -> int:
        """The largest slice from `start`, up to `n_max` tokens, whose cost is within budget."""
        # Costs rise with the tokens, so halving finds the bound. The one exception is a whole tile,
        # which may cost less than half a tile.
        tile = max(1, ATTENTION_ROWS - beside)
        if n_max >= tile and self.slice_ms(tile, start, beside) <= budget_ms:
            low, high = tile, n_max
        else:
            low, high = 0, min(n_max, tile - 1)
        while low < high:
            middle = (low + high + 1) // 2
            if self.slice_ms(middle, start, beside) <= budget_ms:
                low = middle
            else:
                high = middle - 1
        return low

    def learn(self, n: int, n_cells: int, ms: float, beside: int = 0) -> None:
        """Learn that `n` rows which read `n_cells` took `ms`."""
        if n <= 0 or ms <= 0:
            return
        is_others = self._tiled is not None and n + beside >= ATTENTION_ROWS
        if n_cells > self._least_depth * n and self.rows.is_known and not is_others:
            rows_ms = self.rows.at(n)
            if self._few is None or n + beside >= ATTENTION_ROWS:
                self.cells.learn(n_cells, rows_ms, ms, n_rows=n)
            else:
                self._few.learn(n_cells, rows_ms, ms, n_rows=n)
                self.cells.at_most(ms / n_cells)
        cells_ms = self._cell_ms(n + beside) * n_cells
        self.rows.learn(
            n,
            max(ms - cells_ms, LEAST_ROWS_SHARE * ms),
            bounds_fewer=cells_ms <= LEAST_ROWS_SHARE * ms,
        )

    def _cell_ms(self, n_rows: int) -> float:
        ms_each = self.cells.ms_each
        if self._tiled is not None and n_rows >= ATTENTION_ROWS:
            return min(ms_each, self._tiled.ms_each)
        if self._few is None or n_rows >= ATTENTION_ROWS:
            return ms_each
        # A cell never costs less outside a tile than inside one.
        return max(ms_each, self._few.ms_each)


class CostModel:
    """The costs of one engine. The first guesses hold until the first observation.

    tiles: the attention kernel works in tiles. A step whose rows do not fill a tile may pay far
    more for a cell, and a step may be filled up with padding rows that belong to no request.
    """

    def __init__(
        self,
        *,
        decode_ms_each: float = 10.0,
        prefill_ms_per_token: float = 5.0,
        tiles: bool = False,
    ) -> None:
        self.tiles = tiles
        # The price of a cell within whole tiles. Prompts learn it, and many decode rows pay it.
        tiled = CellCost() if tiles else None
        self.decode = ShapeCost(decode_ms_each, cells=CellCost(plain=True), tiled=tiled)
        # Decode rows, and prompts too short for a tile, read their cells in the same slow way, so
        # they share a price. A slice beside streams has one price for all sizes: it rarely fills a
        # tile, and only the time that a step took above its decode rows is known.
        few = self.decode.cells if tiles else None
        self.prefill = ShapeCost(prefill_ms_per_token, cells=tiled, few=few)
        self.mixed = ShapeCost(
            prefill_ms_per_token, least_depth=SHORT_PROMPT_CELLS, like=self.prefill.rows
        )
        self.pace = Pace()

    def step_ms(
        self, n_decode: int, n_prefill: int, *, decode_cells: int = 0, prefill_cells: int = 0
    ) -> float:
        """Expected milliseconds of one decode call."""
        if not n_decode:
            return self.prefill.at(n_prefill, prefill_cells)
        slices_ms = self.mixed.at(n_prefill, prefill_cells, beside=n_decode)
        return self.decode.at(n_decode, decode_cells) + slices_ms

    def padding(self, n_tokens: int, n_cells: int, depth: int) -> int:
        """How many padding rows to add to a step that has `n_tokens` of prompts and no other rows,
        because a full tile is quicker; 0 where it is not quicker.

        n_cells: the cells that those tokens read.
        depth: how many positions the last rows of the prompts look at.
        """
        if not self.tiles or not 0 < n_tokens < ATTENTION_ROWS:
            return 0
        padded_ms = self.prefill.at(ATTENTION_ROWS, ATTENTION_ROWS * depth)
        saves = padded_ms < (1 - PADDING_SAVES) * self.prefill.at(n_tokens, n_cells)
        return ATTENTION_ROWS - n_tokens if saves else 0

    def solo_ms(self, n_rows: int, n_cells: int) -> float:
        """Milliseconds that the readers of `n_rows` rows wait between two tokens while no other
        work runs."""
        return self.decode.at(n_rows, n_cells) + self.pace.above_ms(n_rows)

    def learn_solo(
        self, n_rows: int, n_cells: int, felt_ms: float, *, crowded: bool = False
    ) -> None:
        """Learn that a step of these rows alone took `felt_ms`, from the last step's tokens to its
        own. crowded: as in `learn`."""
        if crowded and self.pace.is_known and felt_ms >= self.solo_ms(n_rows, n_cells):
            return
        self.pace.learn(n_rows, felt_ms - self.decode.at(n_rows, n_cells))

    def bound_solo(self, n_rows: int, n_cells: int, felt_ms: float) -> None:
        """Learn that a step of these rows and more took `felt_ms`. If that is clearly less than
        they seem to take alone, that was learnt wrongly, as beside a load; a usual step may be a
        little quicker by chance."""
        if felt_ms < WRONG * self.solo_ms(n_rows, n_cells):
            self.pace.bound(n_rows, felt_ms - self.decode.at(n_rows, n_cells))

    def prefill_within(self, budget_ms: float, *, beside: int, n_max: int, start: int = 0) -> int:
        """The most prefill tokens from position `start` on, in whole tiles, whose extra cost beside
        `beside` decode rows is within budget."""
        shape, within_reach = self.prefill, n_max
        if beside:
            # The slice is never much larger than what has been measured, beside rows or alone.
            # Where a few tokens cost nothing beside the rows (a GPU that waits for memory anyway),
            # hundreds may cost much, and the streams would wait for the mistake.
            shape = self.mixed
            within_reach = min(n_max, max(FIRST_TRIED, shape.rows.next_untried()))
        return in_whole_tiles(
            shape.most(budget_ms, within_reach, start, beside),
            beside=beside,
            fits=lambda n: n <= n_max and shape.slice_ms(n, start, beside) <= budget_ms,
        )

    def learn(
        self,
        n_decode: int,
        n_prefill: int,
        ms: float,
        *,
        decode_cells: int = 0,
        prefill_cells: int = 0,
        crowded: bool = False,
    ) -> None:
        """Learn that a step of this shape took `ms`. crowded: another engine computed meanwhile, so
        the step shows only that it takes no longer alone.

        The streams of one engine seldom share the cores with another engine, because background
        work gives way. Costs of two engines' background work at once are three times as high. They
        would stay for the next chat: its rows would seem dear, and a slice beside them free.
        """
        if not n_prefill:
            self._learn(self.decode, n_decode, decode_cells, ms, crowded=crowded)
        elif not n_decode:
            self._learn(self.prefill, n_prefill, prefill_cells, ms, crowded=crowded)
        else:
            # The prefill pays only for the time above the decode rows' own cost.
            own_ms = self.decode.at(n_decode, decode_cells)
            if ms < own_ms:
                # The rows alone would have taken less still. If only steps without a slice taught
                # their cost, a cost that was learnt beside a load would stay while slices come.
                self.decode.learn(n_decode, decode_cells, ms)
            least_ms = LEAST_TOKEN_SHARE * n_prefill * self.prefill.rows.least_each
            slices_ms = max(ms - own_ms, least_ms, 0.05)
            self._learn(
                self.mixed, n_prefill, prefill_cells, slices_ms, beside=n_decode, crowded=crowded
            )

    @staticmethod
    def _learn(
        shape: ShapeCost, n: int, n_cells: int, ms: float, *, beside: int = 0, crowded: bool
    ) -> None:
        if crowded and shape.rows.is_known and ms >= shape.at(n, n_cells, beside):
            return
        shape.learn(n, n_cells, ms, beside)

    def copy(self) -> "CostModel":
        """Another model that knows the same, and learns apart from this one."""
        copy = CostModel(tiles=self.tiles)
        copy.restore(self.snapshot())
        return copy

    def snapshot(self) -> CostSnapshot:
        """Everything learnt so far, as plain values."""
        costs: CostSnapshot = {
            name: (shape.rows.snapshot(), shape.cells.ms_each)
            for name, shape in self._shapes().items()
        }
        return costs | {PACE: (self.pace.snapshot(), 0.0)}

    def restore(self, costs: CostSnapshot) -> None:
        """Take up what `snapshot` gave."""
        for name, shape in self._shapes().items():
            points, shape.cells.ms_each = costs[name]
            shape.rows.restore(points)
        self.pace.restore(costs[PACE][0])

    def _shapes(self) -> dict[str, ShapeCost]:
        return {"decode": self.decode, "prefill": self.prefill, "mixed": self.mixed}

    def learn_all(self, observed: Sequence[tuple[int, int, float]]) -> None:
        """Learn from several observations: (decode rows, prefill tokens, milliseconds)."""
        for n_decode, n_prefill, ms in observed:
            self.learn(n_decode, n_prefill, ms)
