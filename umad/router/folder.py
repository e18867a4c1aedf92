"""Knows the router's folder: its settings, its files, and what HAProxy is told of them.

    router.yaml    the settings, written by `umad router init` and by hand
    members.json   who belongs to the team (`umad.router.members`)
    invitations.json
                   machines that may join (`umad.router.invitations`)
    ca.key, ca.pem the team's authority
    own.pem        the router's own certificate and key, as HAProxy wants them
    haproxy.cfg, models.map, admin.sock, front.sock
                   HAProxy's, made anew with each HAProxy
    fleet.json     how the fleet is, each second; team.json: what its nodes tell, added up
    router.lock    held by the process that runs

The folder is this user's alone: whoever may write there decides where everybody's prompts go.
"""

import difflib
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from filelock import FileLock, Timeout

from umad.configuration.sources import default_path
from umad.errors import BadConfig, BadRequest, Unsupported
from umad.private_file import read_named
from umad.router.haproxy import Front, Pool, Proxy, Server, StatusPage, Tls
from umad.router.haproxy.values import is_ip
from umad.router.members import Member, MembersFile
from umad.router.policy import PolicySettings
from umad.router.pools import ALL, UNKNOWN_WEIGHT, spare_pools
from umad.socket_path import check_socket_path
from umad.team_files import FLEET_FILE, FRONT_SOCKET, TEAM_FILE

if TYPE_CHECKING:
    from umad.router.authority import TeamAuthority

_MOST_FILE_BYTES = 1 << 20
DEFAULT_LISTEN: Final = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """What stands in router.yaml."""

    # HOST:PORT where clients come in.
    listen: str = DEFAULT_LISTEN
    # Certificate and key that clients see, in one file. Beyond this machine there has to be one.
    certificate: str | None = None
    # Clients need a certificate of this authority.
    clients_authority: str | None = None
    # HOST:PORT where machines join with a token. None: nobody can.
    join: str | None = None
    # The name under which the local network is told where machines join (mDNS). None: it is not.
    announce: str | None = None
    # HOST:PORT of HAProxy's own page, on this machine, and the file with its key.
    status: str | None = None
    status_key_file: str | None = None
    # The team's authority, and the router's own certificate and key; None: in the folder.
    authority: str | None = None
    own: str | None = None
    # Models that have a pool of their own. Requests for others go to all nodes by weight.
    models: int = 64
    # How often each node is asked how it is.
    ask_every_s: int = 5
    connections: int = 4000
    sessions: int = 1_000_000
    session_ttl_s: int = 3600
    drain_timeout_s: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterFolder:
    """Paths of one router, and its settings."""

    path: Path
    settings: RouterSettings = field(default_factory=RouterSettings)

    @property
    def members(self) -> MembersFile:
        """The list of nodes."""
        return MembersFile(self.path / "members.json")

    @property
    def admin_path(self) -> str:
        """HAProxy's admin socket. Raises BadConfig where the path is too long for one."""
        return check_socket_path(str(self.path / "admin.sock"), sys.platform)

    @property
    def front_path(self) -> str:
        """Where the team's own gateway comes in (`umad.team_files`). Raises BadConfig as above."""
        return check_socket_path(str(self.path / FRONT_SOCKET), sys.platform)

    @property
    def invitations_path(self) -> Path:
        """Invitations that nobody has used yet."""
        return self.path / "invitations.json"

    @property
    def join_address(self) -> tuple[str, int] | None:
        """Where machines join. Raises BadConfig for what is no address."""
        join = self.settings.join
        return None if join is None else _host_and_port(join, "join")

    @property
    def config_path(self) -> Path:
        """HAProxy's configuration."""
        return self.path / "haproxy.cfg"

    @property
    def models_path(self) -> Path:
        """The map of models that HAProxy begins with."""
        return self.path / "models.map"

    @property
    def fleet_path(self) -> Path:
        """How the fleet is."""
        return self.path / FLEET_FILE

    @property
    def team_path(self) -> Path:
        """What the nodes tell of themselves, added up."""
        return self.path / TEAM_FILE

    @property
    def tls(self) -> Tls:
        """The files with which nodes and router know each other."""
        own, authority = self.settings.own, self.settings.authority
        return Tls(
            own_path=_absolute(own or str(self.path / "own.pem")),
            authority_path=_absolute(authority or str(self.path / "ca.pem")),
        )

    def is_running(self) -> bool:
        """Whether a process runs the router of this folder."""
        lock = self.lock()
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True

    def lock(self) -> FileLock:
        """Held by the process that runs."""
        return FileLock(self.path / "router.lock", mode=0o600)

    def policy(self) -> PolicySettings:
        """The policy, with the bounds of HAProxy's table."""
        return PolicySettings(
            most_sessions=self.settings.sessions, session_ttl_s=self.settings.session_ttl_s
        )

    def proxy(self, members: Sequence[Member] = ()) -> Proxy:
        """HAProxy as it should begin. Raises BadConfig with the setting that is wrong.

        members: those that it begins with, so that it serves before anybody has told anything. One
        whose address is a name joins when that was looked up.
        """
        settings = self.settings
        host, port = _host_and_port(settings.listen, "listen")
        servers = tuple(
            Server(
                name=one.name,
                number=one.number,
                host=one.host,
                port=one.port,
                weight=UNKNOWN_WEIGHT,
            )
            for one in members
            if is_ip(one.host)
        )
        pools = (Pool(name=ALL, servers=servers), *map(_empty, spare_pools(settings.models)))
        try:
            return Proxy(
                front=Front(
                    host=host,
                    port=port,
                    certificate_path=_maybe(settings.certificate),
                    clients_authority_path=_maybe(settings.clients_authority),
                ),
                tls=self.tls,
                admin_path=self.admin_path,
                models_path=str(self.models_path),
                front_path=self.front_path,
                pools=pools,
                default_pool=ALL,
                status=self._status(),
                most_connections=settings.connections,
                most_sessions=settings.sessions,
                session_ttl_s=settings.session_ttl_s,
                drain_timeout_s=settings.drain_timeout_s,
            )
        except BadRequest as error:
            raise BadConfig(f"{self.path / 'router.yaml'}: {error.message}") from error

    def _status(self) -> StatusPage | None:
        settings = self.settings
        if settings.status is None:
            return None
        if settings.status_key_file is None:
            raise BadConfig("status needs status_key_file: the page shows all nodes")
        path = Path(settings.status_key_file).expanduser()
        try:
            key = read_named(path, _MOST_FILE_BYTES, secret=True).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfig(f"status_key_file {path}: {error}") from error
        if not key:
            raise BadConfig(f"status_key_file {path} is empty")
        host, port = _host_and_port(settings.status, "status")
        digest = hashlib.sha256(f"Bearer {key}".encode()).hexdigest().upper()
        return StatusPage(host=host, port=port, authorization_digest=digest)


def team_authority() -> "type[TeamAuthority]":
    """The class, whose package is an extra. Raises Unsupported where that is not installed."""
    try:
        from umad.router.authority import TeamAuthority  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Unsupported(
            "certificates need a package that is not installed: pip install 'umad[router]'"
        ) from error
    return TeamAuthority


def default_folder(environ: Mapping[str, str], *, platform: str = sys.platform) -> Path:
    """The router's folder where none is named: beside the configuration."""
    return default_path(environ, platform=platform).parent / "router"


def open_folder(path: Path | None) -> RouterFolder:
    """A folder that was made. Raises BadConfig where there is none, or its settings are wrong."""
    path = default_folder(os.environ) if path is None else path.expanduser().absolute()
    file = path / "router.yaml"
    try:
        text = read_named(file, _MOST_FILE_BYTES)
    except FileNotFoundError:
        raise BadConfig(f"{file} is not there; make a router first: umad router init") from None
    except OSError as error:
        raise BadConfig(f"{file}: {error.strerror}") from error
    return RouterFolder(path=path, settings=settings_of(text, str(file)))


def settings_of(text: bytes, at: str) -> RouterSettings:
    """The settings of a file. Raises BadConfig with the key that is unknown or wrong."""
    try:
        said = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(f"{at} is no YAML: {error}") from error
    if said is None:
        said = {}
    if not isinstance(said, dict):
        raise BadConfig(f"{at} is no map of keys to values")
    kinds = {one.name: one for one in fields(RouterSettings)}
    for name, value in said.items():
        if name not in kinds:
            near = difflib.get_close_matches(str(name), kinds, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(kinds)}"
            raise BadConfig(f"{at}: {name} is unknown; {hint}", field=str(name))
        _check(name, value, kinds[name].default, at)
    made = RouterSettings(**said)
    for name, least, most in (("models", 0, _MOST_POOLS), ("ask_every_s", 1, 10)):
        value = getattr(made, name)
        if not least <= value <= most:
            raise BadConfig(f"{at}: {name} is {value}, not from {least} to {most}", field=name)
    return made


# Each pool has the checks of its own servers.
_MOST_POOLS = 1024


def _check(name: str, value: Any, default: Any, at: str) -> None:
    is_number = isinstance(default, int)
    if is_number and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadConfig(f"{at}: {name} must be a whole number, not {value!r}", field=name)
    if not is_number and not isinstance(value, str) and not (value is None and default is None):
        raise BadConfig(f"{at}: {name} must be a text, not {value!r}", field=name)


def _host_and_port(text: str, name: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not host:
        raise BadConfig(f"{name} is {text!r}: write HOST:PORT", field=name)
    return host.strip("[]"), int(port)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _maybe(path: str | None) -> str | None:
    return None if path is None else _absolute(path)


def _empty(name: str) -> Pool:
    return Pool(name=name)
