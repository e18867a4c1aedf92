"""Says what the router's service needs of the rest: types, and their promises.

    NodeWatch     asks a node how it is                (`umad.router.asking`)
    AdminLine     HAProxy's admin socket               (`umad.router.haproxy.admin_socket`)
    Surroundings  the members, a new HAProxy, and a place for what people see

So tests give it nodes and a HAProxy that do as they are told.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from umad.router.members import Member
from umad.router.policy.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of asking a node once."""

    node: str
    # When it was asked, by this machine's clock. A node's own clock counts nothing.
    asked_ns: int
    # None: it did not answer, or what it said was refused; `problem` says which.
    reading: Reading | None
    # Its scorecard, and what it lists of models and live requests (`umad.router.cards`). Empty
    # where it told none, or is no umad.
    card: Mapping[str, Any] = field(default_factory=dict)
    models: object = None
    requests: object = None
    # The address at which it was asked; "" where its name could not be looked up.
    host: str = ""
    problem: str = ""


class NodeWatch(Protocol):
    """Asks a node how it is. Awaited on the service's loop; ends within its bound, never raises."""

    async def ask(self, member: Member) -> Heard:
        """One node, once."""
        ...


class AdminLine(Protocol):
    """HAProxy's admin socket. Awaited on the service's loop; every call ends within its bound."""

    async def ask(self, line: str) -> str:
        """The answer to a command that shows something. Raises ProxyFailed."""
        ...

    async def is_there(self) -> bool:
        """Whether anybody listens: one that is slow, or refuses something, does."""
        ...

    async def try_all(self, lines: Iterable[str]) -> list[str]:
        """Give commands, and say which were refused. Raises ProxyFailed where HAProxy is gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the service needs of its machine."""

    # Who belongs to the team, and a stamp that changes when that does. Both may raise UmadError.
    members: Callable[[], Sequence[Member]]
    stamp: Callable[[], object]
    # Starts HAProxy with these members. Returns when it listens; may raise UmadError.
    begin: Callable[[Sequence[Member]], Awaitable[None]]
    # Told how the fleet is, once a second, and what its nodes told, where that is new.
    publish: Callable[[Mapping[str, Any], Mapping[str, Any] | None], None]
