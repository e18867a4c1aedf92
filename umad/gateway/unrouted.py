"""Refuses what no endpoint is asked for: unknown paths, wrong methods, and preflights of pages that
are not allowed. Each refusal says what would have been right.

Not: paths that are served (`umad.gateway.dispatch`). Nothing is read here, so nothing has to be
closed.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from umad.errors import UmadError
from umad.gateway.dialects import DIALECT_OF_PREFIX
from umad.gateway.dispatch import refuse
from umad.gateway.door.hosts import HostRule
from umad.gateway.errors import Forbidden, NoSuchPath, WrongMethod
from umad.gateway.near_path import ServedPath, near_path
from umad.gateway.request_ids import request_id_of

_QUOTED_CHARS = 128


class Unrouted:
    """The refusals of one gateway."""

    def __init__(self, rule: HostRule, served: Sequence[ServedPath]) -> None:
        self._rule = rule
        self._served = served

    async def answer(self, request: Request, error: Exception) -> Response:
        """Refuse an unknown path or method, in the shape of the dialect that the path looks like.
        A page that is not allowed is told that first, as at every other path.
        """
        method, path = request.method, str(request.scope["path"])
        allowed = (error.headers or {}) if isinstance(error, HTTPException) else {}
        if isinstance(error, HTTPException) and error.status_code == 405:
            methods = allowed.get("Allow") or allowed.get("allow") or "another method"
            said: UmadError = WrongMethod(
                f"{method} is not for {path[:_QUOTED_CHARS]}; {methods} is"
            )
            near = path
        else:
            found = near_path(method, path, self._served)
            meant = "" if found is None else f"did you mean {found}? "
            said = NoSuchPath(
                f"nothing is served at {path[:_QUOTED_CHARS]}; {meant}/docs lists what is"
            )
            near = path if found is None else found.partition(" ")[2]
        response = self._refuse(request.headers, said, near)
        response.headers.update(allowed)  # of a 405, what is allowed
        return response

    def preflight(self, headers: Headers) -> Response:
        """Refuse a browser's question whether a page may ask."""
        return self._refuse(headers, Forbidden("this page may not use this gateway"), "/")

    def _refuse(self, headers: Headers, said: UmadError, path: str) -> Response:
        origin = headers.get("origin")
        if origin is not None:
            try:
                self._rule.check_origin(origin, headers.get("host"))
            except Forbidden as error:
                said = error
        dialect = next(one for prefix, one in DIALECT_OF_PREFIX if path.startswith(prefix))
        request_id = request_id_of(headers.get("x-request-id"))
        response = refuse(said, dialect, request_id)
        response.headers["x-request-id"] = request_id
        return response
