"""Defines the life of one completion as a table: the daemon walks it, `umad ps` shows it.

Not: acting on a change of state. Pure; the state is a value and belongs to its holder.

    QUEUED ──▶ PREFILL ──▶ GENERATING ──▶ DONE
      ▲ └───────── any of them ──────────▶ FAILED
      │            │ pause      │ cancel
      └─ resume ─ PAUSED ────▶ CANCELLING ──▶ DONE
"""

from enum import Enum

from umad.state_table import StateTable


class LifecycleState(Enum):
    """The states of a completion."""

    QUEUED = "queued"
    PREFILL = "prefill"
    GENERATING = "generating"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"


class LifecycleEvent(Enum):
    """The events that change a completion's state."""

    # PREFILLED, TOKENS, ENDED and REJECTED are news from the engine.
    PREFILLED = "prefilled"
    TOKENS = "tokens"
    ENDED = "ended"
    REJECTED = "rejected"
    # PAUSE: the client has stopped reading. RESUME: it reads again.
    PAUSE = "pause"
    RESUME = "resume"
    # The client no longer wants it.
    CANCEL = "cancel"
    # The engine died, and a new one gets the completion again.
    ENGINE_LOST = "engine_lost"
    # The daemon gives it up (deadline, engine beyond repair).
    FAIL = "fail"


FINAL = frozenset({LifecycleState.DONE, LifecycleState.FAILED})

NEXT: dict[tuple[LifecycleState, LifecycleEvent], LifecycleState] = {
    (LifecycleState.QUEUED, LifecycleEvent.PREFILLED): LifecycleState.PREFILL,
    (LifecycleState.QUEUED, LifecycleEvent.TOKENS): LifecycleState.GENERATING,
    (LifecycleState.QUEUED, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.QUEUED, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.QUEUED, LifecycleEvent.PAUSE): LifecycleState.PAUSED,
    # Pause and resume may cross on the way, so resuming a running completion changes nothing.
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
    # These are the news of the step that ran while the pause was on its way.
    (LifecycleState.PAUSED, LifecycleEvent.PREFILLED): LifecycleState.PAUSED,
    (LifecycleState.PAUSED, LifecycleEvent.TOKENS): LifecycleState.PAUSED,
    (LifecycleState.PAUSED, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.PAUSED, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.PAUSED, LifecycleEvent.PAUSE): LifecycleState.PAUSED,
    # The completion waits again; the engine's next news tells how far it is.
    (LifecycleState.PAUSED, LifecycleEvent.RESUME): LifecycleState.QUEUED,
    (LifecycleState.PAUSED, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    (LifecycleState.PAUSED, LifecycleEvent.ENGINE_LOST): LifecycleState.PAUSED,
    (LifecycleState.PAUSED, LifecycleEvent.FAIL): LifecycleState.FAILED,
    # These are the news of the step that ran while the cancel was on its way.
    (LifecycleState.CANCELLING, LifecycleEvent.PREFILLED): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.TOKENS): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.ENDED): LifecycleState.DONE,
    (LifecycleState.CANCELLING, LifecycleEvent.REJECTED): LifecycleState.FAILED,
    (LifecycleState.CANCELLING, LifecycleEvent.PAUSE): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.RESUME): LifecycleState.CANCELLING,
    (LifecycleState.CANCELLING, LifecycleEvent.CANCEL): LifecycleState.CANCELLING,
    # The client no longer wants it, so the new engine does not get it.
    (LifecycleState.CANCELLING, LifecycleEvent.ENGINE_LOST): LifecycleState.DONE,
    (LifecycleState.CANCELLING, LifecycleEvent.FAIL): LifecycleState.FAILED,
}


LIFE = StateTable("a completion", NEXT)


def advance(state: LifecycleState, event: LifecycleEvent) -> LifecycleState:
    """The state after `event`. Raises `ImpossibleTransition` where the table has no row."""
    return LIFE.after(state, event)
