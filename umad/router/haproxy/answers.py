"""Reads what HAProxy answers on its admin socket. Pure.

    refusal_of   what a command was refused with; "" where all went well
    servers_of   `show servers state`: the servers of all pools, and what the operator wants of them
    work_of      `show stat`: what each server did and does, and whether its check finds it alive
    places_of    `show table`: which session goes to which server
    models_of    `show map`: which model goes to which pool
    facts_of     `show info`: its process and version

Columns are found by their names: each version of HAProxy adds some. A line that does not have what
is looked for raises ProxyFailed with the line, because a guess would send sessions elsewhere.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from umad.errors import ProxyFailed

# What is said of success. Everything else that a command which changes something answers is an
# error.
_WELL: Final = frozenset({"", "New server registered.", "Server deleted."})
# A server's address: with the old and the new one.
_WELL_TOO: Final = ("IP changed from ", "port changed from ", "no need to change ")
_NOT_THERE: Final = ("No such server.", "Key not found.")
# Bits of srv_admin_state: stopped and draining by command (`SRV_ADMF_FMAINT`, `SRV_ADMF_FDRAIN`).
_STOPPED, _DRAINING = 0x01, 0x08
_PLACE: Final = re.compile(r"0x[0-9a-f]+: key=(\S+) use=(\d+) exp=(\d+).*?\bserver_id=(\d+)")
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolServer:
    """A server of a pool, as it is set."""

    pool: str
    name: str
    number: int
    host: str
    port: int
    weight: int
    # As an operator or a program said on the admin socket; neither says whether it lives.
    is_draining: bool
    is_stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerWork:
    """What a server did since HAProxy began, and does."""

    pool: str
    name: str
    # Requests that run there, and those that wait for a connection.
    open_requests: int
    # Requests that were sent there, and those of them that came to nothing.
    sent: int
    failed_connections: int
    failed_answers: int
    # Answers that came, and how long they took to begin on average, of the last some hundred.
    answers: int
    answer_ms: int
    # Its check says so. A server whose check has not ended yet is not.
    is_down: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A session's entry in the stick table."""

    key: str
    # The server's number; 0 for none.
    number: int
    expires_ms: int
    is_in_use: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFacts:
    """The process itself."""

    pid: int
    version: str
    open_connections: int
    most_connections: int


def refusal_of(command: str, answer: str) -> str:
    """What is wrong, in HAProxy's words; "" for a command that was done.

    A command that takes away what is gone already was done.
    """
    said = answer.strip()
    if said in _WELL or said.startswith(_WELL_TOO):
        return ""
    if command.startswith("del ") and said.startswith(_NOT_THERE):
        return ""
    return said.partition("\n")[0][:_MOST_SHOWN]


def servers_of(answer: str) -> tuple[PoolServer, ...]:
    """The servers of all pools, in HAProxy's order."""
    lines = [line for line in answer.splitlines() if line]
    # The first line is the version of the format.
    heads = [line for line in lines if line.startswith("# ")]
    if len(heads) != 1:
        raise _unreadable("show servers state", answer)
    names = heads[0][2:].split(" ")
    found = []
    for line in lines[lines.index(heads[0]) + 1 :]:
        said = dict(zip(names, line.split(" "), strict=False))
        admin = _whole(said, "srv_admin_state", line)
        found.append(
            PoolServer(
                pool=_text(said, "be_name", line),
                name=_text(said, "srv_name", line),
                number=_whole(said, "srv_id", line),
                # A name that was looked up when HAProxy began stands beside its address.
                host=_text(said, "srv_addr", line),
                port=_whole(said, "srv_port", line),
                weight=_whole(said, "srv_uweight", line),
                is_draining=bool(admin & _DRAINING),
                is_stopped=bool(admin & _STOPPED),
            )
        )
    return tuple(found)


def work_of(answer: str) -> tuple[ServerWork, ...]:
    """What each server of each pool did and does."""
    if not answer.startswith("# "):
        raise _unreadable("show stat", answer)
    rows: Iterator[dict[str, str]] = csv.DictReader(answer[2:].strip().splitlines())
    found = []
    for row in rows:
        line = ",".join(value for value in row.values() if isinstance(value, str))
        name = _text(row, "svname", line)
        if name in ("FRONTEND", "BACKEND"):
            continue
        found.append(
            ServerWork(
                pool=_text(row, "pxname", line),
                name=name,
                open_requests=_whole(row, "scur", line) + _whole(row, "qcur", line),
                sent=_whole(row, "stot", line),
                failed_connections=_whole(row, "econ", line),
                failed_answers=_whole(row, "eresp", line),
                answers=_whole(row, "req_tot", line),
                answer_ms=_whole(row, "rtime", line),
                # "DOWN", and "DOWN 1/2" where it is coming back. "UP 1/3" is going down, and up.
                is_down=_text(row, "status", line).startswith("DOWN"),
            )
        )
    return tuple(found)


def places_of(answer: str) -> Iterator[Place]:
    """The sessions of a table, one after another, because there may be a million."""
    if not answer.startswith("# table: "):
        raise _unreadable("show table", answer)
    for line in re.finditer(r"^0x.*$", answer, re.MULTILINE):
        found = _PLACE.match(line[0])
        if found is None:
            raise _unreadable("show table", line[0])
        yield Place(
            key=found[1],
            number=int(found[4]),
            expires_ms=int(found[3]),
            is_in_use=found[2] != "0",
        )


def models_of(answer: str) -> dict[str, str]:
    """The pool of each model."""
    found: dict[str, str] = {}
    for line in answer.splitlines():
        if not line:
            continue
        words = line.split(" ")
        if len(words) != 3 or not words[0].startswith("0x"):
            raise _unreadable("show map", line)
        found[words[1]] = words[2]
    return found


def facts_of(answer: str) -> ProxyFacts:
    """The process."""
    said = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
    return ProxyFacts(
        pid=_whole(said, "Pid", answer),
        version=_text(said, "Version", answer),
        open_connections=_whole(said, "CurrConns", answer),
        most_connections=_whole(said, "Maxconn", answer),
    )


def _text(said: Mapping[str, str], name: str, line: str) -> str:
    value = said.get(name)
    if not value:
        raise _unreadable(name, line)
    return value


def _whole(said: Mapping[str, str], name: str, line: str) -> int:
    value = said.get(name)
    if value is None or not value.isdecimal():
        raise _unreadable(name, line)
    return int(value)


def _unreadable(what: str, said: str) -> ProxyFailed:
    return ProxyFailed(f"HAProxy's answer has no {what} that umad can read: {said[:_MOST_SHOWN]!r}")
