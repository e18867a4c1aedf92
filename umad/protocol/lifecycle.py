"""The life of one completion, as a table: the daemon walks it, `umad ps` shows it.

Not: what to do on the way. Pure; the state is a value and belongs to whoever holds it.

    QUEUED ──▶ PREFILL ──▶ GENERATING ──▶ DONE
      ▲ └───────── any of them ──────────▶ FAILED
      │            │ pause      │ cancel
      └─ resume ─ PAUSED ────▶ CANCELLING ──▶ DONE
"""

from enum import Enum

from umad.state_table import StateTable


class State(Enum):
    """Where a completion stands."""

    QUEUED = "queued"
    PREFILL = "prefill"
    GENERATING = "generating"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"


class Event(Enum):
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


FINAL = frozenset({State.DONE, State.FAILED})

NEXT: dict[tuple[State, Event], State] = {
    (State.QUEUED, Event.PREFILLED): State.PREFILL,
    (State.QUEUED, Event.TOKENS): State.GENERATING,
    (State.QUEUED, Event.ENDED): State.DONE,
    (State.QUEUED, Event.REJECTED): State.FAILED,
    (State.QUEUED, Event.PAUSE): State.PAUSED,
    # Pause and resume may cross: resuming what runs changes nothing.
    (State.QUEUED, Event.RESUME): State.QUEUED,
    (State.QUEUED, Event.CANCEL): State.CANCELLING,
    (State.QUEUED, Event.ENGINE_LOST): State.QUEUED,
    (State.QUEUED, Event.FAIL): State.FAILED,
    (State.PREFILL, Event.PREFILLED): State.PREFILL,
    (State.PREFILL, Event.TOKENS): State.GENERATING,
    (State.PREFILL, Event.ENDED): State.DONE,
    (State.PREFILL, Event.REJECTED): State.FAILED,
    (State.PREFILL, Event.PAUSE): State.PAUSED,
    (State.PREFILL, Event.RESUME): State.PREFILL,
    (State.PREFILL, Event.CANCEL): State.CANCELLING,
    (State.PREFILL, Event.ENGINE_LOST): State.QUEUED,
    (State.PREFILL, Event.FAIL): State.FAILED,
    # A preempted completion whose cells were dropped is prefilled once more.
    (State.GENERATING, Event.PREFILLED): State.PREFILL,
    (State.GENERATING, Event.TOKENS): State.GENERATING,
    (State.GENERATING, Event.ENDED): State.DONE,
    (State.GENERATING, Event.REJECTED): State.FAILED,
    (State.GENERATING, Event.PAUSE): State.PAUSED,
    (State.GENERATING, Event.RESUME): State.GENERATING,
    (State.GENERATING, Event.CANCEL): State.CANCELLING,
    (State.GENERATING, Event.ENGINE_LOST): State.QUEUED,
    (State.GENERATING, Event.FAIL): State.FAILED,
    # News of the step that ran while the pause was on its way.
    (State.PAUSED, Event.PREFILLED): State.PAUSED,
    (State.PAUSED, Event.TOKENS): State.PAUSED,
    (State.PAUSED, Event.ENDED): State.DONE,
    (State.PAUSED, Event.REJECTED): State.FAILED,
    (State.PAUSED, Event.PAUSE): State.PAUSED,
    # It waits for its turn again; the engine's next news says how far it is.
    (State.PAUSED, Event.RESUME): State.QUEUED,
    (State.PAUSED, Event.CANCEL): State.CANCELLING,
    (State.PAUSED, Event.ENGINE_LOST): State.PAUSED,
    (State.PAUSED, Event.FAIL): State.FAILED,
    # News of the step that ran while the cancel was on its way.
    (State.CANCELLING, Event.PREFILLED): State.CANCELLING,
    (State.CANCELLING, Event.TOKENS): State.CANCELLING,
    (State.CANCELLING, Event.ENDED): State.DONE,
    (State.CANCELLING, Event.REJECTED): State.FAILED,
    (State.CANCELLING, Event.PAUSE): State.CANCELLING,
    (State.CANCELLING, Event.RESUME): State.CANCELLING,
    (State.CANCELLING, Event.CANCEL): State.CANCELLING,
    # Nobody wants it any more, so the new engine never hears of it.
    (State.CANCELLING, Event.ENGINE_LOST): State.DONE,
    (State.CANCELLING, Event.FAIL): State.FAILED,
}


LIFE = StateTable("a completion", NEXT)


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises `ImpossibleTransition` where the table has none."""
    return LIFE.after(state, event)
