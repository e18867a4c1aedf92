"""Picks the size of a slice that an interactive arrival may cut.

Such a slice is background work while nothing else runs, or a part of a long prompt that has the
device to itself. A larger slice takes less time per token, up to a point. But an arrival that cuts
it throws all of it away (llama.cpp keeps nothing of an aborted micro-batch). So the rate of cuts is
learnt, and the size is taken that brings most tokens per millisecond after the losses: nearly a
whole batch on a machine that nobody types on, small pieces between the tokens of a busy editor.

Pure; owner: the step thread.
"""

import math

from umad.scheduler.costs.cost_curve import ROWS
from umad.scheduler.costs.step_cost import ShapeCost
from umad.scheduler.costs.tiles import in_whole_tiles

# Cuts are remembered over about so much device time.
MEMORY_MS = 20_000.0
# After a time without cuts, they come less often than three in that time, at 95 % confidence (the
# "rule of three", Hanley and Lippman-Hand 1983). So the rate falls at once when cuts stop, and not
# only as the memory fades.
QUIET_CUTS = 3.0
# The longest slice, however quiet the machine is. A longer one brings no more tokens per second,
# and nobody hears meanwhile how far the work is.
LONGEST_MS = 4_000.0
# Sizes whose speeds differ by less than this factor are taken for equal, and the largest of them is
# chosen: the speed already counts what a cut would lose, and fewer steps have less time between
# them.
NEARLY = 1.03
# Smaller slices are not considered, because every slice reads all weights.
LEAST_TOKENS = 16
# Once in so many slices a size that was never tried is tried or, if there is none, the next larger
# one: its known speed may have been measured while other programs disturbed it.
TRY_LARGER_EVERY = 8


class CutRate:
    """Learns the number of cuts per millisecond of steps that may be cut, with a fading memory."""

    def __init__(self) -> None:
        self._cuts = 0.0
        self._ran_ms = 0.0
        self._quiet_ms = 0.0

    def ran(self, device_ms: float, *, was_cut: bool) -> None:
        """Learn from a step that could be cut and took `device_ms`."""
        kept = math.exp(-device_ms / MEMORY_MS)
        self._cuts = self._cuts * kept + was_cut
        self._ran_ms = self._ran_ms * kept + device_ms
        self._quiet_ms = 0.0 if was_cut else self._quiet_ms + device_ms

    @property
    def per_ms(self) -> float:
        """Cuts per millisecond; 0 where no cut is remembered."""
        # The rate is taken over at least a second, since one cut in the first step is no habit yet.
        rate = self._cuts / max(self._ran_ms, 1_000.0)
        return min(rate, QUIET_CUTS / self._quiet_ms) if self._quiet_ms else rate

    def tokens_per_ms(self, n_tokens: int, step_ms: float) -> float:
        """The speed of steps of this size that are computed again when they are cut. Cuts arrive as
        a Poisson process, so a whole step takes (e^(rate x step) - 1) / rate on average."""
        lost = self.per_ms * step_ms
        if lost < 1e-6:
            return n_tokens / step_ms
        return n_tokens * self.per_ms / math.expm1(min(lost, 50.0))


class SlicePicker:
    """Picks slice sizes by the learnt rate of cuts.

    bound_ms: the longest slice where a running step cannot be aborted soon; None where it can.
    """

    def __init__(self, cost: ShapeCost, *, bound_ms: float | None) -> None:
        self._cost = cost
        self._bound_ms = LONGEST_MS if bound_ms is None else bound_ms
        self.can_cut = bound_ms is None
        self.cuts = CutRate()
        self._since_larger = 0

    def pick(self, *, room: int, start: int, within_ms: float | None, beside: int = 0) -> int:
        """How many tokens the next slice has, 1 to `room`, for a prompt computed up to `start`.
        With the `beside` other rows of the step it fills whole tiles."""
        n_tokens, most = self._quickest(room=room, start=start, within_ms=within_ms, beside=beside)
        if n_tokens == room:
            return room  # a whole batch, or all that is left to do
        return in_whole_tiles(n_tokens, beside=beside, fits=lambda n: n <= most)

    def _quickest(
        self, *, room: int, start: int, within_ms: float | None, beside: int
    ) -> tuple[int, int]:
        """Return the size that brings most tokens per millisecond, and the largest size allowed."""
        cost = self._cost
        bound_ms = self._bound_ms if within_ms is None else min(within_ms, self._bound_ms)
        most = max(1, cost.most(bound_ms, room, start, beside))
        sizes = [*(n for n in ROWS if LEAST_TOKENS <= n < most), most]
        speeds = [self.cuts.tokens_per_ms(n, cost.slice_ms(n, start, beside)) for n in sizes]
        enough = max(speeds) / NEARLY
        untried = cost.rows.next_untried()
        for n, speed in zip(sizes, speeds, strict=True):
            # The known rate is assumed for sizes never tried, so a larger size does not look better
            # before it has been tried once.
            if n >= untried and speed >= enough:
                return n, most
        best = max(at for at, speed in enumerate(speeds) if speed >= enough)
        self._since_larger += 1
        if self._since_larger >= TRY_LARGER_EVERY and best + 1 < len(sizes):
            self._since_larger = 0
            best = next((at for at, n in enumerate(sizes) if n >= untried), best + 1)
        return sizes[best], most
