"""Carries out the `forget` verb: deletes what is kept of a session in every place that keeps it.

    engines    cells of the pool, host memory, files of their own models
    journals   a restarted engine must leave nothing of a live request either
    files      of models that are not loaded
    admission  the lane the session was moved to

A request that runs in the session continues; what it leaves is deleted when it ends.
Not: who may ask (`umad.daemon.authority`). Owner: the daemon's event loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from umad.asker import Asker
from umad.daemon.admission import Admission
from umad.daemon.authority import session_key, session_name, sessions_of
from umad.daemon.engine import Engine
from umad.daemon.engine_state import SERVING
from umad.daemon.saved_sessions import SavedSessions
from umad.daemon.supervisor import Supervisor
from umad.errors import InternalError, UmadError, UnknownRequest
from umad.forgetting import ForgetScope
from umad.protocol.messages import Forget


class Forgetting:
    """Forgets sessions in one daemon.

    next_rid: returns a number higher than the rid of every completion so far.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        admission: Admission,
        saved: SavedSessions,
        next_rid: Callable[[], int],
    ) -> None:
        self._supervisor = supervisor
        self._admission = admission
        self._saved = saved
        self._next_rid = next_rid

    async def forget(self, request: Forget, asker: Asker) -> Mapping[str, Any]:
        """Forget what `request` names. Returns the names of the deleted sessions, and of those that
        are deleted when their requests end.

        A name means the asker's own session; "all" of an admin means everybody's. Raises
        `UnknownRequest` where nothing is kept under the name, and the error of an engine that could
        not delete.
        """
        scope = scope_of(request, asker)
        known = self._admission.forget(asker, request.session)
        in_use = set[str]()
        for engine in self._supervisor:
            in_use |= engine.journal.forget(scope)
        engines = [engine for engine in self._supervisor if engine.state in SERVING]
        answers = await asyncio.gather(
            *(self._ask(engine, scope) for engine in engines), return_exceptions=True
        )
        try:
            # After the engines, because they may just have been writing a file.
            given_up = await asyncio.to_thread(self._saved.forget, scope)
        except OSError:
            raise InternalError("a file of a session cannot be removed") from None
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            given_up |= set(answer["sessions"])
            in_use |= set(answer["in_use"])
        if request.session is not None and not (known or given_up or in_use):
            raise UnknownRequest(
                f"nothing is kept for a session called {request.session}", field="session"
            )
        return {"sessions": _shown(given_up - in_use), "in_use": _shown(in_use)}

    async def _ask(self, engine: Engine, scope: ForgetScope) -> Mapping[str, Any]:
        args = {
            "session": scope.session,
            "owner": scope.owner,
            "prefix": scope.prefix,
            "before_rid": self._next_rid(),
        }
        try:
            answer: Mapping[str, Any] = await engine.call("forget", args)
        except UmadError:
            if engine.state not in SERVING:  # it has gone, and what it had in memory with it
                return {"sessions": (), "in_use": ()}
            raise
        return answer


def scope_of(request: Forget, asker: Asker) -> ForgetScope:
    """The sessions that `asker` means by `request`."""
    if request.session is not None:
        return ForgetScope(session=session_key(asker.owner, request.session))
    if asker.is_admin:
        return ForgetScope()
    return ForgetScope(owner=asker.owner, prefix=sessions_of(asker.owner))


def _shown(keys: set[str]) -> list[str]:
    """The names that the owners gave these sessions, each name once."""
    return sorted({session_name(key) for key in keys})
