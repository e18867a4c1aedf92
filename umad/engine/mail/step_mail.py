"""Carries mail from other threads to the step thread: a bounded queue, cheap to find empty.

The mailbox thread and the threads that compile grammars put mail; the step thread takes it. A full
queue stops the reader, and so, after a while, the daemon's writes.
"""

import threading
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from umad.engine.adapters.adapter_set import AdapterSet
from umad.engine.ahead.turns import AskedTurn, EndedTurn
from umad.engine.embedding.answer import Answer
from umad.engine.logits.readers import Ring
from umad.engine.media.desk import MediumRun
from umad.engine.steps.completion_stream import CompletionStream
from umad.forgetting import ForgetScope
from umad.protocol.link import (
    Attached,
    CancelOrder,
    Choose,
    EngineReply,
    Pause,
    Resume,
    SetLane,
    Stop,
)
from umad.scheduler.embeds.queue import EmbedAdmission
from umad.scheduler.memory.sparing import Spared
from umad.scheduler.scheduled_request import Submission
from umad.step import DiskDone

# More than the daemon ever has underway. It is a bound against a bug, not a policy.
LIMIT = 8192
_WAIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A completion that passed every check which needs no scheduler."""

    stream: CompletionStream
    admission: Submission
    # The chat that it is about, where its next turn may be computed ahead.
    turn: AskedTurn | None = None
    # The adapters that it runs under; None for none.
    adapters: AdapterSet | None = None
    # The rows among its prompt's tokens, in the order of its spans.
    media: tuple[MediumRun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadMail:
    """The prompt of a chat's next turn, as far as it is known, to be computed ahead."""

    turn: EndedTurn
    # int32 (n,).
    ids: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedMail:
    """Mail about texts to be embedded: an `EmbedArrival` or a `DropEmbed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedArrival(EmbedMail):
    """Texts to be embedded, or pairs to be judged, tokenized and checked."""

    # Waits for the vectors of the texts in `admission`.
    answer: Answer
    admission: EmbedAdmission


@dataclass(frozen=True, slots=True, kw_only=True)
class DropEmbed(EmbedMail):
    """Nobody waits for the answer to this call any more."""

    call: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetMail:
    """The `forget` call, which only the scheduler can answer."""

    call: int
    what: ForgetScope
    # Requests with a lower number were there when the call was made, even where they arrive after
    # it.
    before_rid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareMail:
    """The `spare` call: the machine is short of memory, or no longer."""

    call: int
    # The share of the engine's host memory that it may use.
    share: float
    # Bytes of vectors that were given up when the call came.
    vector_bytes: int = 0

    def answered(self, spared: Spared) -> EngineReply:
        """The answer, once the scheduler has given up its part."""
        value = asdict(spared)
        value["freed_bytes"] += self.vector_bytes
        return EngineReply(call=self.call, value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachRing:
    """The `attach` call, with a ring made for it beside the decode."""

    call: int
    rid: int
    choose: bool
    ring: Ring


Mail = (
    Arrival
    | AheadMail
    | EmbedMail
    | CancelOrder
    | SetLane
    | Pause
    | Resume
    | Attached
    | Choose
    | ForgetMail
    | SpareMail
    | AttachRing
    | DiskDone
    | Stop
)


class StepMail:
    """Mail in order of arrival."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._mail: list[Mail] = []
        self._changed = threading.Condition()

    def put(self, mail: Mail) -> None:
        """Add one piece of mail; blocks while the queue is full."""
        with self._changed:
            while len(self._mail) >= self._limit:
                self._changed.wait(_WAIT_S)
            self._mail.append(mail)
            self._changed.notify_all()

    def drain(self) -> list[Mail]:
        """Take all mail. An empty queue costs nothing, because no lock is taken."""
        if not self._mail:
            return []
        with self._changed:
            mail, self._mail = self._mail, []
            self._changed.notify_all()
        return mail

    def has_mail(self) -> bool:
        """Whether there is mail now. It takes no lock."""
        return bool(self._mail)

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is mail or the time is over. Returns whether there is any."""
        with self._changed:
            if not self._mail:
                self._changed.wait(timeout_s)
            return bool(self._mail)
