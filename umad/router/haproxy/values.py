"""Holds what HAProxy's configuration says, as checked values.

Names, hosts and paths come from people and from other machines, and end in a file and in commands
of an admin socket. A blank or a line break in one of them would be another word or another line
there. So each has a form, and everything else is refused with the name of the field.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from umad.errors import BadRequest

# As a server's name in HAProxy, a label in DNS, and a word that needs no quotes.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# Whatever a path of a file has but control characters, and the quote that would end it.
_PATH: Final = re.compile(r"/[^\x00-\x1f\x7f']+")
_MODEL: Final = re.compile(r"[^\s#;\\\x00-\x1f\x7f][^\s;\\\x00-\x1f\x7f]{0,255}")
_DIGEST: Final = re.compile(r"[0-9A-F]{64}")
# HAProxy's greatest.
_MOST_SERVERS, _MOST_WEIGHT, _MOST_NUMBER = 4096, 256, (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """The files of the team's own authority. HAProxy reads them; none of their content is written
    into its configuration."""

    # Certificate and key in one file, as HAProxy wants them.
    own_path: str
    # The certificate of the authority.
    authority_path: str

    def __post_init__(self) -> None:
        _path(self.own_path, "own_path")
        _path(self.authority_path, "authority_path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Where clients come in."""

    host: str
    port: int
    # Certificate and key that clients see. None: plain HTTP, on a loopback address only.
    certificate_path: str | None = None
    # Clients have to show a certificate of this authority. None: they need none.
    clients_authority_path: str | None = None

    def __post_init__(self) -> None:
        _host(self.host, "host")
        _port(self.port, "port")
        for name in ("certificate_path", "clients_authority_path"):
            path = getattr(self, name)
            if path is not None:
                _path(path, name)
        if self.certificate_path is None:
            if self.clients_authority_path is not None:
                raise BadRequest(
                    "clients_authority_path needs certificate_path: there are no certificates "
                    "without TLS",
                    field="certificate_path",
                )
            if not _is_loopback(self.host):
                raise BadRequest(
                    f"{self.host} can be reached from other machines, so the front needs a "
                    "certificate",
                    field="certificate_path",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A node."""

    name: str
    # The policy's number of it, which stands in the stick table.
    number: int
    host: str
    port: int
    weight: int = 0
    # The name in its certificate; None: `name`.
    certified_name: str | None = None

    def __post_init__(self) -> None:
        _name(self.name, "name")
        _host(self.host, "host")
        _port(self.port, "port")
        check_weight(self.weight)
        check_number(self.number)
        if self.certified_name is not None:
            _host(self.certified_name, "certified_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The nodes that have one model: a backend. Models are given to pools by a map, which changes
    while HAProxy runs; so a pool has a name of its own."""

    name: str
    servers: tuple[Server, ...] = ()
    # The path at which a node answers 200 while it lives.
    health_path: str = "/health"

    def __post_init__(self) -> None:
        _name(self.name, "pool")
        if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", self.health_path):
            raise BadRequest("health_path is not a plain path of HTTP", field="health_path")
        if len(self.servers) > _MOST_SERVERS:
            raise BadRequest(f"a pool has more than {_MOST_SERVERS} servers", field="servers")
        for what, seen in (
            ("name", [one.name for one in self.servers]),
            ("number", [str(one.number) for one in self.servers]),
        ):
            twice = sorted({one for one in seen if seen.count(one) > 1})
            if twice:
                raise BadRequest(
                    f"pool {self.name} has two servers with the {what} {twice[0]}", field="servers"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """HAProxy's own page, for who shows a key."""

    host: str
    port: int
    # SHA-256 of the whole header `Authorization`, in capitals: the key itself stands nowhere.
    authorization_digest: str

    def __post_init__(self) -> None:
        _host(self.host, "host")
        _port(self.port, "port")
        if not _is_loopback(self.host):
            raise BadRequest("the status page is plain HTTP, for loopback only", field="host")
        if not _DIGEST.fullmatch(self.authorization_digest):
            raise BadRequest(
                "authorization_digest is not 64 hexadecimal digits in capitals",
                field="authorization_digest",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One HAProxy."""

    front: Front
    tls: Tls
    admin_path: str
    # A file with a model and a pool on each line.
    models_path: str
    pools: tuple[Pool, ...]
    # The pool of requests that name no model, or one that the map does not have.
    default_pool: str
    status: StatusPage | None = None
    # A Unix socket where the team's own gateway comes in; None: there is none.
    front_path: str | None = None
    # Each takes two file descriptors, and a system may allow only some thousand.
    most_connections: int = 4000
    # As in the policy: how many sessions are remembered, and for how long.
    most_sessions: int = 1_000_000
    session_ttl_s: int = 3600
    connect_timeout_s: int = 2
    # Without a byte from a node. A long prompt is read for minutes before the first token.
    silence_timeout_s: int = 900
    queue_timeout_s: int = 60
    drain_timeout_s: int = 3600
    # The beginning of a body that is looked at for model, session and texts.
    buffer_bytes: int = 65_536

    def __post_init__(self) -> None:
        _path(self.admin_path, "admin_path")
        _path(self.models_path, "models_path")
        if self.front_path is not None:
            _path(self.front_path, "front_path")
        names = [one.name for one in self.pools]
        for name in names:
            if names.count(name) > 1 or name in RESERVED:
                raise BadRequest(f"the pool name {name} is taken", field="pools")
        if self.default_pool not in names:
            raise BadRequest(
                f"default_pool is {self.default_pool}, which is no pool", field="default_pool"
            )
        for field_name, least, most in _RANGES:
            value = getattr(self, field_name)
            if not least <= value <= most:
                raise BadRequest(
                    f"{field_name} is {value}, not from {least} to {most}", field=field_name
                )
        _same_everywhere(self.pools)


# Sections of the configuration that are no pools.
RESERVED: Final = frozenset({"front", "own", "sessions", "status"})
_DAY_S: Final = 86_400
_RANGES: Final = (
    ("most_connections", 1, 1_000_000),
    ("most_sessions", 1, 100_000_000),
    ("session_ttl_s", 1, 30 * _DAY_S),
    ("connect_timeout_s", 1, 60),
    ("silence_timeout_s", 1, _DAY_S),
    ("queue_timeout_s", 1, _DAY_S),
    ("drain_timeout_s", 1, _DAY_S),
    ("buffer_bytes", 16_384, 1 << 20),
)


def check_weight(weight: int) -> None:
    """Raises BadRequest for a weight that HAProxy does not take."""
    if not 0 <= weight <= _MOST_WEIGHT:
        raise BadRequest(f"weight is {weight}, not from 0 to {_MOST_WEIGHT}", field="weight")


def check_number(number: int) -> None:
    """Raises BadRequest for a server's number that HAProxy does not take."""
    if not 1 <= number <= _MOST_NUMBER:
        raise BadRequest(f"number is {number}, not from 1 to {_MOST_NUMBER}", field="number")


def check_name(name: str, what: str) -> None:
    """Raises BadRequest for the name of a pool or a server that is not a plain word."""
    _name(name, what)


def check_model(model: str) -> None:
    """Raises BadRequest for a model's name that could not stand in a map: a blank ends a key there,
    and a hash begins a comment."""
    if not is_model(model):
        raise BadRequest(f"the model's name {model[:80]!r} is not one plain word", field="model")


def is_model(model: str) -> bool:
    """Whether it can stand in a map."""
    return bool(_MODEL.fullmatch(model))


def check_key(key: str) -> None:
    """Raises BadRequest for what is not the key of a session."""
    if not _DIGEST.fullmatch(key):
        raise BadRequest("the session's key is not 64 hexadecimal digits in capitals", field="key")


def check_host(host: str) -> None:
    """Raises BadRequest for what is neither an address nor a host's name."""
    _host(host, "host")


def check_port(port: int) -> None:
    """Raises BadRequest for what is no port of TCP."""
    _port(port, "port")


def is_ip(host: str) -> bool:
    """Whether it is an address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def address(host: str, port: int) -> str:
    """Host and port as HAProxy writes them."""
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return f"[{host}]:{port}" if is_v6 else f"{host}:{port}"


def _same_everywhere(pools: tuple[Pool, ...]) -> None:
    """A session's pin is a number, so a number means one node in all pools."""
    names: dict[int, str] = {}
    for pool in pools:
        for one in pool.servers:
            if names.setdefault(one.number, one.name) != one.name:
                raise BadRequest(
                    f"the number {one.number} is of {names[one.number]} and of {one.name}",
                    field="pools",
                )


def _name(value: str, what: str) -> None:
    if not _NAME.fullmatch(value):
        raise BadRequest(
            f"{what} {value[:80]!r} is not a word of small letters, digits, dots and hyphens",
            field=what,
        )


def _host(value: str, what: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _HOST.fullmatch(value):
            raise BadRequest(
                f"{what} {value[:80]!r} is neither an address nor a host's name", field=what
            ) from None
    else:
        if "%" in value:
            raise BadRequest(f"{what} {value!r} has a zone, which HAProxy knows not", field=what)


def _port(value: int, what: str) -> None:
    if not 1 <= value <= 65535:
        raise BadRequest(f"{what} is {value}, not from 1 to 65535", field=what)


def _path(value: str, what: str) -> None:
    if not _PATH.fullmatch(value):
        raise BadRequest(f"{what} is not an absolute path without quotes", field=what)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
