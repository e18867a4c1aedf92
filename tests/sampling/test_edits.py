"""Bias, bans and penalties against their formulas, kept up token by token, and undone."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.reference import edited, noise
from umad.errors import BadRequest
from umad.request import SamplingParams
from umad.sampling.counts import TokenCounts
from umad.sampling.edits import LogitEdits

VOCAB = 30
tokens = st.lists(st.integers(0, VOCAB - 1), max_size=60)
strengths = st.sampled_from([0.0, 0.3, -0.7])
settings_of_penalties = st.builds(
    SamplingParams,
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    frequency_penalty=strengths,
    presence_penalty=strengths,
    penalty_last_n=st.sampled_from([0, 1, 5, 64]),
    logit_bias=st.lists(st.tuples(st.integers(0, VOCAB - 1), st.floats(-5, 5)), max_size=6).map(
        tuple
    ),
)


def edits_of(
    params: SamplingParams, history: list[int], n_prompt: int, *, eog: tuple[int, ...] = ()
) -> LogitEdits:
    return LogitEdits(params, n_vocab=VOCAB, eog=frozenset(eog), history=history, n_prompt=n_prompt)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(params=settings_of_penalties, prompt=tokens, completion=tokens, data=st.data())
def test_penalties_are_their_formula_wherever_the_completion_was_resumed(
    params: SamplingParams, prompt: list[int], completion: list[int], data: st.DataObject
) -> None:
    row = noise(1, VOCAB, 4.0)
    resumed = data.draw(st.integers(0, len(completion)))
    edits = edits_of(params, prompt + completion[:resumed], len(prompt))
    for token in completion[resumed:]:
        edits.accept(token)

    changed = row.copy()
    undo = edits.apply(changed)
    expected = edited(row, params, prompt=prompt, completion=completion)

    assert changed == pytest.approx(expected, rel=1e-5, abs=1e-5)
    edits.undo(changed, undo)
    assert (changed == row).all()
    assert edits.active or (expected.astype(np.float32) == row).all()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=400))
def test_counts_are_those_of_a_counter_through_any_adding_and_removing(
    steps: list[tuple[bool, int]],
) -> None:
    counts, expected = TokenCounts(), Counter[int]()
    for remove, token in steps:
        if remove and expected[token]:
            counts.remove(token)
            expected[token] -= 1
        else:
            counts.add(token)
            expected[token] += 1

    seen = dict(zip(counts.ids.tolist(), counts.counts.tolist(), strict=True))

    assert seen == dict(+expected)


def test_ignoring_the_end_bans_every_end_token_and_nothing_else() -> None:
    row = np.zeros(VOCAB, dtype=np.float32)
    # An end token that the rows of this model do not have is nothing to ban.
    edits = edits_of(SamplingParams(ignore_eos=True), [], 0, eog=(2, 29, VOCAB))

    edits.apply(row)

    assert np.flatnonzero(row == -math.inf).tolist() == [2, 29]


def test_the_end_may_come_when_nobody_ignores_it() -> None:
    assert not edits_of(SamplingParams(), [], 0, eog=(2,)).active


def test_an_infinite_bias_forbids_or_forces_and_stays_a_number() -> None:
    params = SamplingParams(
        logit_bias=((3, math.inf), (3, 1.0), (4, -math.inf), (4, math.inf), (5, 1e308))
    )
    row = np.full(VOCAB, 2.0, dtype=np.float32)

    edits_of(params, [], 0).apply(row)

    assert row[4] == -math.inf
    assert np.isfinite(row[3])
    assert np.isfinite(row[5])
    assert row[3] > 1e29


def test_a_bias_on_a_token_the_model_lacks_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match=f"token {VOCAB}") as caught:
        edits_of(SamplingParams(logit_bias=((VOCAB, 1.0),)), [], 0)

    assert caught.value.field == "logit_bias"
