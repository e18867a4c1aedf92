"""Runs one engine's process: starts it with one end of a socket pair, keeps its output, reaps it.

Not: the messages on the link (`umad.daemon.engine_link`) or when the process is started again
(`umad.daemon.supervisor`). Owner: the task of the engine it belongs to, on the daemon's loop.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

from umad.daemon.names import ModelFile

log = logging.getLogger(__name__)

TAIL_LINES = 20
LINE_CHARS = 400
# SIGKILL needs no consent. A process that is still there after this is stuck in the kernel.
REAP_S = 10.0
# What the engine wrote before its death is still to be read. A link that stays open longer is held
# by another process.
LAST_WORDS_S = 2.0
# A grandchild may hold the pipe open after the process has ended.
PIPE_S = 1.0
_NOBODYS_FOLDER = "/"

# The command line of an engine, from a model and the number of its end of the link.
Launcher = Callable[[ModelFile, int], Sequence[str]]


class EngineProcess:
    """A running engine. Always await `wait` in the end, because it reaps the process."""

    def __init__(self, model: str, process: Process, words: asyncio.StreamReader) -> None:
        self._model = model
        self._process = process
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._pump = asyncio.create_task(self._keep(words), name=f"words of {model}")

    @classmethod
    async def start(
        cls,
        model: str,
        command: Sequence[str],
        link: socket.socket,
        inherited: tuple[int, ...] = (),
    ) -> Self:
        """Start `command`, which inherits `link` under the same number; the caller closes its own
        copy.

        inherited: further descriptors that the process inherits in the same way. Raises `OSError`
        where the program cannot be started.
        """
        # A session of its own: Ctrl-C in the daemon's terminal is the daemon's to handle.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            # A llama.cpp whose backends are separate libraries looks for them in the working
            # folder.
            cwd=_NOBODYS_FOLDER,
            pass_fds=(link.fileno(), *inherited),
            start_new_session=True,
        )
        words = process.stdout
        if words is None:  # PIPE was asked for; only the type allows it
            raise OSError("no pipe to the engine")
        return cls(model, process, words)

    @classmethod
    async def linked(
        cls,
        model: str,
        link: asyncio.Protocol,
        command: Callable[[int], Sequence[str]],
        inherited: tuple[int, ...] = (),
    ) -> Self:
        """Start a process at the other end of `link`. command: from the number of its end. Raises
        `OSError` where the program cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
            return await cls.start(model, command(theirs.fileno()), theirs, inherited)

    @property
    def pid(self) -> int:
        """Process id; only meaningful until `wait` has returned."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The last line the process wrote, for an error message; empty where it wrote none."""
        return self._tail[-1] if self._tail else ""

    def kill(self) -> None:
        """End the process at once; no effect once it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def stop_for_a_while(self) -> None:
        """Stop the process where it is (SIGSTOP); it can be killed nevertheless."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a process that was stopped go on; no effect on one that runs."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Reap the process and return its exit status, negative for a signal.

        This takes as long as the process lives.
        """
        status = await self._process.wait()
        await asyncio.wait({self._pump}, timeout=PIPE_S)
        self._pump.cancel()
        return status

    async def ends_with(self, lost: asyncio.Future[None]) -> None:
        """Return when process and link have ended, or one has and the other took too long. lost:
        done when the link has ended.
        """
        exited = asyncio.create_task(self.wait(), name=f"exit of {self._model}")
        ends: set[asyncio.Future[Any]] = {exited, lost}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ends, timeout=LAST_WORDS_S)
        finally:
            exited.cancel()

    async def end(self) -> int | None:
        """Kill and reap the process within `REAP_S`; None where even that did not end it."""
        self.kill()
        try:
            async with asyncio.timeout(REAP_S):
                return await self.wait()
        except TimeoutError:
            log.error("engine cannot be reaped model=%s pid=%d", self._model, self.pid)
            return None

    async def _keep(self, words: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await words.read(4096):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._heard(line)
            rest = rest[-LINE_CHARS:]
        if rest:
            self._heard(rest)

    def _heard(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:LINE_CHARS]
        if text:
            self._tail.append(text)
            log.info("engine output model=%s: %s", self._model, text)
