"""Thinking first, then the grammar, with a grammar that only keeps a record."""

import threading
from typing import cast

import numpy as np
import pytest

from umad.engine.constraints import answer_mask
from umad.engine.constraints.answer_mask import AnswerMask, MaskMaker, Phase
from umad.engine.constraints.guidance import Grammar
from umad.errors import BadRequest, InternalError
from umad.sampling.allowed import Allowed

N_VOCAB = 10
OPEN, CLOSE, WORD = 7, 8, 3
PIECES = {OPEN: b"<think>", CLOSE: b"</think>", WORD: b"w", 4: b"</th", 5: b"ink>"}


class FakeGrammar:
    """Allows token 1, or `only` where a text is forced, and remembers what it was given.

    free: tokens before the forced text. gate: no mask is made before it is open.
    """

    def __init__(
        self,
        fails: Exception | None = None,
        only: tuple[int, ...] = (),
        *,
        free: int = 0,
    ) -> None:
        self.consumed: list[int] = []
        self.n_masks = 0
        self._fails = fails
        self._only = only
        self._free = free
        self.gate = threading.Event()
        self.gate.set()

    def forced(self) -> tuple[int, ...]:
        at = len(self.consumed) - self._free
        return self._only[at:] if at >= 0 else ()

    def consume(self, tokens: tuple[int, ...]) -> None:
        self.consumed += tokens

    def allowed(self, besides: int | None = None) -> Allowed:
        assert self.gate.wait(60)
        if self._fails is not None:
            raise self._fails
        self.n_masks += 1
        best = [*self.forced(), 1][0]
        return Allowed.only(np.array([best] if besides is None else [best, besides]), N_VOCAB)


def masked(phase: Phase, fake: FakeGrammar, opening: int | None = OPEN) -> AnswerMask:
    return AnswerMask(
        cast(Grammar, fake),
        MaskMaker(),
        piece_of=lambda token: PIECES.get(token, b"x"),
        phase=phase,
        opening=opening,
        closing=b"</think>",
    )


def allowed(mask: AnswerMask) -> list[int] | None:
    found = mask.allowed()
    return None if found is None else [token for token in range(N_VOCAB) if token in found]


def test_an_answer_may_think_before_its_grammar_begins() -> None:
    fake = FakeGrammar()
    mask = masked(Phase.BEFORE, fake)
    mask.start()

    seen = [allowed(mask)]
    for token in (OPEN, WORD, CLOSE, 1):
        mask.accept(token)
        seen.append(allowed(mask))

    assert seen == [[1, OPEN], None, None, [1], [1]]
    assert fake.consumed == [1]


def test_an_answer_that_does_not_think_is_under_its_grammar_from_the_first_token() -> None:
    fake = FakeGrammar()
    mask = masked(Phase.BEFORE, fake)
    mask.start()

    assert allowed(mask) == [1, OPEN]
    mask.accept(1)

    assert allowed(mask) == [1]
    assert fake.consumed == [1]


def test_the_end_of_thinking_is_found_across_tokens() -> None:
    mask = masked(Phase.THINKING, FakeGrammar())
    mask.start()

    assert allowed(mask) is None
    mask.accept(4)
    assert allowed(mask) is None
    mask.accept(5)
    assert allowed(mask) == [1]


@pytest.mark.parametrize(
    ("taken", "consumed", "now"),
    [((OPEN, WORD), [], None), ((OPEN, CLOSE, 1, 1), [1, 1], [1]), ((1,), [1], [1])],
)
def test_a_resumed_answer_is_where_it_was(
    taken: tuple[int, ...], consumed: list[int], now: list[int] | None
) -> None:
    fake = FakeGrammar()
    mask = masked(Phase.BEFORE, fake)

    mask.start(taken)

    assert allowed(mask) == now
    assert fake.consumed == consumed


def test_a_grammar_that_gives_up_ends_its_own_answer_and_no_other() -> None:
    maker_kept = masked(Phase.ANSWER, FakeGrammar())
    mask = masked(Phase.ANSWER, FakeGrammar(BadRequest("too complex", field="grammar")))
    bug = masked(Phase.ANSWER, FakeGrammar(RuntimeError("a bug")))

    with pytest.raises(BadRequest, match="too complex"):
        mask.start()
    with pytest.raises(InternalError):
        bug.start()
    maker_kept.start()
    assert allowed(maker_kept) == [1]


def test_tokens_that_alone_may_come_are_known_at_once_and_need_no_masks() -> None:
    fake = FakeGrammar(only=(4, 5, 6))
    mask = masked(Phase.ANSWER, fake)
    mask.start()

    seen = [(mask.forced(), allowed(mask))]
    for token in (4, 5):
        mask.accept(token)
        assert mask.is_made, "nothing is made within a forced text"
        seen.append((mask.forced(), allowed(mask)))

    assert seen == [((4, 5, 6), [4]), ((5, 6), [5]), ((6,), [6])]
    assert fake.n_masks == 1
    mask.accept(6)
    assert allowed(mask) == [1]
    assert mask.forced() == ()
    assert fake.consumed == [4, 5, 6]
    assert fake.n_masks == 2


def test_a_forced_text_is_known_before_the_step_that_begins_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_mask, "FORCED_S", 60.0)
    mask = masked(Phase.ANSWER, FakeGrammar(only=(4, 5), free=2))
    mask.start()

    seen = [mask.forced()]
    for token in (WORD, 1):
        mask.accept(token)
        seen.append(mask.forced())

    assert seen == [(), (), (4, 5)]


def test_no_step_waits_for_a_forced_text_behind_a_token_that_none_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_mask, "FORCED_S", 60.0)
    fake = FakeGrammar()
    mask = masked(Phase.ANSWER, fake)
    mask.start()
    mask.accept(WORD)
    assert mask.forced() == ()
    mask.accept(1)
    assert mask.forced() == ()
    fake.gate.clear()

    mask.accept(WORD)

    assert mask.forced() == ()
    assert not mask.is_made, "nobody has waited"
    fake.gate.set()
    assert allowed(mask) == [1]


def test_another_token_than_the_forced_one_is_for_the_grammar_to_judge() -> None:
    fake = FakeGrammar(only=(4, 5, 6))
    mask = masked(Phase.ANSWER, fake)
    mask.start()
    mask.accept(4)

    mask.accept(9)

    assert allowed(mask) is not None
    assert fake.consumed == [4, 9]


def test_nothing_is_forced_while_an_answer_may_think_or_thinks() -> None:
    mask = masked(Phase.BEFORE, FakeGrammar(only=(4, 5)))
    mask.start()

    assert mask.forced() == ()
    mask.accept(OPEN)
    assert mask.forced() == ()
    mask.accept(CLOSE)
    assert allowed(mask) == [4]
    assert mask.forced() == (4, 5)


def test_an_answer_that_is_resumed_within_a_forced_text_goes_on_in_it() -> None:
    fake = FakeGrammar(only=(4, 5, 6))
    mask = masked(Phase.ANSWER, fake)

    mask.start((4, 5))

    assert (mask.forced(), allowed(mask)) == ((6,), [6])
