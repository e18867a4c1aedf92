"""Holds one loaded model as the daemon sees it: its state, its journal, its link to the process.

Not: starting and restarting the process (`umad.daemon.supervisor`), nor passing its news to clients
(`umad.daemon.completions`). Owner: the daemon's event loop.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from umad.daemon.engine_state import LIFE, EngineEvent, EngineState
from umad.daemon.generation import LiveGeneration
from umad.daemon.journal import Journal
from umad.errors import EngineFailed, UmadError
from umad.protocol.errors import error_of
from umad.protocol.link import Drop, EngineCall, EngineReply, StepStats, ToEngine

CALL_S = 30.0
MAX_CALLS = 256
MAX_CALLS_EACH = 192


class EngineSender(Protocol):
    """The sending end of the link to the process."""

    def send(self, *messages: ToEngine) -> None:
        """Send messages in order and together; they are lost when the engine has gone. Never
        blocks.
        """
        ...


class Engine:
    """State, journal and open questions of one model."""

    def __init__(self, name: str, path: Path, *, modified_s: int | None = None) -> None:
        """modified_s: when the file was last written, in seconds since 1970."""
        self.name = name
        self.path = path
        self.modified_s = modified_s
        self.state = EngineState.STARTING
        self.journal: Journal[LiveGeneration] = Journal()
        # Called when work is given to an engine that owed no news; the keeper sets it.
        self.watch: Callable[[], None] = _unwatched
        self.facts: Mapping[str, Any] = {}
        # The figures of the latest step.
        self.stats: StepStats | None = None
        # Why completions wait, in words, by rid, as the engine reported last.
        self.waits: Mapping[int, str] = {}
        # Done when the model is ready or has failed; `load` waits for it.
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Why the state is `failed`.
        self.error: UmadError | None = None
        self.pid: int | None = None
        self.restarts = 0
        # Why it is suspended, in words; empty while it runs.
        self.suspended_for = ""
        # What it gave up while memory was short, in words; empty where it has all of it.
        self.gave_up = ""
        self.last_news_ns = 0
        self._link: EngineSender | None = None
        self._calls: dict[int, tuple[EngineCall, asyncio.Future[Any]]] = {}
        self._n_questions = 0
        self._n_of: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def advance(self, event: EngineEvent) -> None:
        """Take one step of `NEXT`. Raises `ImpossibleTransition` for a pair that is not in the
        table.
        """
        self.state = LIFE.after(self.state, event)

    @property
    def connected(self) -> bool:
        """Whether there is a process that takes messages."""
        return self._link is not None

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything from this engine."""
        return not len(self.journal) and not self._calls

    @property
    def owes_news(self) -> bool:
        """Whether the engine has work that no slow reader holds up, so that silence means it hangs.

        A paused completion holds up nobody else: it gives its cells to those that wait.
        """
        return bool(self._calls) or len(self.journal) > self.journal.n_paused

    def connect(self, link: EngineSender) -> None:
        """Send messages to the new process from now on, unanswered calls first."""
        self._link = link
        for call, _ in self._calls.values():
            link.send(call)

    def disconnect(self) -> None:
        """Note that the process has gone; calls wait for the next one."""
        self._link = None

    def send(self, *messages: ToEngine) -> None:
        """Send messages to the process; without a process they are dropped (the journal has them).

        The process looks at all of them before it runs another step.
        """
        if self._link is not None:
            self._link.send(*messages)

    async def call(self, op: str, args: Mapping[str, Any], *, whose: str = "") -> Any:
        """Ask the engine and wait for the answer, across a restart too.

        Cancelling the wait drops the call. whose: the asker, who may have at most `MAX_CALLS_EACH`
        open questions. Raises the engine's error, or `EngineFailed` after `CALL_S` or with too many
        open questions.
        """
        n_own = self._n_of.get(whose, 0)
        if self._n_questions >= MAX_CALLS or n_own >= MAX_CALLS_EACH:
            raise EngineFailed(
                f"{self.name} has {self._n_questions} questions to answer, {n_own} of them yours; "
                "try again later"
            )
        self._n_questions += 1
        self._n_of[whose] = n_own + 1
        try:
            async with asyncio.timeout(CALL_S):
                return await self._ask(op, args, drops=True)
        except TimeoutError:
            raise EngineFailed(
                f"{self.name} gave no answer within {CALL_S:.0f} s; try again"
            ) from None
        finally:
            self._n_questions -= 1
            self._n_of[whose] -= 1
            if not self._n_of[whose]:
                del self._n_of[whose]

    async def work(self, op: str, args: Mapping[str, Any]) -> Any:
        """Have the engine work on texts, however long that takes, across a restart too.

        When an engine dies, the next one repeats its part of the work. Cancelling the wait drops
        the call. Raises the engine's error. The caller limits how many of these run at once.
        """
        return await self._ask(op, args, drops=True)

    async def _ask(self, op: str, args: Mapping[str, Any], *, drops: bool = False) -> Any:
        number = next(self._numbers)
        call = EngineCall(call=number, op=op, args=args)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        owed = self.owes_news
        self._calls[number] = (call, answer)
        self.send(call)
        if not owed:
            self.watch()
        try:
            return await answer
        finally:
            if self._calls.pop(number, None) is not None and drops:
                self.send(Drop(call=number))

    def replied(self, reply: EngineReply) -> None:
        """Give the answer to the call of that number; late answers are dropped."""
        _, answer = self._calls.pop(reply.call, (None, None))
        if answer is None or answer.done():
            return
        if reply.error is None:
            answer.set_result(reply.value)
        else:
            code, message, field = reply.error
            answer.set_exception(error_of(code, message, field))

    def fail_calls(self, error: UmadError) -> None:
        """End every open call with `error`, because no answer will come."""
        for _, answer in self._calls.values():
            if not answer.done():
                answer.set_exception(error)
        self._calls.clear()


def _unwatched() -> None:
    """Do nothing: an engine without a keeper is not watched."""
