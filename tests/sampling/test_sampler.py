"""One completion's sampling, as the step loop uses it."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.reference import (
    Row,
    chi_square,
    chi_square_limit,
    distribution,
    log_softmax,
    noise,
)
from umad.errors import BadRequest, InternalError
from umad.request import SamplingParams
from umad.sampling.sampler import Drawn, Sampler

GREEDY = SamplingParams(temperature=0.0)
VOCAB = 100


def sampler_of(
    params: SamplingParams,
    history: list[int] | None = None,
    *,
    seed: int = 1,
    n_prompt: int | None = None,
    n_vocab: int = VOCAB,
) -> Sampler:
    return Sampler(
        params,
        seed=seed,
        n_vocab=n_vocab,
        eog=frozenset({7}),
        history=history or [],
        n_prompt=n_prompt,
    )


def row_at(position: int, n_vocab: int = VOCAB) -> Row:
    """What a model would make at a position; close together, so that penalties change much."""
    return noise(position, n_vocab)


def complete(sampler: Sampler, start: int, end: int) -> list[int]:
    out = []
    for position in range(start, end):
        token = sampler.sample(row_at(position), position).token
        sampler.accept(token)
        out.append(token)
    return out


def test_greedy_takes_the_best_token_and_of_equal_ones_the_first() -> None:
    row = np.array([1.0, 3.0, 2.0, 3.0], dtype=np.float32)

    assert sampler_of(GREEDY, n_vocab=4).sample(row, 0) == Drawn(1, None)


def test_greedy_ignores_every_cut_and_the_seed() -> None:
    odd = replace(GREEDY, top_k=1, top_p=0.01, min_p=1.0, typical_p=0.01)

    assert complete(sampler_of(odd, seed=1), 0, 20) == complete(sampler_of(GREEDY, seed=2), 0, 20)


def test_greedy_is_greedy_after_penalties() -> None:
    row = np.array([2.0, 1.9, 0.0], dtype=np.float32)
    sampler = sampler_of(replace(GREEDY, presence_penalty=0.5), n_vocab=3)

    first = sampler.sample(row, 0).token
    sampler.accept(first)
    second = sampler.sample(row, 1).token

    assert (first, second) == (0, 1)


def test_frequency_and_presence_overlook_the_prompt_but_repetition_does_not() -> None:
    row = np.array([2.0, 1.9, 0.0], dtype=np.float32)
    for params, token in (
        (replace(GREEDY, frequency_penalty=1.0, presence_penalty=1.0), 0),
        (replace(GREEDY, repetition_penalty=2.0), 1),
    ):
        assert sampler_of(params, [0, 0], n_vocab=3).sample(row, 2).token == token


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    params=st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.8]),
        top_k=st.sampled_from([0, 20]),
        typical_p=st.sampled_from([1.0, 0.8]),
        repetition_penalty=st.sampled_from([1.0, 1.5]),
        frequency_penalty=st.sampled_from([0.0, 0.4]),
        presence_penalty=st.sampled_from([0.0, 0.4]),
        penalty_last_n=st.sampled_from([3, 64]),
    ),
    prompt=st.lists(st.integers(0, VOCAB - 1), max_size=10),
    cut=st.integers(0, 30),
    as_array=st.booleans(),
)
def test_a_completion_cut_anywhere_goes_on_as_if_it_had_not_been(
    params: SamplingParams, prompt: list[int], cut: int, as_array: bool
) -> None:
    start, end = len(prompt), len(prompt) + 30
    whole = complete(sampler_of(params, prompt), start, end)

    history = prompt + whole[:cut]
    again = Sampler(
        params,
        seed=1,
        n_vocab=VOCAB,
        eog=frozenset({7}),
        history=np.array(history, dtype=np.int32) if as_array else history,
        n_prompt=len(prompt),
    )

    assert complete(again, start + cut, end) == whole[cut:]


def test_the_seed_decides_and_another_seed_decides_otherwise() -> None:
    hot = SamplingParams(temperature=1.5)

    first, same, other = (complete(sampler_of(hot, seed=seed), 0, 40) for seed in (5, 5, 6))

    assert first == same
    assert first != other


def test_draws_at_successive_positions_follow_the_distribution() -> None:
    row = noise(2, VOCAB, 2.0)
    params = SamplingParams(temperature=1.2, top_k=0, top_p=0.97, min_p=0.01)
    sampler = sampler_of(params)

    seen = Counter(sampler.sample(row, position).token for position in range(8_000))

    statistic, degrees = chi_square(seen, distribution(row, params))
    assert statistic < chi_square_limit(degrees)


EVERYTHING = SamplingParams(
    temperature=0.9,
    repetition_penalty=1.3,
    frequency_penalty=0.2,
    presence_penalty=0.1,
    logit_bias=((4, 3.0), (5, -math.inf)),
    ignore_eos=True,
    logprobs=3,
)


@pytest.mark.parametrize("params", [GREEDY, EVERYTHING, replace(EVERYTHING, temperature=0.0)])
def test_the_row_is_left_as_it_was_found(params: SamplingParams) -> None:
    row = row_at(0)
    sampler = sampler_of(params, [1, 2, 2, 5], n_prompt=1)

    sampler.sample(row, 4)

    assert (row == row_at(0)).all()


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_logprobs_are_those_of_the_model_not_of_what_was_made_of_them(temperature: float) -> None:
    row = row_at(0)
    expected = log_softmax(row)
    sampler = sampler_of(replace(EVERYTHING, temperature=temperature), [4, 2, 2, 5], n_prompt=1)

    token, logprob = sampler.sample(row, 4)

    assert logprob is not None
    assert logprob.id == token
    assert logprob.logprob == pytest.approx(expected[token], abs=1e-5)
    assert [id_ for id_, _ in logprob.top] == np.argsort(-expected)[:3].tolist()


def test_no_alternatives_are_listed_when_none_are_asked_for() -> None:
    _, logprob = sampler_of(replace(GREEDY, logprobs=0)).sample(row_at(0), 0)

    assert logprob is not None
    assert logprob.top == ()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_ignored_end_never_comes(temperature: float) -> None:
    row = row_at(0)
    row[7] = 20.0
    patient = SamplingParams(temperature=temperature, ignore_eos=True)
    hasty = replace(patient, ignore_eos=False)

    assert all(sampler_of(patient).sample(row, at).token != 7 for at in range(50))
    assert sampler_of(hasty).sample(row, 0).token == 7


def test_a_greedy_draw_with_bans_is_the_best_of_the_rest_and_leaves_the_row_alone() -> None:
    banned = SamplingParams(temperature=0.0, logit_bias=((3, -math.inf), (9, -math.inf)))
    for at in range(20):
        row = row_at(at)
        row[[3, 9]] += at % 3  # best, among the best, or neither
        before = row.copy()
        rest = np.delete(np.arange(row.size), [3, 9])

        drawn = sampler_of(banned).sample(row, 0)

        assert drawn.token == rest[row[rest].argmax()]
        assert np.array_equal(row, before)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_infinite_bias_forces_its_token(temperature: float) -> None:
    params = SamplingParams(temperature=temperature, logit_bias=((50, math.inf),))

    assert {sampler_of(params).sample(row_at(at), at).token for at in range(20)} == {50}


POISON = {
    "one NaN": lambda row: row.__setitem__(60, np.nan),
    "only NaN": lambda row: row.fill(np.nan),
    "infinity": lambda row: row.__setitem__(60, np.inf),
    "only minus infinity": lambda row: row.fill(-np.inf),
}


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(), replace(GREEDY, logprobs=1)])
@pytest.mark.parametrize("poison", POISON)
def test_a_row_that_is_no_distribution_fails_its_own_request_and_no_other(
    poison: str, params: SamplingParams
) -> None:
    row = row_at(0)
    POISON[poison](row)

    with pytest.raises(InternalError, match="not finite"):
        sampler_of(params).sample(row, 0)

    # The same thread's next row is none the worse.
    assert 0 <= sampler_of(params).sample(row_at(1), 0).token < VOCAB


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_ban_does_not_hide_a_poisoned_row(value: float, temperature: float) -> None:
    row = row_at(0)
    row[5] = value
    params = SamplingParams(temperature=temperature, logit_bias=((5, -math.inf),))

    with pytest.raises(InternalError, match="not finite"):
        sampler_of(params).sample(row, 0)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_banning_every_token_is_the_requests_own_fault(temperature: float) -> None:
    ban = tuple((token, -math.inf) for token in range(VOCAB))
    params = SamplingParams(temperature=temperature, logit_bias=ban)

    with pytest.raises(BadRequest, match="no token"):
        sampler_of(params).sample(row_at(0), 0)


def test_extreme_penalties_overflow_into_nothing_worse_than_a_ban() -> None:
    params = SamplingParams(repetition_penalty=100.0, temperature=1.0)
    row = np.full(VOCAB, -3.0e38, dtype=np.float32)
    row[3] = 0.0

    assert sampler_of(params, [1, 2]).sample(row, 2).token == 3
