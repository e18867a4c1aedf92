"""Answers the questions that browsers ask before a page may talk to another origin (CORS).

Starlette's middleware writes the headers. This one asks the door's rule which pages are allowed, so
that patterns match, and tells a page that is not allowed by which flag it would be. It is there
without `--cors-origin`, too: a page that nobody has allowed gets that answer and not a 405.
Also: a page of a public site has to ask before it may talk to a private address
(https://wicg.github.io/private-network-access/); an allowed page may.
Not: letting in the request that follows; the door decides that (`umad.gateway.door.entrance`).
"""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from umad.gateway.door.hosts import HostRule

METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")
_EXPOSED = ("x-request-id", "retry-after")


class CrossOrigin(CORSMiddleware):
    """The CORS headers of one gateway. refused: the answer to a page that is not allowed."""

    def __init__(
        self, app: ASGIApp, rule: HostRule, refused: Callable[[Headers], Response]
    ) -> None:
        super().__init__(
            app,
            allow_origins=["*"] if rule.allows_every_page else [],
            allow_methods=METHODS,
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=_EXPOSED,
        )
        self._rule = rule
        self._refused = refused

    @override
    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        if self._rule.lists_pages:
            await super().simple_response(scope, receive, send, request_headers)
        else:  # no header to add, so no step more for each token of a stream
            await self.app(scope, receive, send)

    @override
    def is_allowed_origin(self, origin: str) -> bool:
        return self._rule.lists(origin)

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        origin, host = request_headers["origin"], request_headers.get("host")
        if self._rule.allows_origin(origin, host):
            return super().preflight_response(request_headers)
        return self._refused(request_headers)
