"""Defines a dialect (name, error shapes, ping), and what an answer sees of its connection.

Values only. Not: the endpoints of a dialect (`umad.gateway.endpoint`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from umad.gateway.errors import Problem

# Name of the ASGI extension under which an answer finds its connection's `Flow`.
FLOW = "umad.flow"
# Name of the one under which it finds the connection itself.
CONNECTION = "umad.connection"


class Flow(Protocol):
    """Flow control of one connection, as uvicorn keeps it."""

    # A write would wait for the client.
    write_paused: bool


class Known(Protocol):
    """A connection that is told who its caller is."""

    def known_as(self, key: str) -> None:
        """`key` is the name of the caller's key; "-" where no key is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How the gateway answers one family of clients."""

    name: str
    # Makes the body of an error answer.
    error: Callable[[Problem], dict[str, Any]]
    # The model of that body.
    problem: type[BaseModel]
    # Makes the last piece of a stream that fails.
    stream_error: Callable[[Problem], bytes]
    # The bytes that keep a stream alive; None where clients cannot take anything extra.
    ping: bytes | None = None


class Answering(Protocol):
    """The endpoint that answers a call, as far as the call needs to know it."""

    @property
    def path(self) -> str:
        """The path as the dialect documents it."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How its clients are spoken to."""
        ...

    @property
    def names(self) -> Mapping[str, str]:
        """What the dialect calls fields of `GenerateRequest`."""
        ...
