"""How one family of clients is spoken to, and what an answer finds of its connection.

Values only. Not: the endpoints of a dialect (`umad.gateway.endpoint`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from umad.gateway.errors import Problem

# Name of the ASGI extension that an answer finds its connection's `Flow` under.
FLOW = "umad.flow"
# The same for its connection itself.
CONNECTION = "umad.connection"


class Flow(Protocol):
    """Of one connection, as uvicorn counts it. write_paused: a write would wait for the client."""

    write_paused: bool


class Known(Protocol):
    """A connection that is told who asks."""

    def known_as(self, key: str) -> None:
        """key: the name of whose it is; "-" where none is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one family of clients is spoken to.

    error: body of an error answer; problem: its model. stream_error: the same as a last piece of a
    stream.
    ping: what keeps a stream alive; None where clients cannot take anything extra.
    """

    name: str
    error: Callable[[Problem], dict[str, Any]]
    problem: type[BaseModel]
    stream_error: Callable[[Problem], bytes]
    ping: bytes | None = None
