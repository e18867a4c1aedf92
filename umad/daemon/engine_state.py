"""Defines the life of one engine as a table: the keeper walks it, `models` shows it. Pure."""

import enum

from umad.state_table import StateTable


class EngineState(enum.Enum):
    """The states of an engine; `models` shows the values."""

    # It is asked for, and other models may have to leave before it is started.
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    # Another model needs its room: it ends what runs, and what comes now waits until it is started
    # again.
    YIELDING = "yielding"
    DRAINING = "draining"
    # Its process ends, or has ended, to give memory back. The model keeps its name, and its next
    # request starts it again.
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    # Its process is ending, and it is asked for again.
    REOPENING = "reopening"
    DEAD = "dead"
    FAILED = "failed"
    STOPPED = "stopped"


class EngineEvent(enum.Enum):
    """The events that can happen to an engine."""

    # Somebody asks for it.
    LOAD = "load"
    # It has room.
    START = "start"
    # It gets no room, or nobody waits for it any more.
    TURN_AWAY = "turn_away"
    READY = "ready"
    YIELD = "yield"
    DIED = "died"
    RESTART = "restart"
    GIVE_UP = "give_up"
    UNLOAD = "unload"
    SUSPEND = "suspend"


# The whole life of an engine. A pair that is not in the table is a bug, and raises an error.
NEXT: dict[tuple[EngineState, EngineEvent], EngineState] = {
    (EngineState.WAITING, EngineEvent.START): EngineState.STARTING,
    (EngineState.WAITING, EngineEvent.TURN_AWAY): EngineState.SUSPENDED,
    (EngineState.WAITING, EngineEvent.UNLOAD): EngineState.STOPPED,
    (EngineState.STARTING, EngineEvent.READY): EngineState.READY,
    (EngineState.STARTING, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.STARTING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.READY, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.READY, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.READY, EngineEvent.YIELD): EngineState.YIELDING,
    (EngineState.READY, EngineEvent.SUSPEND): EngineState.SUSPENDING,
    (EngineState.YIELDING, EngineEvent.DIED): EngineState.SUSPENDED,
    (EngineState.YIELDING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.YIELDING, EngineEvent.SUSPEND): EngineState.SUSPENDING,
    (EngineState.SUSPENDING, EngineEvent.DIED): EngineState.SUSPENDED,
    (EngineState.SUSPENDING, EngineEvent.LOAD): EngineState.REOPENING,
    (EngineState.SUSPENDING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.REOPENING, EngineEvent.DIED): EngineState.WAITING,
    (EngineState.REOPENING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.SUSPENDED, EngineEvent.LOAD): EngineState.WAITING,
    (EngineState.SUSPENDED, EngineEvent.UNLOAD): EngineState.STOPPED,
    (EngineState.DEAD, EngineEvent.RESTART): EngineState.STARTING,
    (EngineState.DEAD, EngineEvent.GIVE_UP): EngineState.FAILED,
    (EngineState.DRAINING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.READY): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.DIED): EngineState.STOPPED,
    (EngineState.FAILED, EngineEvent.LOAD): EngineState.WAITING,
    (EngineState.FAILED, EngineEvent.UNLOAD): EngineState.STOPPED,
}
LIFE = StateTable("an engine", NEXT)

# There is a process that answers.
SERVING = (EngineState.READY, EngineState.YIELDING)
# There is no process, and none is about to be started.
GONE = (EngineState.SUSPENDED, EngineState.FAILED, EngineState.STOPPED)
# It answers nothing any more, unless somebody asks for it again.
ENDED = (EngineState.DRAINING, EngineState.FAILED, EngineState.STOPPED)
