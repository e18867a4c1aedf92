"""Runs the router's process: its folder, HAProxy, the service, signals, the end.

It ends with the first SIGTERM or SIGINT, and HAProxy goes on. `umad router stop` ends both.
Owner: the main thread and one loop.
"""

import asyncio
import contextlib
import datetime
import json
import logging
import random
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import Timeout

from umad.clock import MonotonicClock
from umad.errors import AlreadyRunning, BadConfig
from umad.private_file import own_folder, write_own
from umad.router.asking import HttpsWatch
from umad.router.folder import RouterFolder, team_authority
from umad.router.haproxy import process, render, render_models
from umad.router.haproxy.admin_socket import AdminSocket
from umad.router.invitations import Invitations
from umad.router.lan import announced
from umad.router.members import Member
from umad.router.seams import Surroundings
from umad.router.service import RouterService
from umad.stderr_log import StderrLog
from umad.units import NS_PER_S

_LOCKED_WITHIN_S = 1.0
_ANYWHERE = ("0.0.0.0", "::")
log = logging.getLogger(__name__)


def run_router(folder: RouterFolder) -> int:
    """Run until told to end; the exit code. Raises AlreadyRunning where another one holds the
    folder, BadConfig and ProxyFailed where HAProxy could not run with it."""
    _own(folder)
    try:
        # Whoever only looks whether it is held holds it for a moment.
        with folder.lock().acquire(timeout=_LOCKED_WITHIN_S):
            return _run(folder)
    except Timeout:
        raise AlreadyRunning(f"another router runs in {folder.path}") from None


def _run(folder: RouterFolder) -> int:
    # Settings and a list that cannot be read are told before anything runs.
    folder.proxy(folder.members.members())
    program = process.find_haproxy()
    _renew(folder)
    stderr = StderrLog()
    stderr.open("info")
    # A line for each question to a node is too much.
    for name in ("httpx2", "httpcore2", "asyncio", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with asyncio.Runner() as runner:
            runner.run(_serve(folder, program, stderr))
    finally:
        stderr.close()
    return 0


async def _serve(folder: RouterFolder, program: str, stderr: StderrLog) -> None:
    clock = MonotonicClock()
    watch = HttpsWatch(folder.tls, clock=clock)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    admin = AdminSocket(folder.admin_path)
    try:
        members = folder.members
        if not await admin.is_there():
            await asyncio.to_thread(_begin, folder, program, members.members())

        async def begin(members: Sequence[Member]) -> None:
            await asyncio.to_thread(_begin, folder, program, members)

        service = RouterService(
            folder.proxy(),
            admin=admin,
            watch=watch,
            surroundings=Surroundings(
                members=members.members,
                stamp=members.stamp,
                begin=begin,
                publish=lambda told, nodes: _publish(folder, told, nodes),
            ),
            clock=clock,
            settings=folder.policy(),
            rng=random.Random(),
            ask_every_ns=folder.settings.ask_every_s * NS_PER_S,
        )
        async with contextlib.AsyncExitStack() as stack:
            if folder.join_address is not None:
                await stack.enter_async_context(_joining(folder, stderr))
                if folder.settings.announce is not None:
                    await stack.enter_async_context(_announced(folder, folder.settings.announce))
            stderr.say(f"umad router ready address={folder.settings.listen}")
            await service.run(ending)
    finally:
        await watch.close()


@contextlib.asynccontextmanager
async def _joining(folder: RouterFolder, stderr: StderrLog) -> AsyncIterator[None]:
    """Machines may join meanwhile."""
    authority = team_authority()(folder.path)
    # Whoever has certificates of elsewhere runs a router without the extra.
    from umad.router.joining import JoinServer, join_app  # noqa: PLC0415

    address = folder.join_address
    assert address is not None
    host, port = address
    app = join_app(
        authority,
        Invitations(folder.invitations_path),
        folder.members,
        now=lambda: datetime.datetime.now(datetime.UTC),
    )
    with _listening(host, port) as sock:
        server = JoinServer(app, own=Path(folder.tls.own_path))
        task = asyncio.create_task(server.serve(sockets=[sock]))
        task.add_done_callback(_say_why)
        stderr.say(f"machines join at {host}:{sock.getsockname()[1]}")
        try:
            yield
        finally:
            server.should_exit = True
            await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _announced(folder: RouterFolder, name: str) -> AsyncIterator[None]:
    """The local network hears where machines join."""
    address = folder.join_address
    assert address is not None
    host, port = address
    fingerprint = team_authority()(folder.path).fingerprint
    chosen = () if host in _ANYWHERE else (host,)
    async with announced(name, port, authority=fingerprint, interfaces=chosen):
        yield


def _say_why(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("machines cannot join any more", exc_info=error)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise BadConfig(f"join {host}:{port}: {error.strerror or error}", field="join") from error


def _renew(folder: RouterFolder) -> None:
    """The router's own certificate, where it is of the folder's authority."""
    if folder.settings.own is not None or not (folder.path / "ca.key").exists():
        return
    team_authority()(folder.path).renew_own_if_old(now=datetime.datetime.now(datetime.UTC))


def _begin(folder: RouterFolder, program: str, members: Sequence[Member]) -> None:
    """Write HAProxy's files, and start it.

    All models go to all nodes until their pools have servers: a pool that has none refuses.
    """
    proxy = folder.proxy(members)
    write_own(folder.config_path, render(proxy).encode())
    write_own(folder.models_path, render_models({}).encode())
    process.check(program, folder.config_path)
    process.begin(program, folder.config_path)


def _publish(
    folder: RouterFolder, told: Mapping[str, Any], nodes: Mapping[str, Any] | None
) -> None:
    """For `umad router ls`, and for the gateway in front. A full disk stops no router."""
    try:
        write_own(folder.fleet_path, json.dumps(told, indent=1).encode())
        if nodes is not None:
            write_own(folder.team_path, json.dumps(nodes).encode())
    except OSError as error:
        log.warning("fleet.json or team.json cannot be written error=%s", error.strerror)


def _own(folder: RouterFolder) -> None:
    try:
        own_folder(folder.path)
    except OSError as error:
        raise BadConfig(f"{folder.path}: {error.strerror}") from error
