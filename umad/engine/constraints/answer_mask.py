"""The tokens an answer may go on with, made on a thread of its own while the device decodes.

A step ends with `accept`, which hands the token over; the next one's `allowed` finds the mask
ready, as a mask takes 2 to 200 microseconds and a decode milliseconds. Before the constraint
begins the model may think, and what it thinks is not constrained. An answer whose mask is late is
passed over until it is there (`drawing`), and its peers go on: they wait `PATIENCE_S` for it, once.
One that is not there within `MASK_S` ends its answer with an error.
Owner: the step thread, once an `AnswerMask` was started. Between `accept` and `allowed` its grammar
is the mask thread's.
"""

import enum
import logging
import queue
import threading
from collections.abc import Callable, Iterable

from umad.engine.constraints.guidance import Grammar
from umad.engine.process import name_thread, start_deep_thread
from umad.errors import BadRequest, InternalError, UmadError
from umad.sampling.allowed import Allowed

log = logging.getLogger("umad.engine")

# A mask takes microseconds, on a machine with other things to do some milliseconds; bad grammars
# were seen to take 40 s, and a step waits for its masks.
MASK_S = 1.0
# What a step may wait for a mask that is not ready: a busy machine gives the thread a core late.
PATIENCE_S = 0.005
# Threads while masks are late; those of others are made beside them.
MOST_THREADS = 4
_TAIL_BYTES = 64


class Phase(enum.Enum):
    """How far an answer is: not begun, and it may begin with thinking; thinking; under its
    grammar."""

    BEFORE = enum.auto()
    THINKING = enum.auto()
    ANSWER = enum.auto()


class MaskMaker:
    """The mask thread, and more where some masks are late. Started with the first constrained
    answer."""

    def __init__(self) -> None:
        self._jobs: _Jobs | None = None
        self._n_threads = 0
        self._lock = threading.Lock()

    def put(self, mask: "AnswerMask") -> None:
        """Have its next mask made. At most one job an answer: bounded by the streams."""
        with self._lock:
            jobs = self._jobs or self._begin()
            jobs.put(mask)

    def help(self) -> None:
        """A mask is late: those behind it are made by another thread."""
        with self._lock:
            if self._jobs is not None and self._n_threads < MOST_THREADS:
                self._n_threads += 1
                _start(self._jobs)

    def leave(self) -> None:
        """A thread is stuck with one mask: new ones make those that wait behind it."""
        with self._lock:
            stuck, n_stuck = self._jobs, self._n_threads
            jobs = self._begin()
            while stuck is not None:
                try:
                    mask = stuck.get_nowait()
                except queue.Empty:
                    for _ in range(n_stuck):
                        stuck.put(None)  # ends a thread, once it is through
                    return
                jobs.put(mask)

    def _begin(self) -> "_Jobs":
        jobs: _Jobs = queue.SimpleQueue()
        self._jobs, self._n_threads = jobs, 1
        _start(jobs)
        return jobs


def _start(jobs: "_Jobs") -> None:
    def run() -> None:
        name_thread("umad-masks")
        while (mask := jobs.get()) is not None:
            mask.make()

    start_deep_thread(run, "umad-masks")


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
        # It was late once; no step waits for it any more.
        self._is_slow = False
        self._mask: Allowed | None = None
        self._error: UmadError | None = None

    def start(self, taken: Iterable[int] = ()) -> None:
        """Begin behind the tokens a dead engine had drawn. The first mask is made on the calling
        thread. Raises `BadRequest` where there can be none."""
        self._fresh = tuple([token for token in taken if self._step(token)])
        if self._phase is not Phase.THINKING:
            self.make()
        if self._error is not None:
            raise self._error

    def accept(self, token: int) -> None:
        """`token` was drawn, or chosen by a client that reads logits."""
        self._settle()
        if self._step(token):
            self._order((token,))
        elif self._phase is Phase.ANSWER and self._mask is None:
            self._order(())

    def allowed(self) -> Allowed | None:
        """The tokens that may come; None for any token. Waits for the mask thread, `MASK_S` at
        most.

        Raises `BadRequest` when the grammar has become too complex.
        """
        if self._phase is Phase.THINKING:
            return None
        self._settle()
        if self._error is not None:
            raise self._error
        return self._mask

    @property
    def is_made(self) -> bool:
        """`allowed` has nothing to wait for."""
        return self._phase is Phase.THINKING or self._made.is_set()

    def is_ready(self, patience_s: float) -> bool:
        """The same, if need be a little later; who was late once is not waited for again."""
        if self.is_made:
            return True
        if not self._is_slow:
            if self._made.wait(patience_s):
                return True
            self._is_slow = True
        self._maker.help()
        return False

    def give_up(self) -> UmadError:
        """It takes too long: why its answer ends."""
        self._maker.leave()
        return too_complex(self._grammar.field, MASK_S)

    def make(self) -> None:
        """On the mask thread."""
        try:
            self._grammar.consume(self._fresh)
            besides = self._opening if self._phase is Phase.BEFORE else None
            self._mask = self._grammar.allowed(besides)
        except UmadError as error:
            self._error = error
        except Exception:
            # A thread's boundary: one grammar's trouble must not cost the others their masks.
            log.exception("mask cannot be made")
            self._error = InternalError("the mask of the answer cannot be made; see the log")
        self._made.set()

    def _settle(self) -> None:
        """Until the mask thread has let go of the grammar."""
        if self._phase is not Phase.THINKING and not self._made.wait(MASK_S):
            self._maker.leave()
            raise too_complex(self._grammar.field, MASK_S)

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


def too_complex(field: str, waited_s: float) -> BadRequest:
    """The error of an answer whose next tokens cannot be told in time."""
    return BadRequest(
        f"{field} is too complex: which tokens may come next was not known after {waited_s:g} s",
        field=field,
    )


_Jobs = queue.SimpleQueue[AnswerMask | None]
