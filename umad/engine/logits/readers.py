"""Manages completions whose clients read their logits, and those whose clients choose their tokens.

Such a completion has a ring in shared memory that its rows are copied to. A held completion takes
no part in steps. The completion is held until its client has attached the ring; with "choose" it is
also held after every row, until the client's token is there. No other completion waits for it, and
its own wait is bounded: when that time is over, it ends with an error of its own.
Not: how a ring is laid out (`umad.sampling.ring`). Owner: the step thread; a `Ring` is made on the
mailbox thread and handed over.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from umad.engine.logits.shared_pages import SharedPages
from umad.errors import BadRequest, DeadlineExceeded, LimitExceeded, UmadError, UnknownRequest
from umad.protocol.link import EngineReply
from umad.request import LogitsUse
from umad.sampling.ring import RingLayout, RingWriter
from umad.units import NS_PER_S

# A ring for a large vocabulary is 5 MB.
MOST_RINGS = 32
# Stands in place of a position: the completion waits for its ring to be attached, not for a token.
_ATTACHING = -1


class Ring:
    """A piece of shared memory and its writer."""

    def __init__(self, n_vocab: int) -> None:
        """Raises `LimitExceeded` where the system has no memory or descriptor for it."""
        layout = RingLayout(n_vocab=n_vocab)
        try:
            self._pages = SharedPages(layout.n_bytes)
        except OSError as error:
            raise LimitExceeded(f"no memory to share logits in: {error.strerror}") from error
        self._writer: RingWriter | None = RingWriter(layout, self._pages.memory)
        # All that a reader needs to find the memory and read it.
        self.facts: Mapping[str, Any] = {**layout.as_map(), "handle": self._pages.handle}

    def write(self, position: int, row: NDArray[np.float32]) -> None:
        """Copy one row."""
        if self._writer is not None:
            self._writer.write(position, row)

    def close(self) -> None:
        """Give the memory back here. New readers cannot attach it; a reader that has it mapped
        keeps it.
        """
        self._writer = None  # memory with views on it cannot be given back
        self._pages.close()


class LogitsReader:
    """The reader of one completion."""

    __slots__ = ("awaited", "due_ns", "paused", "ring", "use")

    def __init__(self, use: LogitsUse) -> None:
        self.use = use
        self.ring: Ring | None = None
        # The position whose token the client must choose before the completion goes on. It is
        # `_ATTACHING` until the ring is attached, and None while nothing is awaited.
        self.awaited: int | None = None
        # When the wait ends with an error.
        self.due_ns = 0
        # The client does not read its socket either.
        self.paused = False


class Read(Protocol):
    """The part of a completion that its reader needs
    (`umad.engine.steps.completion_stream.CompletionStream`).
    """

    rid: int
    n_generated: int
    reader: LogitsReader | None
    error: UmadError | None


class Pausable(Protocol):
    """The part of the scheduler that holds completions, and that guesses their next tokens."""

    def pause(self, rid: int, *, gives_way: bool = True) -> None:
        """Compute nothing more for a completion. gives_way: others who wait may take its cells."""
        ...

    def resume(self, rid: int) -> None:
        """Compute the completion again."""
        ...

    def guess_nothing(self, rid: int) -> None:
        """Compute one row of a completion in a step, from now on."""
        ...


class Readers:
    """The readers of one engine. Everything that pauses a completion goes through it to the
    scheduler.
    """

    def __init__(self, scheduler: Pausable, *, n_vocab: int, wait_s: float) -> None:
        self._scheduler = scheduler
        self._n_vocab = n_vocab
        self._wait_s = wait_s
        self._held: dict[int, Read] = {}
        self._n_rings = 0

    def __bool__(self) -> bool:
        """True if a completion is held."""
        return bool(self._held)

    def admitted(self, stream: Read, now_ns: int) -> None:
        """A completion has come. One with a reader begins once its client has attached the ring."""
        if stream.reader is not None:
            self._hold(stream, stream.reader, _ATTACHING, now_ns)

    def answer(self, call: int, stream: Read | None, ring: Ring, *, choose: bool) -> EngineReply:
        """The reply to a client that attaches; `ring` was made for it."""
        try:
            if stream is None:
                raise UnknownRequest("the request has ended", field="request")
            return EngineReply(call=call, value=self.attach(stream, ring, choose=choose))
        except UmadError as error:
            ring.close()
            return EngineReply(call=call, error=(error.code, error.message, error.field))

    def attach(self, stream: Read, ring: Ring, *, choose: bool) -> Mapping[str, Any]:
        """Attach `ring`, unless the completion has a ring already. Returns the facts of its ring.
        Raises `LimitExceeded`.
        """
        reader = stream.reader or LogitsReader("read")
        if reader.ring is None:
            if self._n_rings >= MOST_RINGS:
                raise LimitExceeded(
                    f"{MOST_RINGS} requests of this model have their logits read already; "
                    "wait for one to end"
                )
            self._n_rings += 1
            reader.ring = ring
        elif reader.ring is not ring:
            ring.close()
        stream.reader = reader
        # Its client sees each row before a token is drawn from it, so no step may have several.
        self._scheduler.guess_nothing(stream.rid)
        if choose:
            reader.use = "choose"
        return reader.ring.facts

    def attached(self, stream: Read | None) -> None:
        """The client has the ring's descriptor. No row is written before that."""
        if stream is None or stream.reader is None or stream.reader.ring is None:
            return
        if stream.reader.awaited == _ATTACHING:
            self._let_go(stream, stream.reader)

    def write(self, stream: Read, row: NDArray[np.float32], now_ns: int) -> bool:
        """Copy the row of the next token to the ring. Returns whether the client chooses that
        token.
        """
        reader = stream.reader
        if reader is None or reader.ring is None:
            return False
        reader.ring.write(stream.n_generated, row)
        if reader.use == "choose":
            self._hold(stream, reader, stream.n_generated, now_ns)
            return True
        return False

    def chosen(self, stream: Read, position: int, token: int) -> None:
        """Accept the client's choice. Raises `BadRequest` for a choice that makes no sense."""
        reader = stream.reader
        if reader is None or reader.use != "choose":
            raise BadRequest(
                "this request's tokens are not its client's to choose", field="request"
            )
        if reader.awaited != position:
            wanted = "nothing now" if reader.awaited in (None, _ATTACHING) else reader.awaited
            raise BadRequest(
                f"a token was chosen for position {position}, awaited is {wanted}", field="position"
            )
        if not 0 <= token < self._n_vocab:
            raise BadRequest(
                f"token {token} was chosen, the model has 0 to {self._n_vocab - 1}", field="token"
            )
        self._let_go(stream, reader)

    def overdue(self, now_ns: int) -> list[int]:
        """Completions that have waited too long for their client. Each has its error set."""
        late = []
        for rid, stream in self._held.items():
            reader = stream.reader
            if reader is None or now_ns < reader.due_ns:
                continue
            missing = (
                "the ring of logits was not attached"
                if reader.awaited == _ATTACHING
                else f"no token was chosen for position {reader.awaited}"
            )
            stream.error = DeadlineExceeded(f"{missing} within {self._wait_s:g} s", field="logits")
            late.append(rid)
        return late

    def pause(self, rid: int, stream: Read | None) -> None:
        """The client reads its socket too slowly."""
        self._scheduler.pause(rid)
        if stream is not None and stream.reader is not None:
            stream.reader.paused = True

    def resume(self, rid: int, stream: Read | None) -> None:
        """The client has caught up."""
        if stream is not None and stream.reader is not None:
            stream.reader.paused = False
        if rid not in self._held:
            self._scheduler.resume(rid)
        else:
            self._scheduler.pause(rid, gives_way=False)

    def ended(self, stream: Read) -> None:
        """The completion is over, for whatever reason."""
        self._held.pop(stream.rid, None)
        if stream.reader is not None and stream.reader.ring is not None:
            stream.reader.ring.close()
            self._n_rings -= 1

    def _hold(self, stream: Read, reader: LogitsReader, awaited: int, now_ns: int) -> None:
        reader.awaited = awaited
        reader.due_ns = now_ns + round(self._wait_s * NS_PER_S)
        self._held[stream.rid] = stream
        # The client works on the row and answers soon, so the completion keeps its cells.
        self._scheduler.pause(stream.rid, gives_way=reader.paused)

    def _let_go(self, stream: Read, reader: LogitsReader) -> None:
        reader.awaited = None
        del self._held[stream.rid]
        if not reader.paused:
            self._scheduler.resume(stream.rid)
