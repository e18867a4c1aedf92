"""Makes the masks of constrained answers on a thread of its own, while the device decodes.

A mask holds the tokens that an answer may go on with. A step ends with `accept`, which hands the
drawn token over; the next step's `allowed` finds the mask ready, as a mask takes 2 to 200
microseconds and a decode milliseconds. The model may think before its constraint begins, and
thinking is not constrained. An answer whose mask is late is passed over until the mask is there
(`token_drawing`), and the other answers go on; they wait `PATIENCE_S` for it, once. An answer whose
mask is not made within `MASK_S` ends with an error.

Where a grammar allows one text only (the key of an object, a tool's name), all tokens of that text
are known at once. No mask is made until they are past, and one step may compute them all
(`forced`). That is asked before the device decodes, when the mask thread has only begun. So
`forced` waits for it, but only behind a token that such a text followed the last time (a comma, a
brace), or that is new.
Owner: the step thread, once an `AnswerMask` was started. Between `accept` and `allowed` its grammar
is the mask thread's.
"""

import enum
import logging
import queue
import threading
from collections.abc import Callable, Iterable

from umad.engine.constraints.distinct_items import DistinctItems
from umad.engine.constraints.guidance import Grammar
from umad.engine.prctl import name_thread
from umad.engine.process import start_deep_thread
from umad.errors import BadRequest, InternalError, UmadError
from umad.sampling.allowed import Allowed

log = logging.getLogger("umad.engine")

# A mask takes microseconds, or some milliseconds on a busy machine. Bad grammars were seen to take
# 40 s, and a step waits for its masks.
MASK_S = 1.0
# A step may wait so long for a mask that is not ready: a busy machine gives the thread a core late.
PATIENCE_S = 0.005
# A step that may begin a forced text waits so long to know it. It takes a tenth of that.
FORCED_S = 0.002
# Tokens of an answer of which it is known whether a forced text followed.
MOST_LEADS = 4096
# The most threads while masks are late. The masks of other answers are made on the further threads.
MOST_THREADS = 4
_TAIL_BYTES = 64


class Phase(enum.Enum):
    """The progress of an answer."""

    # Not begun; the answer may begin with thinking.
    BEFORE = enum.auto()
    # Inside the thinking, which is not constrained.
    THINKING = enum.auto()
    # Under the grammar.
    ANSWER = enum.auto()


class MaskMaker:
    """Runs the mask thread, and more threads where some masks are late. The first constrained
    answer starts it.
    """

    def __init__(self) -> None:
        self._jobs: _Jobs | None = None
        self._n_threads = 0
        self._lock = threading.Lock()

    def put(self, mask: "AnswerMask") -> None:
        """Have the answer's next mask made. One answer has at most one job, so the streams bound
        them.
        """
        with self._lock:
            jobs = self._jobs or self._begin()
            jobs.put(mask)

    def help(self) -> None:
        """Start another thread for the masks behind one that is late."""
        with self._lock:
            if self._jobs is not None and self._n_threads < MOST_THREADS:
                self._n_threads += 1
                _start(self._jobs)

    def leave(self) -> None:
        """A thread is stuck with one mask. Make the masks behind it on a new thread."""
        with self._lock:
            stuck, n_stuck = self._jobs, self._n_threads
            jobs = self._begin()
            while stuck is not None:
                try:
                    mask = stuck.get_nowait()
                except queue.Empty:
                    for _ in range(n_stuck):
                        stuck.put(None)  # ends a thread, once its mask is made
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
    """The mask of one completion.

    piece_of: a token's bytes, control tokens written out. opening: the token that begins thinking,
    where the answer may think; closing: the bytes that end thinking. phase: where the answer
    begins. distinct: keeps the items of its arrays apart, where the schema asks for that.
    """

    def __init__(
        self,
        grammar: Grammar,
        maker: MaskMaker,
        *,
        piece_of: Callable[[int], bytes],
        phase: Phase,
        opening: int | None = None,
        closing: bytes = b"",
        distinct: DistinctItems | None = None,
    ) -> None:
        self._grammar = grammar
        self._distinct = distinct
        self._maker = maker
        self._piece_of = piece_of
        self._phase = phase
        self._opening = opening
        self._closing = closing
        self._tail = b""
        self._fresh: tuple[int, ...] = ()
        # The tokens that alone may come next, and those before them that the grammar has not
        # consumed yet.
        self._forced: tuple[int, ...] = ()
        self._passed: list[int] = []
        # The token before the mask that is being made, and of each token whether a forced text
        # followed it the last time.
        self._last = -1
        self._leads: dict[int, bool] = {}
        self._made = threading.Event()
        # The mask was late once. No step waits for it any more.
        self._is_slow = False
        self._mask: Allowed | None = None
        self._error: UmadError | None = None

    def start(self, taken: Iterable[int] = ()) -> None:
        """Begin after the tokens that a dead engine had drawn (`taken`). The first mask is made on
        the calling thread. Raises `BadRequest` where no mask can be made.
        """
        self._fresh = tuple([token for token in taken if self._step(token)])
        if self._phase is not Phase.THINKING:
            self.make()
        if self._error is not None:
            raise self._error

    def accept(self, token: int) -> None:
        """Take on `token`, which was drawn, or chosen by a client that reads logits."""
        self._settle()
        if not self._step(token):
            if self._phase is Phase.ANSWER and self._mask is None:
                self._order(())
            return
        forced, self._forced = self._forced, ()
        if self._last in self._leads or len(self._leads) < MOST_LEADS:
            self._leads[self._last] = bool(forced)
        self._passed.append(token)
        if self._mask is not None and forced[:1] == (token,) and len(forced) > 1:
            self._forced = forced[1:]
            self._mask = self._mask.just(forced[1])
            return
        passed, self._passed = tuple(self._passed), []
        self._last = token
        self._order(passed)

    def allowed(self) -> Allowed | None:
        """The tokens that may come next; None for any token. Waits for the mask thread, `MASK_S` at
        most.

        Raises `BadRequest` when the grammar has become too complex.
        """
        if self._phase is Phase.THINKING:
            return None
        self._settle()
        if self._error is not None:
            raise self._error
        return self._mask

    def forced(self) -> tuple[int, ...]:
        """The tokens that alone may come next, in order; () where there is a choice, or where that
        is not known yet.
        """
        if self._phase is Phase.THINKING:
            return ()
        if not self._made.is_set():
            # Without waiting, the text would be known a step later, behind its first token.
            if self._distinct is not None or not self._leads.get(self._last, True):
                return ()
            self._made.wait(FORCED_S)
        return self._forced if self._made.is_set() else ()

    @property
    def is_made(self) -> bool:
        """True if `allowed` has nothing to wait for."""
        return self._phase is Phase.THINKING or self._made.is_set()

    def is_ready(self, patience_s: float) -> bool:
        """True if the mask is made; waits `patience_s` for it, but not if it was late before."""
        if self.is_made:
            return True
        if not self._is_slow:
            if self._made.wait(patience_s):
                return True
            self._is_slow = True
        self._maker.help()
        return False

    def give_up(self) -> UmadError:
        """Give the mask up because it takes too long. Returns the error that ends its answer."""
        self._maker.leave()
        return too_complex(self._grammar.field, MASK_S)

    def make(self) -> None:
        """Make the mask. On the mask thread."""
        try:
            self._grammar.consume(self._fresh)
            besides = self._opening if self._phase is Phase.BEFORE else None
            self._mask = self._grammar.allowed(besides)
            if self._distinct is None:
                self._forced = self._run_of(self._mask)
            else:  # it may forbid what the grammar allows, and looks at each token
                for token in self._fresh:
                    self._distinct.push(token)
                self._mask = self._distinct.narrowed(self._mask, self._grammar.after)
        except UmadError as error:
            self._error = error
        except Exception:
            # A thread's boundary: a fault in one grammar must not cost the other answers their
            # masks.
            log.exception("mask cannot be made")
            self._error = InternalError("the mask of the answer cannot be made; see the log")
        self._made.set()

    def _run_of(self, mask: Allowed) -> tuple[int, ...]:
        """The forced tokens that begin with the only one that the grammar allows."""
        if mask.few is None or mask.few.size != 1:
            return ()
        forced = self._grammar.forced()
        return forced if forced[:1] == (int(mask.few[0]),) else ()

    def _settle(self) -> None:
        """Wait until the mask thread has let go of the grammar."""
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
        """Move the phase on. Returns whether the grammar has to consume the token."""
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
    """The error for an answer whose next mask was not made in time."""
    return BadRequest(
        f"{field} is too complex: the next allowed tokens were not known after {waited_s:g} s",
        field=field,
    )


_Jobs = queue.SimpleQueue[AnswerMask | None]
