"""Defines a dialect's table of endpoints: each row is one method of one path and its handler.

Values only; `umad.gateway.app` serves them, `umad.gateway.openapi` describes them.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel
from starlette.types import ASGIApp

from umad.gateway.dialect import Dialect
from umad.gateway.gateway_call import GatewayCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path. The handler's answer is any ASGI application, a Starlette response
    or `umad.gateway.sse.AnswerStream`; it raises `UmadError`, and checks nothing of the door's.

    body: what the handler reads by `GatewayCall.body`; answer: what it sends; types: its media
    types; streams: that of the answer in pieces, where there is one. answers_503: what is not ready
    is said by the answer itself. For the OpenAPI document.
    needs_key: False lets everybody in who passes the Host check (health of a container).
    names: what the dialect calls fields of `GenerateRequest` that the daemon may find fault with.
    is_work: counts against concurrency and quotas; False for lists and facts.
    for_admins: what it tells or does is of everybody's concern: not for keys of users.
    """

    method: Literal["GET", "POST", "DELETE", "HEAD"]
    path: str
    handle: Callable[[GatewayCall], Awaitable[ASGIApp]]
    dialect: Dialect
    summary: str
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    streams: str | None = None
    answers_503: bool = False
    types: tuple[str, ...] = ("application/json",)
    needs_key: bool = True
    is_work: bool = False
    for_admins: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
