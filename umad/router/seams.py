"""Says what the running parts of the router will have to be. Types and their promises; no code yet.

    NodeWatch    scorecards of nodes, and what HAProxy sees of them      (discovery, mTLS)
    AdminLine    HAProxy's admin socket
    Membership   who belongs to the team: certificates decide
    Unfinished   an answer that was cut, as another node needs it to go on

    NodeWatch ─▶ Fleet, Placer ─▶ umad.router.haproxy.commands ─▶ AdminLine

How the service will use them, so that it can die and start again without cutting a stream:

    1. HAProxy is a process of its own, in a session of its own, and outlives the service. Streams
       and the stick table are in HAProxy.
    2. A service that starts looks for a HAProxy at the admin socket. If one runs, the service reads
       its servers and its table (`show servers state`, `show table sessions`), makes a `Fleet` with
       the same numbers (`Fleet.join(number=…)`) and a `Placer` with the same places
       (`Placer.placed`), and changes nothing before all nodes were asked once.
    3. Each second: scorecards to `Fleet.reported`, what HAProxy saw to `Fleet.counted`,
       `Fleet.witnessed` and `Fleet.failed`, `Fleet.tick`, then the weights that changed, in one
       connection. A change takes 0.65 ms there, which is why small changes are kept back.
    4. A session that HAProxy placed is learnt from its table. A session that the policy moves is
       pinned there (`commands.pin`), and goes to its new node with its next request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from umad.router.policy.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of asking a node once."""

    node: str
    # When it was asked, by this machine's clock. A node's own clock counts nothing.
    asked_ns: int
    # None: it did not answer, or what it said was refused; `problem` says which.
    reading: Reading | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What HAProxy saw of a node since it was asked last (`show stat`)."""

    node: str
    answered: int
    # Answers whose first byte came later than the fleet's usual, and connections that failed.
    late: int
    failed_connections: int
    # Requests that run there now.
    open_requests: int
    # What its own health check says.
    is_alive: bool


class NodeWatch(Protocol):
    """Asks nodes. Awaited on the service's event loop; every call ends within its bound."""

    async def ask(self, nodes: Sequence[str], *, within_s: float) -> Sequence[Heard]:
        """Ask all of them at once, over TLS with certificates on both sides. One slow node delays
        nobody else; it is told as one that did not answer."""
        ...

    async def witnessed(self) -> Sequence[Witnessed]:
        """What HAProxy saw since the last call."""
        ...


class AdminLine(Protocol):
    """HAProxy's admin socket. Awaited on the service's event loop; bounded to some seconds."""

    async def tell(self, lines: Iterable[str]) -> str:
        """Send commands in one connection, and return the answer. Raises UmadError where HAProxy
        is gone, or refuses one: the text says which."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that belongs to the team."""

    name: str
    number: int
    host: str
    port: int
    # SHA-256 of its certificate. Another machine that shows the same name is not this one.
    fingerprint: str
    size: float = 1.0


class Membership(Protocol):
    """The team's small certificate authority and its list. A list on this machine's disk; nothing
    here waits for the network. A service that a machine announces on the local network (mDNS) is a
    hint, and makes nobody a member."""

    def members(self) -> Sequence[Member]:
        """All of them, with the numbers that they were given once."""
        ...

    def invite(self, *, valid_s: int) -> str:
        """A token with which one machine may ask for a certificate, once."""
        ...

    def join(self, token: str, request_pem: bytes, *, now_s: int) -> tuple[Member, bytes]:
        """The certificate for a machine that shows a token. Raises Refused for a token that is
        wrong, used or too old, and BadRequest for a name that is taken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An answer that was cut in the middle. Another node with the same fingerprint goes on after
    the last token, so that none is lost and none comes twice; a node with another fingerprint
    refuses it."""

    # The request as it was sent, as the socket's protocol writes it.
    request: bytes
    # Token ids of the prompt, and of the answer as far as the client has it.
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    # The seed that the first node drew with. Drawing goes on at the answer's length.
    seed: int
    # SHA-256 over the weights' digest, the vocabulary, the chat template and the adapters.
    fingerprint: str
