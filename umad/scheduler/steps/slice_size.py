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
from umad.scheduler.steps.cut_cost import FREE_CUTS, CutCost
from umad.scheduler.steps.cut_wait import CutWait

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

    def tokens_per_ms(self, n_tokens: int, step_ms: float, *, save_ms: float = 0.0) -> float:
        """The speed of steps of this size that are computed again when they are cut. Cuts arrive as
        a Poisson process, so a whole step takes (e^(rate x step) - 1) / rate on average. save_ms:
        of what is saved before each try."""
        whole_ms = step_ms + save_ms
        lost = self.per_ms * whole_ms
        if lost < 1e-6:
            return n_tokens / whole_ms
        return n_tokens * self.per_ms / math.expm1(min(lost, 50.0))


class SlicePicker:
    """Picks slice sizes by the learnt rate of cuts.

    wait: how soon a cut gives the device back. cut_cost: what it costs that a step may be cut.
    uncut_ms: the longest step that may not, and the longest that an arrival waits for a cut.
    """

    def __init__(
        self,
        cost: ShapeCost,
        *,
        wait: CutWait,
        cut_cost: CutCost = FREE_CUTS,
        uncut_ms: float = LONGEST_MS,
    ) -> None:
        self._cost = cost
        self._cut_cost = cut_cost
        self._uncut_ms = uncut_ms
        self.wait = wait
        self.cuts = CutRate()
        self._since_larger = 0

    def pick(
        self,
        *,
        room: int,
        start: int,
        within_ms: float | None,
        beside: int = 0,
        alone: bool = True,
    ) -> int:
        """How many tokens the next slice has, 1 to `room`, for a prompt computed up to `start`.
        With the `beside` other rows of the step it fills whole tiles. alone: no other sequence has
        a slice in the step."""
        bound_ms = self.wait.longest_ms(self._uncut_ms, LONGEST_MS)
        if within_ms is not None:
            bound_ms = min(within_ms, bound_ms)
        most = max(1, self._cost.most(bound_ms, room, start, beside))
        if not self._may_take(most, start, alone=alone and not beside):
            most = max(1, self._cost.most(min(bound_ms, self._uncut_ms), room, start, beside))
        n_tokens = self._quickest(most, start=start, beside=beside)
        if n_tokens == room:
            return room  # a whole batch, or all that is left to do
        whole = in_whole_tiles(n_tokens, beside=beside, fits=lambda n: n <= most)
        return whole if self._may_take(whole, start, alone=alone and not beside) else n_tokens

    def is_long(self, n_tokens: int, start: int) -> bool:
        """Whether a step of this slice alone takes longer than a step that may not be cut."""
        return self._cost.slice_ms(n_tokens, start) > self._uncut_ms

    def _may_take(self, n_tokens: int, start: int, *, alone: bool) -> bool:
        """Whether a step may have so large a slice: it may be cut, or is short."""
        if not self._cut_cost.saves:
            return True
        step_ms = self._cost.slice_ms(n_tokens, start)
        return step_ms <= self._uncut_ms or (alone and self._cut_cost.pays(step_ms, start))

    def _quickest(self, most: int, *, start: int, beside: int) -> int:
        """Return the size, up to `most`, that brings most tokens per millisecond."""
        cost = self._cost
        # Where the longest slice may be cut, so may most others. Those may not be cut that are long
        # and yet not long enough for the save before them.
        sizes = [
            *(n for n in ROWS if LEAST_TOKENS <= n < most and self._may_take(n, start, alone=True)),
            most,
        ]
        speeds = [
            self.cuts.tokens_per_ms(n, step_ms, save_ms=self._save_ms(step_ms, start))
            for n in sizes
            for step_ms in (cost.slice_ms(n, start, beside),)
        ]
        enough = max(speeds) / NEARLY
        untried = cost.rows.next_untried()
        for n, speed in zip(sizes, speeds, strict=True):
            # The known rate is assumed for sizes never tried, so a larger size does not look better
            # before it has been tried once.
            if n >= untried and speed >= enough:
                return n
        best = max(at for at, speed in enumerate(speeds) if speed >= enough)
        self._since_larger += 1
        if self._since_larger >= TRY_LARGER_EVERY and best + 1 < len(sizes):
            self._since_larger = 0
            best = next((at for at, n in enumerate(sizes) if n >= untried), best + 1)
        return sizes[best]

    def _save_ms(self, step_ms: float, start: int) -> float:
        """Milliseconds of the save before a step of a slice; 0 for one that may not be cut."""
        return self._cut_cost.of(start) if self._cut_cost.pays(step_ms, start) else 0.0
