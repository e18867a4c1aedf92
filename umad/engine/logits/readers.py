"""Completions whose clients read their logits, and those whose clients choose their tokens.

Such a completion has a ring in shared memory that its rows are copied to. It is held, which means
that it takes no part in steps, until its client has attached the ring; with "choose" also after
every row, until the client's token is there. Nobody else waits for it, and it waits only so long:
then it ends with an error of its own.
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

# A ring of a large vocabulary is 5 MB.
MOST_RINGS = 32
# In place of a position: what is awaited is not its token but that the ring is attached.
_ATTACHING = -1


class Ring:
    """Shared memory and its writer. facts: for who is to read it."""

    def __init__(self, n_vocab: int) -> None:
        """Raises `LimitExceeded` where the system has no memory or descriptor for it."""
        layout = RingLayout(n_vocab=n_vocab)
        try:
            self._pages = SharedPages(layout.n_bytes)
        except OSError as error:
            raise LimitExceeded(f"no memory to share logits in: {error.strerror}") from error
        self._writer: RingWriter | None = RingWriter(layout, self._pages.memory)
        self.facts: Mapping[str, Any] = {**layout.as_map(), "handle": self._pages.handle}

    def write(self, position: int, row: NDArray[np.float32]) -> None:
        """Copy one row."""
        if self._writer is not None:
            self._writer.write(position, row)

    def close(self) -> None:
        """Give it back here. Nobody can attach it any more; who has it mapped keeps it."""
        self._writer = None  # memory that is looked at cannot be given back
        self._pages.close()


class LogitsReader:
    """One completion's reader. awaited: the position whose token its client must choose before it
    goes on, `_ATTACHING` while the ring must first be attached, None while nothing is awaited.
    due_ns: when waiting ends with an error. paused: its client does not read its socket either."""

    __slots__ = ("awaited", "due_ns", "paused", "ring", "use")

    def __init__(self, use: LogitsUse) -> None:
        self.use = use
        self.ring: Ring | None = None
        self.awaited: int | None = None
        self.due_ns = 0
        self.paused = False


class Read(Protocol):
    """A completion, as far as its reader goes
    (`umad.engine.steps.completion_stream.CompletionStream`)."""

    rid: int
    n_generated: int
    reader: LogitsReader | None
    error: UmadError | None


class Pausable(Protocol):
    """The scheduler, as far as holding goes."""

    def pause(self, rid: int, *, gives_way: bool = True) -> None:
        """Compute nothing more for it. gives_way: its cells are for others who wait."""
        ...

    def resume(self, rid: int) -> None:
        """Go on with it."""
        ...


class Readers:
    """All of one engine. It stands between the scheduler and everybody who pauses a completion."""

    def __init__(self, scheduler: Pausable, *, n_vocab: int, wait_s: float) -> None:
        self._scheduler = scheduler
        self._n_vocab = n_vocab
        self._wait_s = wait_s
        self._held: dict[int, Read] = {}
        self._n_rings = 0

    def __bool__(self) -> bool:
        """Somebody is held."""
        return bool(self._held)

    def admitted(self, stream: Read, now_ns: int) -> None:
        """It has come; with a reader, it begins once that has its ring."""
        if stream.reader is not None:
            self._hold(stream, stream.reader, _ATTACHING, now_ns)

    def answer(self, call: int, stream: Read | None, ring: Ring, *, choose: bool) -> EngineReply:
        """What is said to a client that attaches; `ring` was made for it."""
        try:
            if stream is None:
                raise UnknownRequest("the request has ended", field="request")
            return EngineReply(call=call, value=self.attach(stream, ring, choose=choose))
        except UmadError as error:
            ring.close()
            return EngineReply(call=call, error=(error.code, error.message, error.field))

    def attach(self, stream: Read, ring: Ring, *, choose: bool) -> Mapping[str, Any]:
        """The facts of its ring, which is `ring` unless it has one. Raises `LimitExceeded`."""
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
        if choose:
            reader.use = "choose"
        return reader.ring.facts

    def attached(self, stream: Read | None) -> None:
        """Its client has the ring's descriptor. Until then no row is written."""
        if stream is None or stream.reader is None or stream.reader.ring is None:
            return
        if stream.reader.awaited == _ATTACHING:
            self._let_go(stream, stream.reader)

    def write(self, stream: Read, row: NDArray[np.float32], now_ns: int) -> bool:
        """Copy the row of its next token to its ring; whether its client is to choose that."""
        reader = stream.reader
        if reader is None or reader.ring is None:
            return False
        reader.ring.write(stream.n_generated, row)
        if reader.use == "choose":
            self._hold(stream, reader, stream.n_generated, now_ns)
            return True
        return False

    def chosen(self, stream: Read, position: int, token: int) -> None:
        """Its client's choice. Raises `BadRequest` for one that cannot be meant."""
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
        """Completions whose client has let them wait too long; each has its error now."""
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
        """Its client reads too slowly."""
        self._scheduler.pause(rid)
        if stream is not None and stream.reader is not None:
            stream.reader.paused = True

    def resume(self, rid: int, stream: Read | None) -> None:
        """Its client has caught up."""
        if stream is not None and stream.reader is not None:
            stream.reader.paused = False
        if rid not in self._held:
            self._scheduler.resume(rid)
        else:
            self._scheduler.pause(rid, gives_way=False)

    def ended(self, stream: Read) -> None:
        """It is over, however that came."""
        self._held.pop(stream.rid, None)
        if stream.reader is not None and stream.reader.ring is not None:
            stream.reader.ring.close()
            self._n_rings -= 1

    def _hold(self, stream: Read, reader: LogitsReader, awaited: int, now_ns: int) -> None:
        reader.awaited = awaited
        reader.due_ns = now_ns + round(self._wait_s * NS_PER_S)
        self._held[stream.rid] = stream
        # Its client is at work on the row and answers soon: it keeps its cells.
        self._scheduler.pause(stream.rid, gives_way=reader.paused)

    def _let_go(self, stream: Read, reader: LogitsReader) -> None:
        reader.awaited = None
        del self._held[stream.rid]
        if not reader.paused:
            self._scheduler.resume(stream.rid)
