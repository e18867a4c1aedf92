"""A constraint laid on a row in any of its forms draws what a masked copy of the row would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.request import SamplingParams
from umad.sampling.allowed import Allowed
from umad.sampling.sampler import Sampler

N_VOCAB = 10_007  # not a multiple of a word's bits
# Few allowed, few barred, and neither.
HOW_MANY = (1, 3, 900, 5000, N_VOCAB - 900, N_VOCAB - 2, N_VOCAB)
CHAINS = (
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.0, ignore_eos=True),
    SamplingParams(),
    SamplingParams(temperature=1.3, top_k=0, top_p=0.9, repetition_penalty=1.2),
    SamplingParams(temperature=0.7, logit_bias=((5, 3.0), (9, -2.0)), presence_penalty=0.5),
    SamplingParams(temperature=0.0, logprobs=3),
)


def sampler(params: SamplingParams) -> Sampler:
    return Sampler(
        params, seed=7, n_vocab=N_VOCAB, eog=frozenset({11}), history=[5, 5, 9, 12], n_prompt=1
    )


@pytest.mark.parametrize("n_allowed", HOW_MANY)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), params=st.sampled_from(CHAINS))
def test_it_draws_as_from_a_masked_copy_and_leaves_the_row_as_it_was(
    n_allowed: int, seed: int, params: SamplingParams
) -> None:
    generator = np.random.default_rng(seed)
    row = (generator.standard_normal(N_VOCAB) * 4).astype(np.float32)
    tokens = np.sort(generator.permutation(N_VOCAB)[:n_allowed])
    if params.ignore_eos and n_allowed == 1:
        tokens[0] = 12  # else the one token allowed might be the one banned
    masked = np.full(N_VOCAB, -np.inf, np.float32)
    masked[tokens] = row[tokens]
    before = row.copy()

    drawn = sampler(params).sample(row, 3, Allowed.only(tokens, N_VOCAB))

    assert drawn.token == sampler(params).sample(masked, 3).token
    assert drawn.token in tokens
    assert np.array_equal(row, before)
    if params.logprobs is not None:
        # They are the model's own, whatever was allowed.
        assert drawn.logprob is not None
        assert drawn.logprob.top[0][0] == int(before.argmax())


@pytest.mark.parametrize("n_allowed", HOW_MANY)
def test_a_token_is_in_it_or_not(n_allowed: int) -> None:
    tokens = np.sort(np.random.default_rng(1).permutation(N_VOCAB)[:n_allowed])

    allowed = Allowed.only(tokens, N_VOCAB)

    assert [token for token in range(N_VOCAB) if token in allowed] == tokens.tolist()
    assert allowed.among(np.arange(N_VOCAB)).nonzero()[0].tolist() == tokens.tolist()
    assert np.flatnonzero(allowed.bars == 0.0).tolist() == tokens.tolist()


@pytest.mark.parametrize("token", [0, 31, 32, 63, N_VOCAB - 1])
def test_one_token_alone_is_what_is_left_of_many(token: int) -> None:
    alone = Allowed.only(np.arange(900), N_VOCAB).just(token)

    assert [one for one in range(N_VOCAB) if one in alone] == [token]
    assert alone.few is not None
    assert alone.few.tolist() == [token]


def test_one_answer_leaves_nothing_of_its_constraint_to_the_next() -> None:
    row = np.arange(N_VOCAB, dtype=np.float32)
    first, second = Allowed.only(np.array([3, 8]), N_VOCAB), Allowed.only(np.array([4]), N_VOCAB)
    greedy = sampler(SamplingParams(temperature=0.0))

    drawn = [greedy.sample(row, 0, one).token for one in (first, second, first, None)]

    assert drawn == [8, 4, 8, N_VOCAB - 1]


@pytest.mark.parametrize(
    ("params", "n_allowed", "copies"),
    [
        (SamplingParams(temperature=0.0), 5000, 0),
        (SamplingParams(), N_VOCAB - 900, 0),
        (SamplingParams(), 900, 0),
        (SamplingParams(top_k=0), 5000, 1),
    ],
)
def test_a_row_is_copied_only_where_looking_at_few_tokens_does_not_tell(
    params: SamplingParams, n_allowed: int, copies: int
) -> None:
    row = np.random.default_rng(2).standard_normal(N_VOCAB).astype(np.float32)
    tokens = np.sort(np.random.default_rng(3).permutation(N_VOCAB)[:n_allowed])
    one = sampler(params)

    drawn = one.sample(row, 0, Allowed.only(tokens, N_VOCAB))

    assert drawn.token in tokens
    assert one.copied_rows == copies
