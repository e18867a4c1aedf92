"""Holds one loaded model as the daemon sees it: its state, its journal, its link to the process.

Not: starting and restarting the process (`umad.daemon.supervisor`), nor passing its news to clients
(`umad.daemon.completions`). Owner: the daemon's event loop.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from umad.daemon.engine_state import ENDED, LIFE, EngineEvent, EngineState
from umad.daemon.generation import LiveGeneration
from umad.daemon.journal import Journal
from umad.daemon.keep_alive import KeepAlive
from umad.errors import EngineFailed, UmadError
from umad.models.whisper import is_speech_file
from umad.protocol.errors import error_of
from umad.protocol.link import Drop, EngineCall, EngineReply, StepStats, Stop, ToEngine
from umad.request import INTERACTIVE

CALL_S = 30.0
MAX_CALLS = 256
MAX_CALLS_EACH = 192
# What the daemon asks for itself. An engine that has no process is not started for it.
_OWN_OPS = frozenset({"spare", "forget"})


class EngineSender(Protocol):
    """The sending end of the link to the process."""

    def send(self, *messages: ToEngine) -> None:
        """Send messages in order and together; they are lost when the engine has gone. Never
        blocks.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    """The last of the work that an engine had when it began to yield."""

    rid: int
    call: int


class Engine:
    """State, journal and open questions of one model."""

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        modified_s: int | None = None,
        state: EngineState = EngineState.STARTING,
    ) -> None:
        """modified_s: when the file was last written, in seconds since 1970."""
        self.name = name
        self.path = path
        self.modified_s = modified_s
        # LoRA adapters that belong to the model, and act unless a request says otherwise.
        self.own_adapters: tuple[Path, ...] = ()
        # It is a speech model.
        self.transcribes = is_speech_file(path)
        self.state = state
        self.journal: Journal[LiveGeneration] = Journal(on_end=self._one_ended)
        # Called when work is given to an engine that owed no news; the keeper sets it.
        self.watch: Callable[[], None] = _unwatched
        # Called when the last of its work has ended; the keeper sets it.
        self.rests: Callable[[], None] = _unwatched
        # When somebody used it last, when it was ready last, and how long that load took.
        self.used_ns = self.ready_ns = self.load_ns = 0
        # How much of its file a load that is under way has read; None where that is not known.
        self.load_share: float | None = None
        # How long it stays after its last use.
        self.keep_alive = KeepAlive()
        # Why it is not started yet, in words; empty where it does not wait.
        self.waits_for = ""
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
        # Set while it yields: what came after this waits for the next process.
        self._sent: _Sent | None = None
        self._calls: dict[int, tuple[EngineCall, asyncio.Future[Any]]] = {}
        self._n_questions = 0
        # Those who wait for its facts alone.
        self._n_curious = 0
        self._n_of: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def advance(self, event: EngineEvent) -> None:
        """Take one step of `NEXT`. Raises `ImpossibleTransition` for a pair that is not in the
        table.
        """
        self.state = LIFE.after(self.state, event)

    @property
    def fingerprint(self) -> str:
        """What answers depend on; "" before the first load has told it."""
        return str(self.facts.get("fingerprint", ""))

    @property
    def connected(self) -> bool:
        """Whether there is a process that takes messages."""
        return self._link is not None

    def has_sent(self, rid: int) -> bool:
        """Whether the process knows that completion."""
        return self._link is not None and (self._sent is None or rid <= self._sent.rid)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything from this engine."""
        return not len(self.journal) and not self._calls

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for an answer that only a process of this engine can give."""
        asked = (call.op for call, _ in self._calls.values())
        is_asked = bool(self._n_curious) or any(op not in _OWN_OPS for op in asked)
        return bool(len(self.journal)) or is_asked

    def lanes(self) -> Iterator[str]:
        """The lanes of its work, those of questions included."""
        if self._n_curious:
            yield INTERACTIVE
        for entry in self.journal:
            yield entry.submit.lane
        for call, _ in self._calls.values():
            if call.op not in _OWN_OPS:
                # A question without a lane is answered between two steps, and somebody waits.
                yield call.args.get("lane", INTERACTIVE)

    @property
    def has_run_out(self) -> bool:
        """Whether the process has nothing to do. An engine that yields may have work that waits for
        the next process.
        """
        sent = self._sent
        if sent is None:
            return self.is_idle
        # Completions are numbered in the order in which they came.
        oldest = next(iter(self.journal), None)
        is_over = oldest is None or oldest.rid > sent.rid
        return is_over and not any(self._is_sent(call, sent) for call, _ in self._calls.values())

    @property
    def owes_news(self) -> bool:
        """Whether the engine has work that no slow reader holds up, so that silence means it hangs.

        A paused completion holds up nobody else: it gives its cells to those that wait.
        """
        return bool(self._calls) or len(self.journal) > self.journal.n_paused

    def connect(self, link: EngineSender) -> None:
        """Send messages to the new process from now on, unanswered calls first."""
        self._link = link
        self._sent = None
        for call, _ in self._calls.values():
            link.send(call)

    def disconnect(self) -> None:
        """Note that the process has gone; calls wait for the next one."""
        self._link = None
        self._sent = None

    def begin_to_yield(self) -> None:
        """From now on, hand the process nothing that it does not have."""
        last_rid = max((entry.rid for entry in self.journal), default=0)
        self._sent = _Sent(rid=last_rid, call=max(self._calls, default=0))
        self.loaded = asyncio.get_running_loop().create_future()

    def send(self, *messages: ToEngine) -> None:
        """Send messages to the process; without a process they are dropped (the journal has them).

        The process looks at all of them before it runs another step.
        """
        if self._link is None:
            return
        sent = self._sent
        if sent is not None:
            messages = tuple(one for one in messages if self._is_sent(one, sent))
        if messages:
            self._link.send(*messages)

    @staticmethod
    def _is_sent(message: ToEngine, sent: _Sent) -> bool:
        """Whether a message belongs to work that the process has."""
        match message:
            case EngineCall():
                return message.call <= sent.call or message.op in _OWN_OPS
            case Drop():
                return message.call <= sent.call
            case Stop():
                return True
            case _:
                return message.rid <= sent.rid

    async def told(self) -> Mapping[str, Any]:
        """The model's facts, once its first load has told them. Whoever waits for them wants the
        model, which would not be loaded for nobody. Raises the error that made it fail.
        """
        self._n_curious += 1
        try:
            if not self.facts:
                await asyncio.shield(self.loaded)
        finally:
            self._n_curious -= 1
        return self.facts

    async def call(self, op: str, args: Mapping[str, Any], *, whose: str = "") -> Any:
        """Ask the engine and wait for the answer, across a restart too.

        Cancelling the wait drops the call. whose: the asker, who may have at most `MAX_CALLS_EACH`
        open questions. Raises the engine's error, or `EngineFailed` with too many open questions,
        or `CALL_S` after the engine was asked. A load that is under way is waited for, and has a
        bound of its own.
        """
        n_own = self._n_of.get(whose, 0)
        if self._n_questions >= MAX_CALLS or n_own >= MAX_CALLS_EACH:
            raise EngineFailed(
                f"{self.name} has {self._n_questions} questions to answer, {n_own} of them yours; "
                "try again later"
            )
        self._n_questions += 1
        self._n_of[whose] = n_own + 1
        loaded, loop = self.loaded, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CALL_S if loaded.done() else None) as limit:

                def begin(_: asyncio.Future[None]) -> None:
                    with contextlib.suppress(RuntimeError):  # the answer was there first
                        limit.reschedule(loop.time() + CALL_S)

                if not loaded.done():
                    loaded.add_done_callback(begin)
                try:
                    return await self._ask(op, args, drops=True)
                finally:
                    loaded.remove_done_callback(begin)
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
        if self.state in ENDED:
            # It was found a moment ago. Nobody would answer, nor end the question.
            raise self._end()
        if op in _OWN_OPS and not self.connected:
            # There is nothing to spare or to forget, and the model is not loaded for that.
            raise EngineFailed(f"{self.name} has no process")
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
            if op not in _OWN_OPS or self._sent is not None:
                self._one_ended()

    def _end(self) -> UmadError:
        """Why it answers nothing any more."""
        error = self.error or EngineFailed(f"{self.name} was unloaded; try again")
        # A new exception each time, because an exception keeps the frames it was raised through.
        return error_of(error.code, error.message, error.field)

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

    def fail_calls(self, error: UmadError, *, own: bool = False) -> None:
        """End every open call with `error`, because no answer will come. own: only those that the
        daemon has asked for itself.
        """
        for number, (call, answer) in list(self._calls.items()):
            if own and call.op not in _OWN_OPS:
                continue
            if not answer.done():
                answer.set_exception(error)
            del self._calls[number]

    def _one_ended(self) -> None:
        """Some of its work has ended."""
        if self.has_run_out:
            self.rests()


def _unwatched() -> None:
    """Do nothing: an engine without a keeper is not watched."""
