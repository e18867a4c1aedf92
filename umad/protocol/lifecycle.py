"""The life of one completion, as a table: the daemon walks it, `umad ps` shows it.

Not: what to do on the way. Pure; the state is a value and belongs to whoever holds it.

    QUEUED ──▶ PREFILL ──▶ GENERATING ──▶ DONE
      ▲ └───────── any of them ──────────▶ FAILED
      │            │ pause      │ cancel
      └─ resume ─ PAUSED ────▶ CANCELLING ──▶ DONE
"""

from enum import Enum

from umad.state_table import StateTable


class LifecycleState(Enum):
    """Where a completion stands."""

    QUEUED = "queued"
    PREFILL = "prefill"
    GENERATING = "generating"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"


class LifecycleEvent(Enum):
    """What happens to it.

    PREFILLED, TOKENS, ENDED, REJECTED: news from the engine. PAUSE, RESUME: the client has
    stopped reading, or reads again. CANCEL: somebody no longer wants it. ENGINE_LOST: the engine
    died and a new one is handed the completion again. FAIL: the daemon gives it up (deadline,
    engine beyond repair).
    """

    PREFILLED = "prefilled"
    TOKENS = "tokens"
    ENDED = "ended"
    REJECTED = "rejected"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    ENGINE_LOST = "engine_lost"
    FAIL = "fail"


FINAL = frozenset({LifecycleState.DONE, LifecycleState.FAILED})

NEXT: dict[tuple[LifecycleState, LifecycleEvent], LifecycleState] = {
    (LifecycleState.QUEUED, LifecycleEvent.PREFILLED): LifecycleState.PREFILL,
    (LifecycleState.QUEUED, LifecycleEvent.TOKENS): LifecycleState.GENERATING,
    (LifecycleState.QUEUED, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.QUEUED, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.QUEUED, LifecycleEvent.PAUSE): LifecycleState.PAUSED,
    # Pause and resume may cross: resuming what runs changes nothing.
    (LifecycleState.QUEUED, LifecycleEvent.RESUME): LifecycleState.QUEUED,
    (LifecycleState.QUEUED, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    (LifecycleState.QUEUED, LifecycleEvent.ENGINE_LOST): LifecycleState.QUEUED,
    (LifecycleState.QUEUED, LifecycleEvent.FAIL): LifecycleState.FAILED,
    (LifecycleState.PREFILL, LifecycleEvent.PREFILLED): LifecycleState.PREFILL,
    (LifecycleState.PREFILL, LifecycleEvent.TOKENS): LifecycleState.GENERATING,
    (LifecycleState.PREFILL, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.PREFILL, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.PREFILL, LifecycleEvent.PAUSE): LifecycleState.PAUSED,
    (LifecycleState.PREFILL, LifecycleEvent.RESUME): LifecycleState.PREFILL,
    (LifecycleState.PREFILL, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    (LifecycleState.PREFILL, LifecycleEvent.ENGINE_LOST): LifecycleState.QUEUED,
    (LifecycleState.PREFILL, LifecycleEvent.FAIL): LifecycleState.FAILED,
    # A preempted completion whose cells were dropped is prefilled once more.
    (LifecycleState.GENERATING, LifecycleEvent.PREFILLED): LifecycleState.PREFILL,
    (LifecycleState.GENERATING, LifecycleEvent.TOKENS): LifecycleState.GENERATING,
    (LifecycleState.GENERATING, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.GENERATING, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.GENERATING, LifecycleEvent.PAUSE): LifecycleState.PAUSED,
    (LifecycleState.GENERATING, LifecycleEvent.RESUME): LifecycleState.GENERATING,
    (LifecycleState.GENERATING, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    (LifecycleState.GENERATING, LifecycleEvent.ENGINE_LOST): LifecycleState.QUEUED,
    (LifecycleState.GENERATING, LifecycleEvent.FAIL): LifecycleState.FAILED,
    # News of the step that ran while the pause was on its way.
    (LifecycleState.PAUSED, LifecycleEvent.PREFILLED): LifecycleState.PAUSED,
    (LifecycleState.PAUSED, LifecycleEvent.TOKENS): LifecycleState.PAUSED,
    (LifecycleState.PAUSED, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.PAUSED, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.PAUSED, LifecycleEvent.PAUSE): LifecycleState.PAUSED,
    # It waits for its turn again; the engine's next news says how far it is.
    (LifecycleState.PAUSED, LifecycleEvent.RESUME): LifecycleState.QUEUED,
    (LifecycleState.PAUSED, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    (LifecycleState.PAUSED, LifecycleEvent.ENGINE_LOST): LifecycleState.PAUSED,
    (LifecycleState.PAUSED, LifecycleEvent.FAIL): LifecycleState.FAILED,
    # News of the step that ran while the cancel was on its way.
    (LifecycleState.CANCELLING, LifecycleEvent.PREFILLED): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.TOKENS): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.CANCELLING, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.CANCELLING, LifecycleEvent.PAUSE): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.RESUME): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    # Nobody wants it any more, so the new engine never hears of it.
    (LifecycleState.CANCELLING, LifecycleEvent.ENGINE_LOST): LifecycleState.DONE,
    (LifecycleState.CANCELLING, LifecycleEvent.FAIL): LifecycleState.FAILED,
}


LIFE = StateTable("a completion", NEXT)


def advance(state: LifecycleState, event: LifecycleEvent) -> LifecycleState:
    """The state after `event`. Raises `ImpossibleTransition` where the table has none."""
    return LIFE.after(state, event)
