"""Guesses in the step loop: an answer has the same tokens with them as without, in fewer steps.

The model repeats itself often, so guesses hold, hold in part, and fail. Its logits follow from
every token in the cells of a sequence, so a wrong guess that stayed there would change the answer.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typing_extensions import override

from tests.engine.guessing_loop import GREEDY, SAMPLED, Answers, Asked
from tests.engine.served_loop import EOG, N_VOCAB, FakeRunner
from tests.engine.test_late_masks import LateMask
from tests.scheduler.fake_cells import FakeCells
from umad.engine.execution import Decoded
from umad.engine.logits.readers import Ring
from umad.engine.mail.step_mail import AttachRing, Mail
from umad.errors import UmadError
from umad.protocol.link import CancelOrder, Pause, Resume, SetLane
from umad.request import BACKGROUND, SamplingParams
from umad.sampling.allowed import Allowed
from umad.step import HouseKept, MemoryOp, StepPlan


def repeating(seen: list[int]) -> NDArray[np.float32]:
    """Logits that lean towards what stood six tokens ago."""
    noise = np.random.default_rng(seen).normal(size=N_VOCAB).astype(np.float32)
    noise[list(EOG)] -= 2.0
    if len(seen) >= 6:
        noise[seen[-6]] += 3.5
    return noise


class RepeatingRunner(FakeRunner):
    """Computes rows on cells that hold the very tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = FakeCells(n_cells=512)

    @override
    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        return self.cells.carry_out(StepPlan(memory=operations))

    @override
    def run(self, plan: StepPlan) -> Decoded:
        house = self.keep_house(plan.memory)
        self.plans.append(plan)
        rids, rows = [], []
        for row in plan.decode:
            rids.append(row.rid)
            rows.append(repeating(self.cells.compute(row.seq, row.position, [row.token])))
        for piece in plan.prefill:
            seen = self.cells.compute(piece.seq, piece.start, piece.tokens.tolist())
            if piece.wants_logits:
                rids.append(piece.rid)
                rows.append(repeating(seen))
        for guesses in plan.guesses:
            for at, token in enumerate(guesses.tokens, guesses.start):
                rows.append(repeating(self.cells.compute(guesses.seq, at, [token])))
        logits = np.stack(rows) if rows else np.empty((0, N_VOCAB), np.float32)
        return Decoded("done", rids, logits, 1_000_000, plan.n_rows, house)


def both(*asked: Asked) -> tuple[Answers, Answers]:
    """The same requests without guesses and with them."""
    return (
        Answers(RepeatingRunner(), *asked, speculates=False),
        Answers(RepeatingRunner(), *asked, speculates=True),
    )


class Alternating:
    """Allows half of the tokens, and after each token the other half."""

    def __init__(self) -> None:
        self.half = 0

    is_made = True

    def is_ready(self, patience_s: float) -> bool:
        return True

    def allowed(self) -> Allowed:
        ids = np.arange(self.half, N_VOCAB, 2, dtype=np.intp)
        return Allowed.only(ids, N_VOCAB)

    def accept(self, token: int) -> None:
        assert token % 2 == self.half, "a token that was not allowed was taken"
        self.half = 1 - self.half

    def forced(self) -> tuple[int, ...]:
        return ()

    def give_up(self) -> UmadError:
        raise AssertionError("this mask is always made")


class SlowMask:
    """Each of its masks takes 4 ms, which a step is patient enough to wait for."""

    def __init__(self, runner: "RepeatingRunner", skip: Callable[[int], None]) -> None:
        self._runner = runner
        self._skip = skip
        self.is_made = True
        # How often each step waited.
        self.waits: Counter[int] = Counter()

    def is_ready(self, patience_s: float) -> bool:
        assert patience_s * 1000 >= 4
        self._skip(4_000_000)
        self.waits[len(self._runner.plans)] += 1
        self.is_made = True
        return True

    def allowed(self) -> None:
        assert self.is_made

    def accept(self, token: int) -> None:
        self.is_made = False

    def forced(self) -> tuple[int, ...]:
        return ()

    def give_up(self) -> UmadError:
        raise AssertionError("this mask is never given up")


def test_a_step_does_not_wait_for_the_mask_of_every_guess() -> None:
    runner, now = RepeatingRunner(), [0]

    def skip(ns: int) -> None:
        now[0] += ns

    def now_ns() -> int:
        skip(1000)
        return now[0]

    mask = SlowMask(runner, skip)
    slow = Answers(runner, Asked(mask=lambda: mask), speculates=True, now_ns=now_ns)

    assert slow.told() == both(Asked())[0].told()
    assert any(plan.n_guesses > 3 for plan in slow.plans)
    # One wait is for the row before the guesses.
    assert max(mask.waits.values()) == 3


class Form:
    """In each round two tokens that the model chooses, then a text of six that is forced."""

    def __init__(self, *, tells: bool = True) -> None:
        self._tells = tells
        self._round = self._at = 0

    @staticmethod
    def text(number: int) -> tuple[int, ...]:
        return (3 + number, 30, 11, 28, 13, 26)

    is_made = True

    def is_ready(self, patience_s: float) -> bool:
        return True

    def forced(self) -> tuple[int, ...]:
        return self.text(self._round)[self._at - 2 :] if self._tells and self._at >= 2 else ()

    def allowed(self) -> Allowed | None:
        if self._at < 2:
            return None
        only = self.text(self._round)[self._at - 2]
        return Allowed.only(np.array([only], np.intp), N_VOCAB)

    def accept(self, token: int) -> None:
        assert self._at < 2 or token == self.text(self._round)[self._at - 2]
        self._at += 1
        if self._at == 8:
            self._round, self._at = self._round + 1, 0

    def give_up(self) -> UmadError:
        raise AssertionError("this mask is always made")


@pytest.mark.parametrize(
    ("sampling", "n_guesses"),
    [
        (SAMPLED, 6),
        (replace(SAMPLED, logprobs=2), 6),
        # The first and the second token of the third round's text: "fe".
        (replace(SAMPLED, stop=("fe",)), 6),
        # It ends after two tokens of that text, and the last one is never guessed.
        (replace(GREEDY, max_tokens=21), 2),
    ],
    ids=["sampled", "logprobs", "stop", "limit"],
)
def test_a_forced_text_is_computed_in_one_step(sampling: SamplingParams, n_guesses: int) -> None:
    asked = Asked(
        sampling=replace(sampling, ignore_eos=True), prompt=tuple(range(3, 20)), mask=Form
    )
    plain = Answers(RepeatingRunner(), asked, speculates=False)
    runner = RepeatingRunner()

    guessed = Answers(runner, asked, speculates=True)

    assert guessed.told() == plain.told()
    found = [plan.guesses[0].tokens[:6] for plan in guessed.plans if plan.guesses]
    assert Form.text(2)[:n_guesses] in found
    assert runner.cells.used() == len(asked.prompt) + len(plain.told()[0]) - 1


def test_what_is_known_of_a_forced_text_saves_steps() -> None:
    asked = Asked(sampling=replace(SAMPLED, ignore_eos=True), prompt=tuple(range(3, 20)))

    told = Answers(RepeatingRunner(), replace(asked, mask=Form), speculates=True)
    untold = Answers(
        RepeatingRunner(), replace(asked, mask=lambda: Form(tells=False)), speculates=True
    )

    assert told.told() == untold.told()
    assert told.n_steps < 0.8 * untold.n_steps


def test_a_wrong_word_about_what_is_forced_costs_time_alone() -> None:
    class Liar(Form):
        @override
        def forced(self) -> tuple[int, ...]:
            return (3, 3, 3, 3)

    asked = Asked(sampling=replace(SAMPLED, ignore_eos=True), prompt=tuple(range(3, 20)), mask=Form)
    plain = Answers(RepeatingRunner(), asked, speculates=False)
    runner = RepeatingRunner()

    guessed = Answers(runner, replace(asked, mask=Liar), speculates=True)

    assert guessed.told() == plain.told()
    assert guessed.n_guesses > 0
    assert runner.cells.used() == len(asked.prompt) + len(plain.told()[0]) - 1


@pytest.mark.parametrize(
    "asked",
    [
        Asked(),
        Asked(sampling=SAMPLED),
        Asked(sampling=replace(SAMPLED, repetition_penalty=1.05, frequency_penalty=0.05)),
        Asked(sampling=replace(SAMPLED, logprobs=3)),
        Asked(sampling=replace(SAMPLED, ignore_eos=True)),
        Asked(sampling=replace(SAMPLED, stop=("fg", "jk")), seed=4),
        Asked(lane=BACKGROUND),
        Asked(mask=Alternating),
        Asked(mask=lambda: LateMask(2)),
    ],
    ids=[
        "greedy",
        "sampled",
        "penalties",
        "logprobs",
        "no end",
        "stops",
        "background",
        "constrained",
        "late masks",
    ],
)
def test_an_answer_is_the_same_with_guesses(asked: Asked) -> None:
    plain, guessed = both(asked)

    assert guessed.told() == plain.told()
    assert guessed.n_guesses > 0
    assert plain.n_guesses == 0


def in_the_middle(*mail: Mail, sampling: SamplingParams = SAMPLED) -> Answers:
    """An answer, with mail that comes while a step with guesses runs."""
    asked = Asked(sampling=replace(sampling, ignore_eos=True))
    undisturbed = Answers(RepeatingRunner(), asked, speculates=True)
    at = next(n for n, plan in enumerate(undisturbed.plans, 1) if plan.guesses)
    return Answers(RepeatingRunner(), asked, speculates=True, mail={at: mail})


def test_a_reader_that_comes_later_sees_the_row_of_every_token_from_then_on() -> None:
    ring = Ring(N_VOCAB)

    read = in_the_middle(AttachRing(call=1, rid=1, choose=False, ring=ring))

    ids, *_ = read.told()
    assert ids == both(Asked(sampling=replace(SAMPLED, ignore_eos=True)))[0].told()[0]
    rows = read.rows(1)
    assert len(rows) > 1
    assert rows == list(range(rows[0], len(ids))), "a token was drawn from a row nobody saw"


def test_a_client_that_goes_while_guesses_are_verified_leaves_no_cells_of_them() -> None:
    runner = RepeatingRunner()
    asked = Asked(sampling=replace(SAMPLED, ignore_eos=True))
    undisturbed = Answers(RepeatingRunner(), asked, speculates=True)
    at = next(n for n, plan in enumerate(undisturbed.plans, 1) if plan.guesses)

    left = Answers(runner, asked, speculates=True, mail={at: [CancelOrder(rid=1)]})

    ids, _, _, ended = left.told()
    assert [one.reason for one in ended] == ["cancelled"]
    assert ids == undisturbed.told()[0][: len(ids)]
    assert len(ids) < len(undisturbed.told()[0])
    assert runner.cells.used() == 0


def test_a_client_that_stops_reading_for_a_while_gets_the_same_answer() -> None:
    paused = in_the_middle(Pause(rid=1), Resume(rid=1))
    moved = in_the_middle(SetLane(rid=1, lane=BACKGROUND))

    plain = both(Asked(sampling=replace(SAMPLED, ignore_eos=True)))[0]
    assert paused.told() == plain.told()
    assert moved.told() == plain.told()


def test_an_answer_that_repeats_itself_takes_far_fewer_steps() -> None:
    plain, guessed = both(Asked())

    assert len(guessed.told()[0]) == len(plain.told()[0])
    assert guessed.n_steps < 0.6 * plain.n_steps


@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.0, 0.4, 0.8, 1.2]),
    penalty=st.sampled_from([1.0, 1.1]),
    max_tokens=st.integers(1, 50),
    prompts=st.lists(
        st.lists(st.integers(3, N_VOCAB - 1), min_size=1, max_size=8), min_size=1, max_size=3
    ),
    stop=st.sampled_from([(), ("e",), ("ab", "abc")]),
)
@settings(max_examples=30, deadline=None)
def test_no_answer_changes_whoever_else_is_answered(
    seed: int,
    temperature: float,
    penalty: float,
    max_tokens: int,
    prompts: list[list[int]],
    stop: tuple[str, ...],
) -> None:
    sampling = SamplingParams(
        temperature=temperature, repetition_penalty=penalty, max_tokens=max_tokens, stop=stop
    )
    asked = [
        Asked(rid=rid, prompt=tuple(prompt * 4), sampling=sampling, seed=seed + rid)
        for rid, prompt in enumerate(prompts, 1)
    ]

    plain, guessed = both(*asked)

    for one in asked:
        assert guessed.told(one.rid) == plain.told(one.rid)


def test_background_work_guesses_nothing_beside_interactive_streams() -> None:
    _, guessed = both(Asked(), Asked(rid=2, lane=BACKGROUND))

    for plan in guessed.plans:
        if plan.guesses:
            assert len({row.rid for row in plan.decode}) == 1


def test_the_cells_of_wrong_guesses_are_given_back() -> None:
    asked = Asked(sampling=replace(SAMPLED, ignore_eos=True, temperature=1.5))

    runner = RepeatingRunner()
    guessed = Answers(runner, asked, speculates=True)

    n_held = len(guessed.told()[0]) - 1 - guessed.n_steps
    n_wrong = guessed.n_guesses - n_held
    assert n_wrong > 0
    # All tokens but the last are in the cells, and nothing else.
    kept = runner.cells.used()
    assert kept == len(asked.prompt) + len(guessed.told()[0]) - 1
