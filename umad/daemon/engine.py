"""One loaded model as the daemon sees it: its state, its journal, its way to the process.

Not: starting and restarting the process (`umad.daemon.supervisor`), nor what its news mean to
clients (`umad.daemon.completions`). Owner: the daemon's event loop.
"""

import asyncio
import enum
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from umad.daemon.journal import Journal
from umad.errors import EngineFailed, UmadError
from umad.protocol.errors import error_of
from umad.protocol.link import Drop, EngineCall, EngineReply, StepStats, ToEngine
from umad.state_table import StateTable

if TYPE_CHECKING:
    from umad.daemon.generation import LiveGeneration

CALL_S = 30.0
MAX_CALLS = 256
MAX_CALLS_EACH = 192


class EngineState(enum.Enum):
    """Where an engine's life stands; the values are what `models` shows."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"
    FAILED = "failed"
    STOPPED = "stopped"


class EngineEvent(enum.Enum):
    """What can happen to an engine."""

    LOAD = "load"
    READY = "ready"
    DIED = "died"
    RESTART = "restart"
    GIVE_UP = "give_up"
    UNLOAD = "unload"


# The whole life of an engine. A pair that is missing is a bug with a name.
NEXT: dict[tuple[EngineState, EngineEvent], EngineState] = {
    (EngineState.STARTING, EngineEvent.READY): EngineState.READY,
    (EngineState.STARTING, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.STARTING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.READY, EngineEvent.DIED): EngineState.DEAD,
    (EngineState.READY, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.DEAD, EngineEvent.RESTART): EngineState.STARTING,
    (EngineState.DEAD, EngineEvent.GIVE_UP): EngineState.FAILED,
    (EngineState.DRAINING, EngineEvent.UNLOAD): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.READY): EngineState.DRAINING,
    (EngineState.DRAINING, EngineEvent.DIED): EngineState.STOPPED,
    (EngineState.FAILED, EngineEvent.LOAD): EngineState.STARTING,
    (EngineState.FAILED, EngineEvent.UNLOAD): EngineState.STOPPED,
}
LIFE = StateTable("an engine", NEXT)


class EngineSender(Protocol):
    """The way to the process."""

    def send(self, *messages: ToEngine) -> None:
        """Hand over messages in order, together; lost where the engine has gone. Never blocks."""
        ...


class Engine:
    """State, journal and outstanding questions of one model.

    loaded: done when the model is ready, or has failed; what `load` waits for.
    error: why the state is `failed`. stats: of the latest step. waits: why completions wait, in
    words, by their numbers, as the engine told last.
    watch: called when work is given to an engine that owed no news (its keeper's, once it has one).
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.state = EngineState.STARTING
        self.journal: Journal[LiveGeneration] = Journal()
        self.watch: Callable[[], None] = _unwatched
        self.facts: Mapping[str, Any] = {}
        self.stats: StepStats | None = None
        self.waits: Mapping[int, str] = {}
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: UmadError | None = None
        self.pid: int | None = None
        self.restarts = 0
        self.last_news_ns = 0
        self._link: EngineSender | None = None
        self._calls: dict[int, tuple[EngineCall, asyncio.Future[Any]]] = {}
        self._n_questions = 0
        self._n_of: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def advance(self, event: EngineEvent) -> None:
        """Take one step of `NEXT`. Raises `ImpossibleTransition` for one that is not in it."""
        self.state = LIFE.after(self.state, event)

    @property
    def connected(self) -> bool:
        """There is a process that takes messages."""
        return self._link is not None

    @property
    def is_idle(self) -> bool:
        """Nobody waits for anything of it."""
        return not len(self.journal) and not self._calls

    @property
    def owes_news(self) -> bool:
        """It has something to do that no slow reader holds up, so silence means it hangs. What is
        paused holds up nobody else: it gives its cells to those who wait.
        """
        return bool(self._calls) or len(self.journal) > self.journal.n_paused

    def connect(self, link: EngineSender) -> None:
        """The process is ready: messages go to it from here on, unanswered calls first."""
        self._link = link
        for call, _ in self._calls.values():
            link.send(call)

    def disconnect(self) -> None:
        """The process has gone; calls wait for the next one."""
        self._link = None

    def send(self, *messages: ToEngine) -> None:
        """Hand messages to the process; dropped where there is none (the journal has them).

        Together: it looks at all of them before it runs another step.
        """
        if self._link is not None:
            self._link.send(*messages)

    async def call(self, op: str, args: Mapping[str, Any], *, whose: str = "") -> Any:
        """Ask and wait for the answer, across a restart too; whoever stops to wait lets go of it.

        whose: who may have a part of all questions and no more. Raises the engine's error, or
        `EngineFailed` after `CALL_S` or with too many asked.
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
        """Have texts worked on, for as long as that takes, across a restart too: what the engine
        that died had done of it is done again. Whoever stops to wait for it lets go of it.

        Raises the engine's error. How much there may be at once is the caller's to bound.
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
        """Answer the question of that number; late answers are dropped."""
        _, answer = self._calls.pop(reply.call, (None, None))
        if answer is None or answer.done():
            return
        if reply.error is None:
            answer.set_result(reply.value)
        else:
            code, message, field = reply.error
            answer.set_exception(error_of(code, message, field))

    def fail_calls(self, error: UmadError) -> None:
        """Nobody will answer any more."""
        for _, answer in self._calls.values():
            if not answer.done():
                answer.set_exception(error)
        self._calls.clear()


def _unwatched() -> None:
    """An engine without a keeper is nobody's to kill."""
