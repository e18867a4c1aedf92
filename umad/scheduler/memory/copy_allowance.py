"""Limits how many copies between the KV pool and host memory one step carries.

Beside interactive rows, copies take the place of background work, and only as many milliseconds as
the guard allows. A copy that a newcomer waits for may take as long as a slice of the newcomer's
prompt. While no interactive request decodes, copies get a few milliseconds of each step.

A prompt's state can be copied only before its next slice, so these copies come first. Then comes
what requests wait for, then what is copied before it is evicted, and last the ends of chats.

Not: what is copied, and whether that is worth it (`state_saving`, `restoring`, `parking`,
`end_saving`).
Pure; owner: the step thread.
"""

from umad.config import SchedulerSettings
from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.memory.checkpoints import Checkpoints
from umad.scheduler.memory.end_saving import EndSaver
from umad.scheduler.memory.parked_store import ParkedStore
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.purse import Purse
from umad.scheduler.memory.restoring import Restored, Restorer
from umad.scheduler.memory.state_saving import StateSaver
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.steps.candidates import Candidates, Hold, Reason
from umad.scheduler.steps.limits import StepLimits
from umad.scheduler.steps.patience import Patience
from umad.step import HouseKept, MemoryOp, ParkDrop, StateDrop, StepResult

# For the copies of a step without interactive rows. A request that arrives meanwhile hardly notices
# so short a wait.
COPY_MS = 8.0


class CopyAllowance:
    """The copies of one engine's steps."""

    def __init__(
        self,
        *,
        parker: Parker,
        restorer: Restorer,
        states: StateSaver,
        ends: EndSaver,
        store: ParkedStore,
        checkpoints: Checkpoints,
        copying: CopyCost,
        settings: SchedulerSettings,
        guarded: frozenset[str],
    ) -> None:
        self._parker = parker
        self._restorer = restorer
        self._states = states
        self._ends = ends
        self._store = store
        self._checkpoints = checkpoints
        self._copying = copying
        self._patience = Patience(settings.newcomer_ms)
        self._guarded = guarded
        self._for_background = False

    def load(
        self, candidates: Candidates, limits: StepLimits
    ) -> tuple[tuple[MemoryOp, ...], Hold | None]:
        """Return the copies of the next step, and a hold on the background work they replace."""
        self._for_background = False
        groups = [candidates.prefill, candidates.background_prefill]
        if self._states.may_be_late:
            groups += [candidates.decode, candidates.background_decode]
        stopped = [
            entry
            for group in groups
            for entry in group
            if entry.stop and entry.stop <= entry.n_computed
        ]
        if not (
            stopped
            or self._restorer.has_work
            or self._parker.has_work
            or self._ends.has_work
            or self._checkpoints.has_dropped
        ):
            return (), None
        newcomer_ms, background_ms = self._room_ms(candidates, limits)
        newcomer, background = Purse(newcomer_ms), Purse(background_ms)
        ops: list[MemoryOp] = []
        waiting: tuple[ScheduledRequest, ...] = ()
        if stopped:
            saves, waiting = self._states.next_ops(
                stopped, guarded=self._guarded, newcomer=newcomer, background=background
            )
            ops += saves
        if self._restorer.has_work:
            ops += self._restorer.next_ops(
                guarded=self._guarded, newcomer=newcomer, background=background
            )
        ops += self._parker.next_ops(newcomer=newcomer, background=background)
        if self._ends.has_work:
            ops += self._ends.next_ops(background)
        self._for_background = background.spent
        dropped: list[MemoryOp] = [ParkDrop(key=key) for key in self._store.take_dropped()]
        dropped += [StateDrop(key=key) for key in self._checkpoints.take_dropped()]
        return (*dropped, *ops), self._hold(candidates, waiting)

    def settle(self, kept: HouseKept | None) -> Restored:
        """Book the results of the last plan's copies."""
        self._states.settle(kept)
        restored = self._restorer.settle(kept)
        self._parker.settle(kept)
        return restored

    def _hold(self, candidates: Candidates, waiting: tuple[ScheduledRequest, ...]) -> Hold | None:
        if self._for_background:
            return Hold(
                reason=Reason.COPIES,
                background=bool(candidates.decode),
                embeds=True,
                prompts=waiting,
            )
        return Hold(reason=Reason.COPIES, prompts=waiting) if waiting else None

    def background_ms(self, result: StepResult) -> float:
        """How many milliseconds of a step's copies count as background work; 0 for none."""
        if not self._for_background or result.house is None:
            return 0.0
        return result.house.copy_ms

    def _room_ms(self, candidates: Candidates, limits: StepLimits) -> tuple[float, float]:
        """Return the milliseconds for copies that a newcomer waits for, and for all others."""
        if not limits.rows:
            return COPY_MS, 0.0 if candidates.prefill else COPY_MS
        return (
            self._patience.piece_ms(len(limits.rows), limits.solo_ms),
            limits.allowance_ms(self._piece_ms()),
        )

    def _piece_ms(self) -> float:
        """Milliseconds of the largest copy that cannot be made in pieces: a slab or a state."""
        shape = self._store.shape
        slab_ms = self._copying.copy_ms(self._store.most_cells) if shape.has_cells else 0.0
        return max(slab_ms, self._copying.bytes_ms(shape.state_bytes))
