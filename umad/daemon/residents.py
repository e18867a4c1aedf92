"""Looks at the models that hold memory: how much, what they have to do, what they are about to do.

Values for `umad.daemon.room`, made of the keepers as they stand now. Not: what follows from them
(`umad.daemon.rotation`). Owner: none; nothing is kept.
"""

from collections.abc import Iterable, Mapping

from umad.daemon.engine import Engine
from umad.daemon.engine_state import GONE, EngineState
from umad.daemon.keeper import Keeper
from umad.daemon.room import Resident, Stand, Work

_HOLDS_NOTHING = (EngineState.WAITING, *GONE)
_STANDS: Mapping[EngineState, Stand] = {
    EngineState.STARTING: Stand.STARTING,
    EngineState.DEAD: Stand.STARTING,
    EngineState.YIELDING: Stand.YIELDING,
    EngineState.SUSPENDING: Stand.LEAVING,
    EngineState.REOPENING: Stand.LEAVING,
    EngineState.DRAINING: Stand.LEAVING,
}


def residents(
    keepers: Iterable[Keeper], *, besides: str, interactive: frozenset[str]
) -> list[Resident]:
    """The models that hold memory, or are about to, but one. interactive: the lanes of interactive
    work.
    """
    found = []
    for keeper in keepers:
        engine = keeper.engine
        if engine.name == besides or engine.state in _HOLDS_NOTHING:
            continue
        found.append(
            Resident(
                name=engine.name,
                n_bytes=keeper.held_bytes,
                stand=_STANDS.get(engine.state, Stand.SETTLED),
                work=work_of(engine, interactive),
                is_pinned=engine.keep_alive.is_pinned,
                ready_ns=engine.ready_ns,
                load_ns=engine.load_ns,
                used_ns=engine.used_ns,
            )
        )
    return found


def work_of(engine: Engine, interactive: frozenset[str]) -> Work:
    """What an engine has to do."""
    if not engine.is_wanted:
        return Work.NONE
    is_interactive = any(lane in interactive for lane in engine.lanes())
    return Work.INTERACTIVE if is_interactive else Work.BACKGROUND
