"""Keeps the list of nodes that belong to a team, in a file on the router's disk.

The file says what is wanted: who is a member, where, and who is to drain. `umad.router.service`
makes HAProxy so, once a second; a router that is started again reads it again. Each member has a
number that it got once: the number stands in HAProxy's stick table.
Changes take the file's lock, so two commands at once do not lose one another's. A broken file is
told with its path, and never taken for an empty one, which would end all nodes.
Blocks for as long as a file takes. Owner: anybody's thread.
"""

import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from umad.errors import BadConfig, BadRequest, LimitExceeded
from umad.private_file import read_own, write_own
from umad.router.haproxy.values import check_host, check_name, check_number, check_port
from umad.router.policy.settings import MOST_NODES

_MOST_FILE_BYTES = 16 << 20
# A change reads and writes a small file.
_LOCKED_WITHIN_S = 10.0
_VERSION: Final = 1
# The name in the router's own certificate. No node may have it.
ROUTER: Final = "router"


class NodeKind(enum.Enum):
    """What serves at a node. umad tells its scorecard; of the others the gauges are read."""

    UMAD = "umad"
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_SERVER = "llama-server"


def check_node_name(name: str) -> None:
    """Raises BadRequest for a name that is no plain word, or the router's own."""
    check_name(name, "name")
    if name == ROUTER:
        raise BadRequest(f"the name {ROUTER} is the router's own", field="name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that belongs to the team."""

    # The name in its certificate, and of its servers in HAProxy.
    name: str
    number: int
    # An address, or a name that is looked up again and again.
    host: str
    port: int
    kind: NodeKind = NodeKind.UMAD
    # How much it can do, where the largest of the team is 1.
    size: float = 1.0
    # No new sessions; those that it has stay.
    is_draining: bool = False
    # A file with the key that the router asks it with; None where it wants none.
    key_file: str | None = None

    def __post_init__(self) -> None:
        check_node_name(self.name)
        check_number(self.number)
        check_host(self.host)
        check_port(self.port)
        if not 0 < self.size <= 1:
            raise BadRequest(f"size is {self.size:g}, not above 0 and at most 1", field="size")


class MembersFile:
    """The list on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def stamp(self) -> tuple[int, int]:
        """Changes when the file does; (0, 0) where there is none yet."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        except OSError as error:
            raise BadConfig(f"{self._path}: {error.strerror}") from error
        return (found.st_mtime_ns, found.st_ino)

    def members(self) -> tuple[Member, ...]:
        """All of them, in the order in which they came. Raises BadConfig for a broken file."""
        return self._read()[0]

    def add(
        self,
        name: str,
        *,
        host: str,
        port: int,
        kind: NodeKind = NodeKind.UMAD,
        size: float = 1.0,
        key_file: str | None = None,
    ) -> Member:
        """A new member, with a number of its own. Raises BadRequest for a name that is taken."""

        def added(members: Sequence[Member], number: int) -> list[Member]:
            if any(one.name == name for one in members):
                raise BadRequest(
                    f"a node is already called {name}: give this one another name, or "
                    f"`umad router remove {name}` first",
                    field="name",
                )
            if len(members) >= MOST_NODES:
                raise LimitExceeded(f"the team has {MOST_NODES} nodes, and takes no more")
            made = Member(
                name=name,
                number=number,
                host=host,
                port=port,
                kind=kind,
                size=size,
                key_file=key_file,
            )
            return [*members, made]

        return self._change(added)[-1]

    def put(self, name: str, *, host: str, port: int, kind: NodeKind) -> Member:
        """A member that joins, or that joins again: it keeps its number and its size, and may have
        another address."""
        if all(one.name != name for one in self.members()):
            return self.add(name, host=host, port=port, kind=kind)
        changed = self._change(
            lambda members, _: [
                replace(one, host=host, port=port, kind=kind) if one.name == name else one
                for one in members
            ]
        )
        return next(one for one in changed if one.name == name)

    def remove(self, name: str) -> None:
        """No member any more: the router lets what runs there end, and takes it out."""
        self._change(
            lambda members, _: [one for one in self._having(members, name) if one.name != name]
        )

    def drain(self, name: str, *, wanted: bool) -> None:
        """No new sessions for it, or again some."""
        self._change(
            lambda members, _: [
                replace(one, is_draining=wanted) if one.name == name else one
                for one in self._having(members, name)
            ]
        )

    @staticmethod
    def _having(members: Sequence[Member], name: str) -> Sequence[Member]:
        if all(one.name != name for one in members):
            known = ", ".join(one.name for one in members[:20]) or "none"
            raise BadRequest(f"no node is called {name}; there are: {known}", field="name")
        return members

    def _change(self, made: Callable[[Sequence[Member], int], list[Member]]) -> tuple[Member, ...]:
        """made: the new list, of the old one and the next number."""
        lock = FileLock(f"{self._path}.lock", timeout=_LOCKED_WITHIN_S, mode=0o600)
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with lock:
                old, last = self._read()
                new = tuple(made(old, last + 1))
                last = max((last, *(one.number for one in new)))
                write_own(self._path, _text(new, last))
        except Timeout:
            raise BadConfig(f"{self._path} is locked by another program") from None
        except OSError as error:
            raise BadConfig(f"{self._path}: {error.strerror}") from error
        return new

    def _read(self) -> tuple[tuple[Member, ...], int]:
        """The members, and the last number that was given."""
        try:
            data = read_own(self._path, _MOST_FILE_BYTES)
        except FileNotFoundError:
            return (), 0
        except OSError as error:
            raise BadConfig(f"{self._path}: {error.strerror}") from error
        try:
            said = json.loads(data)
            if said["version"] != _VERSION:
                raise BadConfig(f"{self._path} was written by another version of umad")
            members = tuple(_member(row) for row in said["members"])
            last = int(said["last_number"])
        except (ValueError, TypeError, KeyError, BadRequest) as error:
            raise BadConfig(f"{self._path} is no list of nodes: {error}") from error
        for what in ("name", "number"):
            values = [getattr(one, what) for one in members]
            if len(set(values)) < len(values):
                raise BadConfig(f"{self._path} has two nodes with one {what}")
        return members, max((last, *(one.number for one in members)))


def _member(row: dict[str, Any]) -> Member:
    return Member(**{**row, "kind": NodeKind(row["kind"])})


def _text(members: Sequence[Member], last_number: int) -> bytes:
    rows = [{**asdict(one), "kind": one.kind.value} for one in members]
    said = {"version": _VERSION, "last_number": last_number, "members": rows}
    return json.dumps(said, indent=1).encode() + b"\n"
