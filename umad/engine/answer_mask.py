"""The tokens an answer may go on with, made on a thread of its own while the device decodes.

A step ends with `accept`, which hands the token over; the next one's `allowed` finds the mask
ready, as a mask takes 2 to 200 microseconds and a decode milliseconds. Before the constraint
begins there may be thinking, which is free.
Owner: an `AnswerMask` is the step thread's, but for its grammar between `accept` and `allowed`,
which is the mask thread's.
"""

import enum
import logging
import queue
import threading
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from umad.engine.guidance import Grammar
from umad.engine.process import name_thread
from umad.errors import InternalError, UmadError

log = logging.getLogger("umad.engine")

# A mask takes microseconds; a thread that is not heard of for so long has died.
_MASK_S = 30.0
_TAIL_BYTES = 64


class Phase(enum.Enum):
    """How far an answer is: nothing yet but it may think; thinking; under its grammar."""

    BEFORE = enum.auto()
    THINKING = enum.auto()
    ANSWER = enum.auto()


class MaskMaker:
    """The mask thread. Started with the first constrained answer."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[AnswerMask] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="umad-masks", daemon=True)
        self._starting = threading.Lock()

    def put(self, mask: "AnswerMask") -> None:
        """Have its next mask made. At most one job an answer: bounded by the streams."""
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()
        self._jobs.put(mask)

    def _run(self) -> None:
        name_thread("umad-masks")
        while True:
            self._jobs.get().make()


class AnswerMask:
    """One completion's. piece_of: a token's bytes, control tokens written out. opening: the token
    that begins thinking, where there may be any; closing: bytes that end it. phase: where the
    answer begins."""

    def __init__(
        self,
        grammar: Grammar,
        maker: MaskMaker,
        *,
        piece_of: Callable[[int], bytes],
        phase: Phase,
        opening: int | None = None,
        closing: bytes = b"",
    ) -> None:
        self._grammar = grammar
        self._maker = maker
        self._piece_of = piece_of
        self._phase = phase
        self._opening = opening
        self._closing = closing
        self._tail = b""
        self._fresh: tuple[int, ...] = ()
        self._made = threading.Event()
        self._mask: NDArray[np.float32] | None = None
        self._error: UmadError | None = None

    def start(self, taken: Iterable[int] = ()) -> None:
        """Begin behind the tokens a dead engine had drawn."""
        self._order(tuple([token for token in taken if self._step(token)]))

    def accept(self, token: int) -> None:
        """`token` was drawn, or chosen by a client that reads logits."""
        self._settle()
        if self._step(token):
            self._order((token,))
        elif self._phase is Phase.ANSWER and self._mask is None:
            self._order(())

    def allowed(self) -> NDArray[np.float32] | None:
        """float32 (n_vocab,), 0 for tokens that may come and -inf for all others; None for any
        token. Good until `accept`. Waits for the mask thread.

        Raises `BadRequest` when the grammar has become too complex.
        """
        if self._phase is Phase.THINKING:
            return None
        self._settle()
        if self._error is not None:
            raise self._error
        return self._mask

    def make(self) -> None:
        """On the mask thread."""
        try:
            self._grammar.consume(self._fresh)
            mask = self._grammar.allowed()
            if self._phase is Phase.BEFORE and self._opening is not None:
                mask[self._opening] = 0.0
            self._mask = mask
        except UmadError as error:
            self._error = error
        except Exception:
            # A thread's boundary: one grammar's trouble must not cost the others their masks.
            log.exception("mask cannot be made")
            self._error = InternalError("the mask of the answer cannot be made; see the log")
        self._made.set()

    def _settle(self) -> None:
        """Until the mask thread has let go of the grammar."""
        if self._phase is not Phase.THINKING and not self._made.wait(_MASK_S):
            raise InternalError("the masks' thread does not answer")

    def _order(self, tokens: tuple[int, ...]) -> None:
        if self._phase is Phase.THINKING:
            return
        self._fresh = tokens
        self._made.clear()
        self._maker.put(self)

    def _step(self, token: int) -> bool:
        """Whether the token is the grammar's."""
        if self._phase is Phase.ANSWER:
            return True
        if self._phase is Phase.BEFORE:
            if token != self._opening:
                self._phase = Phase.ANSWER
                return True
            self._phase = Phase.THINKING
            self._mask = None
        self._tail = (self._tail + self._piece_of(token))[-_TAIL_BYTES:]
        if self._closing in self._tail:
            self._phase = Phase.ANSWER
            self._mask = None
        return False
