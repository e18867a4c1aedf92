"""Defines the life of one engine as a table: the keeper walks it, `models` shows it. Pure."""

import enum

from umad.state_table import StateTable


class EngineState(enum.Enum):
    """The states of an engine; `models` shows the values."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    # Its process ends, or has ended, to give memory back. The model keeps its place, and its next
    # request starts it again.
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    # A request came while the process was ending.
    REOPENING = "reopening"
    DEAD = "dead"
    FAILED = "failed"
    STOPPED = "stopped"


class EngineEvent(enum.Enum):
    """The events that can happen to an engine."""

    LOAD = "load"
    READY = "ready"
    DIED = "died"
    RESTART = "restart"
    GIVE_UP = "give_up"
    UNLOAD = "unload"
    SUSPEND = "suspend"


# The whole life of an engine. A pair that is not in the table is a bug, and raises an error.
NEXT: dict[tuple[EngineState, EngineEvent], EngineState] = {
    (EngineState.STARTING, EngineEvent.READY): EngineState.READY,
    (EngineState.STARTING, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.STARTING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.READY, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.READY, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.READY, EngineEvent.SUSPEND): EngineState.SUSPENDING,
    (EngineState.SUSPENDING, EngineEvent.DIED): EngineState.SUSPENDED,
    (EngineState.SUSPENDING, EngineEvent.LOAD): EngineState.REOPENING,
    (EngineState.SUSPENDING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.REOPENING, EngineEvent.DIED): EngineState.STARTING,
    (EngineState.REOPENING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.SUSPENDED, EngineEvent.LOAD): EngineState.STARTING,
    (EngineState.SUSPENDED, EngineEvent.UNLOAD): EngineState.STOPPED,
    (EngineState.DEAD, EngineEvent.RESTART): EngineState.STARTING,
    (EngineState.DEAD, EngineEvent.GIVE_UP): EngineState.FAILED,
    (EngineState.DRAINING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.READY): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.DIED): EngineState.STOPPED,
    (EngineState.FAILED, EngineEvent.LOAD): EngineState.STARTING,
    (EngineState.FAILED, EngineEvent.UNLOAD): EngineState.STOPPED,
}
LIFE = StateTable("an engine", NEXT)
