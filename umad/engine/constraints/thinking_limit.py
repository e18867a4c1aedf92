"""Ends a completion's thinking after so many tokens, by forcing the end in the model's own form.

It stands where an `AnswerMask` stands, and holds the one that follows the thinking, if there is
one. Completions without a limit have neither, and pay nothing.

    before    the answer has not begun, or a message of it has just ended (harmony)
    thinking  its tokens are counted
    closing   the tokens of the end are forced, one a step
    done      nothing is limited any more

Owner: the step thread, once it was started.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from umad.engine.constraints.answer_mask import AnswerMask
from umad.errors import UmadError
from umad.sampling.allowed import Allowed

_TAIL_BYTES = 64


class Mask(Protocol):
    """Restricts the tokens of one completion; the step loop knows no more of it."""

    @property
    def is_made(self) -> bool:
        """True if `allowed` has nothing to wait for."""
        ...

    def is_ready(self, patience_s: float) -> bool:
        """True if the mask is made; may wait so long for it."""
        ...

    def allowed(self) -> Allowed | None:
        """The tokens that may come next; None for any token."""
        ...

    def forced(self) -> tuple[int, ...]:
        """The tokens that alone may come next, in order; () where there is a choice, or where that
        is not known yet.
        """
        ...

    def accept(self, token: int) -> None:
        """Take on a token that was drawn."""
        ...

    def give_up(self) -> UmadError:
        """Give the mask up because it takes too long. Returns the error that ends its answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingMarks:
    """The form in which one model thinks."""

    opening: bytes
    closing: bytes
    # Tokens that end the thinking, the mark's among them.
    end: tuple[int, ...]
    # Tokens that begin the answer in place of a thinking that may not begin; () where a model that
    # does not open its thinking does not think.
    instead: tuple[int, ...] = ()
    # Of these, one comes behind `end` and `instead`; () for any token.
    then: tuple[int, ...] = ()
    # An answer may think more than once, and the opening may stand behind other text (harmony).
    again: bool = False


class _State(enum.Enum):
    BEFORE = enum.auto()
    THINKING = enum.auto()
    CLOSING = enum.auto()
    DONE = enum.auto()


class ThinkingLimit:
    """The limit of one completion. Its `after` restricts the answer that follows the thinking."""

    def __init__(
        self,
        marks: ThinkingMarks,
        *,
        most_tokens: int,
        opened: bool,
        piece_of: Callable[[int], bytes],
        n_vocab: int,
        after: AnswerMask | None = None,
    ) -> None:
        """opened: the prompt ends inside the thinking. piece_of: a token's bytes, control tokens
        written out.
        """
        self._marks = marks
        self._left = most_tokens
        self._piece_of = piece_of
        self._n_vocab = n_vocab
        self._after = after
        self._tail = b""
        self._forced: list[Sequence[int]] = []
        self._state = _State.BEFORE
        if opened:
            self._think()
        elif not most_tokens and marks.instead:
            self._force(marks.instead)

    def start(self, taken: Iterable[int]) -> None:
        """Begin after the tokens that a dead engine had drawn. `after` has its own `start`."""
        for token in taken:
            self._step(token)

    @property
    def is_made(self) -> bool:
        """True if `allowed` has nothing to wait for."""
        return bool(self._forced) or self._after is None or self._after.is_made

    def is_ready(self, patience_s: float) -> bool:
        """True if the mask is made; waits `patience_s` for that of the answer."""
        return bool(self._forced) or self._after is None or self._after.is_ready(patience_s)

    def forced(self) -> tuple[int, ...]:
        """The tokens that alone may come next, in order, as far as that is known."""
        if not self._forced:
            return () if self._after is None else self._after.forced()
        alone: list[int] = []
        for tokens in self._forced:
            if len(tokens) > 1:
                break
            alone.append(tokens[0])
        return tuple(alone)

    def allowed(self) -> Allowed | None:
        """The tokens that may come next; None for any token."""
        if self._forced:
            return Allowed.only(np.array(sorted(self._forced[0]), np.intp), self._n_vocab)
        return None if self._after is None else self._after.allowed()

    def accept(self, token: int) -> None:
        """Take on a token that was drawn."""
        self._step(token)
        if self._after is not None:
            self._after.accept(token)

    def give_up(self) -> UmadError:
        """Give the mask of the answer up. Returns the error that ends it."""
        assert self._after is not None, "only the mask of an answer is made by another thread"
        return self._after.give_up()

    def _step(self, token: int) -> None:
        if self._state is _State.DONE:
            return
        if self._state is _State.CLOSING:
            self._forced = self._forced[1:]
            if not self._forced:
                self._state = _State.DONE
            return
        self._tail = (self._tail + self._piece_of(token))[-_TAIL_BYTES:]
        if self._state is _State.BEFORE:
            self._look()
            return
        self._left -= 1
        if self._marks.closing in self._tail:
            self._tail = b""
            self._state = _State.BEFORE if self._marks.again else _State.DONE
        elif self._left <= 0:
            self._force(self._marks.end)

    def _look(self) -> None:
        """Find the beginning of the thinking."""
        opening = self._marks.opening
        if self._marks.again:
            if opening in self._tail:
                self._think()
            return
        begun = self._tail.lstrip()
        if begun.startswith(opening):
            self._think()
        elif not opening.startswith(begun):
            self._state = _State.DONE  # the answer does without

    def _think(self) -> None:
        self._state, self._tail = _State.THINKING, b""
        if self._left <= 0:
            self._force(self._marks.end)

    def _force(self, tokens: Sequence[int]) -> None:
        then = (self._marks.then,) if self._marks.then else ()
        self._forced = [*[(token,) for token in tokens], *then]
        self._state = _State.CLOSING if self._forced else _State.DONE
