"""Defines a dialect's table of endpoints: each row is one method of one path and its handler.

Values only; `umad.gateway.app` serves them, `umad.gateway.openapi` describes them.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.types import ASGIApp

from umad.gateway.dialect import Dialect
from umad.gateway.gateway_call import GatewayCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path.

    The handler returns any ASGI application: a Starlette response or
    `umad.gateway.sse.AnswerStream`. It raises `UmadError`, and leaves all checks of the door to the
    door.
    """

    method: Literal["GET", "POST", "DELETE", "HEAD"]
    path: str
    handle: Callable[[GatewayCall], Awaitable[ASGIApp]]
    dialect: Dialect
    summary: str
    # What the handler reads by `GatewayCall.body`. For the OpenAPI document.
    body: type[BaseModel] | None = None
    # The schema of a body that is a form with a file in place of JSON. For the OpenAPI document.
    form: Mapping[str, Any] | None = None
    # What the handler sends. For the OpenAPI document.
    answer: type[BaseModel] | None = None
    # The media type of the answer in pieces, if there is one. For the OpenAPI document.
    streams: str | None = None
    # The answer itself says what is not ready. For the OpenAPI document.
    answers_503: bool = False
    # The media types of the answer. For the OpenAPI document.
    types: tuple[str, ...] = ("application/json",)
    # False lets in every caller who passes the Host check (health of a container).
    needs_key: bool = True
    # The request counts against concurrency and quotas; False for lists and facts.
    is_work: bool = False
    # It concerns everybody on the machine, so keys of users may not use it.
    for_admins: bool = False
    # The dialect's names of fields of `GenerateRequest`, for errors of the daemon.
    names: Mapping[str, str] = field(default_factory=dict)
