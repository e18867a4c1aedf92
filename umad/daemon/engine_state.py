"""Defines the life of one engine as a table: the keeper walks it, `models` shows it. Pure."""

import enum

from umad.state_table import StateTable


class EngineState(enum.Enum):
    """The states of an engine; `models` shows the values."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
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


# The whole life of an engine. A pair that is not in the table is a bug, and raises an error.
NEXT: dict[tuple[EngineState, EngineEvent], EngineState] = {
    (EngineState.STARTING, EngineEvent.READY): EngineState.READY,
    (EngineState.STARTING, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.STARTING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.READY, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.READY, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.DEAD, EngineEvent.RESTART): EngineState.STARTING,
    (EngineState.DEAD, EngineEvent.GIVE_UP): EngineState.FAILED,
    (EngineState.DRAINING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.READY): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.DIED): EngineState.STOPPED,
    (EngineState.FAILED, EngineEvent.LOAD): EngineState.STARTING,
    (EngineState.FAILED, EngineEvent.UNLOAD): EngineState.STOPPED,
}
LIFE = StateTable("an engine", NEXT)
