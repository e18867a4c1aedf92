"""Says of a model that is to be removed who uses it: an engine, or requests that name an adapter.

The daemon asks this of its own engines, and `umad rm` of the rows that the daemon lists. A model
without a process that nobody waits for is used by nobody: it is only remembered. Pure.
Not: which files go (`umad.models.removal`).
"""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from umad.daemon.engine_state import EngineState
from umad.errors import Refused

_MOST_APPS = 5
_AT_REST = (EngineState.SUSPENDED, EngineState.FAILED)
_WORDS: Mapping[EngineState, str] = {
    EngineState.WAITING: "is being loaded",
    EngineState.STARTING: "is being loaded",
    EngineState.REOPENING: "is being loaded",
}
# Its process ends by itself.
_ENDING: Mapping[EngineState, str] = {
    EngineState.SUSPENDING: "is giving its memory back",
    EngineState.DRAINING: "is being unloaded",
}


def state_of(row: Mapping[str, Any]) -> EngineState:
    """The state of a row that the daemon lists. One of a newer daemon's own is as if it ran."""
    known = {one.value: one for one in EngineState}
    return known.get(str(row.get("state")), EngineState.READY)


def is_at_rest(state: EngineState, *, is_wanted: bool) -> bool:
    """Whether an engine has no process and nobody waits for one, so that it may be forgotten."""
    return state in _AT_REST and not is_wanted


def refusal(
    model: str, *, engine: str, state: EngineState, apps: Iterable[str], by: str = ""
) -> Refused:
    """The error for a model that an engine has open. engine: the name to unload. by: whose engine
    it is, in words.
    """
    if state in _ENDING:
        return Refused(f"{model} {_ENDING[state]}{by}; try again in a moment", field="model")
    return Refused(
        f"{model} {_WORDS.get(state, 'is loaded')}{by}{_used(apps, ', and used by ')}; unload it "
        f"first: umad unload {shlex.quote(engine)}",
        field="model",
    )


def adapter_refusal(adapter: str, apps: Iterable[str]) -> Refused:
    """The error for an adapter that requests are using."""
    return Refused(
        f"{adapter} is in use{_used(apps, ' by ')}; try again when that has ended, or end it: "
        "umad ps, umad cancel",
        field="model",
    )


def _used(apps: Iterable[str], before: str) -> str:
    names = list(dict.fromkeys(apps))
    if not names:
        return ""
    more = f" and {len(names) - _MOST_APPS} more" if len(names) > _MOST_APPS else ""
    return f"{before}{', '.join(names[:_MOST_APPS])}{more}"
