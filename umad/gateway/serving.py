"""Runs the gateway's process: a listening socket, uvicorn around the application, signals, the end.

Not: what is served (`umad.gateway.app`). Owner: the main thread and one loop.

After the first SIGTERM or SIGINT it accepts nothing new, and running answers may end within
`DRAIN_S`. After the second it ends at once.
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from typing_extensions import override

from umad.client import AsyncClient, ClientOptions
from umad.client.remote.team import TeamClient
from umad.config import Settings
from umad.errors import AlreadyRunning, BadConfig, UmadError
from umad.gateway.app import create_app
from umad.gateway.dialects import ENDPOINTS
from umad.gateway.door.check import UNIX, check_door, host_and_port, is_local
from umad.gateway.door.connections import Connections
from umad.gateway.door.keys import Keyring
from umad.gateway.door.peers import Peers
from umad.gateway.door.socket_owners import socket_owners
from umad.gateway.door.team import TeamFiles, team_files
from umad.gateway.presets import Presets, Read, no_presets
from umad.gateway.spans import open_spans
from umad.stderr_log import StderrLog

log = logging.getLogger(__name__)

DRAIN_S = 30
BACKLOG = 512
# Files besides connections: the daemon's socket, the store, Python's own.
_OTHER_FILES = 64
# Paths whose answers are generations.
_WORK = frozenset(one.path for one in ENDPOINTS if one.is_work)


class _Server(uvicorn.Server):
    """A server without uvicorn's handling of signals, which ends the process before anything is
    saved.
    """

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run_gateway(settings: Settings, *, presets: Read = no_presets) -> int:
    """Serve until told to stop; the exit code. presets: those of now, asked for each request.

    Raises `AlreadyRunning` where the address is taken, `BadConfig` where it may not be listened on.
    """
    listen = settings.http.listen
    if listen is None:
        raise BadConfig("say where to listen: --http 127.0.0.1:8080 or unix:PATH", field="http")
    keys = check_door(settings.http)
    team = None if settings.http.team is None else team_files(settings.http.team)
    stderr = StderrLog()
    stderr.open(settings.logging.level, verbose=settings.logging.verbose)
    # uvicorn's messages about single connections are not worth a line in the log.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        with (
            _listening(listen) as (sock, address),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            if team is not None:
                address = address.replace("http:", "https:", 1)
            stderr.say(f"umad gateway ready address={address}")
            runner.run(_serve(settings, keys, sock, listen, presets, team))
    finally:
        stderr.close()
    return 0


async def _serve(
    settings: Settings,
    keys: Keyring,
    sock: socket.socket,
    listen: str,
    presets: Read,
    team: TeamFiles | None,
) -> None:
    options = ClientOptions(
        name="umad-gateway", socket_owner=settings.socket_owner, tells_loading=True
    )
    if settings.http.router is None:
        client = AsyncClient(settings.socket, options=options)
    else:
        client = TeamClient.of_folder(settings.http.router, options=options)
    spans = open_spans(os.environ)
    app = create_app(
        settings.http,
        client,
        keys=keys,
        any_host=listen.startswith(UNIX),
        any_address=not is_local(listen),
        verbose=settings.logging.verbose,
        spans=spans,
        most_tokens=settings.limits.max_tokens,
        presets=Presets(presets),
        media=settings.media,
    )
    http = settings.http
    connections = Connections(
        limit=_connection_limit(http.connections),
        head_s=http.head_s,
        idle_s=http.idle_s,
        is_work=_WORK.__contains__,
        # With keys, and behind a router, the owner of a connection does not matter.
        peers=Peers(socket_owners()) if keys.is_open and team is None else None,
    )
    try:
        config = uvicorn.Config(
            app,
            # uvicorn calls this like a class; it is a function that also passes on the connections.
            http=cast(Any, connections.protocol()),
            timeout_keep_alive=cast(Any, http.idle_s),  # seconds, whole or not
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            backlog=BACKLOG,
            ws="none",
            **({} if team is None else team.server_options()),
        )
        server = _Server(config)
        loop = asyncio.get_running_loop()

        def end(number: int) -> None:
            app.state.shared.watchers.closing.set()
            server.handle_exit(number, None)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
        await server.serve(sockets=[sock])
    finally:
        await client.close()
        await app.state.shared.remote.close()
        app.state.shared.store.close()
        if spans is not None:
            spans.close()


def _connection_limit(wanted: int) -> int:
    """The number asked for, or the most that the system lets one process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft < needed:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit of its own
            soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    fitting = max(1, soft - _OTHER_FILES)
    log.warning("fewer connections than asked for asked=%d files=%d now=%d", wanted, soft, fitting)
    return fitting


@contextlib.contextmanager
def _listening(listen: str) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and the address for clients; a Unix socket's file is removed with it."""
    if listen.startswith(UNIX):
        path = Path(listen.removeprefix(UNIX)).expanduser()
        with _unix_socket(path) as sock:
            yield sock, f"{UNIX}{path}"
        return
    host, port = host_and_port(listen)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise _cannot_listen(listen, error) from error
    with sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen(BACKLOG)
        except OSError as error:
            raise _cannot_listen(listen, error) from error
        shown = f"[{host}]" if ":" in host else host
        yield sock, f"http://{shown}:{sock.getsockname()[1]}"


@contextlib.contextmanager
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """A socket with mode 0600, as the daemon's own, because whoever may connect may use the
    machine.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            _remove_stale(path)
            before = os.umask(0o177)
            try:
                sock.bind(str(path))
            finally:
                os.umask(before)
            sock.listen(BACKLOG)
        except OSError as error:
            raise _cannot_listen(f"{UNIX}{path}", error) from error
        try:
            yield sock
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a gateway that was killed, if no process listens on it."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise BadConfig(f"--http {UNIX}{path}: a file is there that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise _taken(f"{UNIX}{path}")


def _cannot_listen(listen: str, error: OSError) -> UmadError:
    if error.errno == errno.EADDRINUSE:
        return _taken(listen)
    return BadConfig(f"--http {listen}: {error.strerror or error}", field="http")


def _taken(listen: str) -> AlreadyRunning:
    return AlreadyRunning(
        f"--http {listen}: another program listens there; end it, or name another address",
        field="http",
    )
