"""Every cut, alone and chained, against the reference: the same tokens, the same odds."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.reference import Row, chi_square, chi_square_limit, distribution, noise
from umad.request import SamplingParams
from umad.sampling.cuts import draw
from umad.sampling.workspace import Workspace

OFF = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0)


def drawn_at(row: Row, params: SamplingParams, numbers: list[float]) -> list[int]:
    space = Workspace(row.size)
    return [draw(space, space.look(row), params, number) for number in numbers]


def assert_draws_are_those_of(expected: dict[int, float], row: Row, params: SamplingParams) -> None:
    """In the middle of each token's share of [0, 1), it and nothing else is drawn."""
    some = [token for token, p in expected.items() if p > 1e-6]
    numbers, below = [], 0.0
    for token in expected:
        numbers.append(below + expected[token] / 2)
        below += expected[token]
    numbers = [n for n, token in zip(numbers, expected, strict=True) if expected[token] > 1e-6]
    assert drawn_at(row, params, numbers) == some


rows = st.builds(
    noise,
    seed=st.integers(0, 2**32),
    n_vocab=st.integers(1, 300),
    scale=st.sampled_from([0.01, 0.5, 3.0, 20.0]),
    step=st.sampled_from([0.0, 0.37]),
)
shares = st.floats(0.013, 0.987).map(lambda share: round(share, 4) + 0.000013)
chains = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 1, 2, 7, 40, 299]),
    top_p=st.one_of(st.just(1.0), shares),
    min_p=st.one_of(st.just(0.0), shares),
    typical_p=st.one_of(st.just(1.0), shares),
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(row=rows, params=chains)
def test_every_chain_of_cuts_draws_what_the_reference_draws(
    row: Row, params: SamplingParams
) -> None:
    assert_draws_are_those_of(distribution(row, params), row, params)


LARGE = {
    "peaked": (3.0, 9.0),
    "flat": (0.2, 0.0),
    "all but even": (0.001, 0.0),
    "one peak over a plain": (0.1, 0.0),
}
CUTS = {
    "nothing": OFF,
    "top-k": replace(OFF, top_k=40),
    "a large top-k": replace(OFF, top_k=3000),
    "top-p": replace(OFF, top_p=0.9),
    "a small top-p": replace(OFF, top_p=0.02),
    "min-p": replace(OFF, min_p=0.05),
    "a small min-p": replace(OFF, min_p=0.0003),
    "top-p and min-p": replace(OFF, top_p=0.9, min_p=0.02),
    "a small top-p and min-p": replace(OFF, top_p=0.3, min_p=0.02),
    "a small typical": replace(OFF, typical_p=0.15),
    "typical": replace(OFF, typical_p=0.7),
    "typical, top-p and min-p": replace(OFF, typical_p=0.7, top_p=0.9, min_p=0.02),
    "llama.cpp's defaults": SamplingParams(),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("shape", LARGE)
def test_a_large_vocabulary_is_cut_exactly_however_flat_it_is(shape: str, cut: str) -> None:
    # A prime: some tokens are left over by every fold.
    n_vocab = 9_973
    scale, boost = LARGE[shape]
    row = noise(7, n_vocab, scale)
    row[::333] += noise(8, 30, boost / 3)
    row[-3:] += np.float32(boost)
    if shape == "one peak over a plain":
        row[17] = 9.3  # about half of all; the other half is too far below to be guessed
    expected = distribution(row, CUTS[cut])
    draws = 500
    numbers = ((np.arange(draws) + 0.5) / draws).tolist()

    seen = Counter(drawn_at(row, CUTS[cut], numbers))

    # The numbers are evenly spaced, so each token comes up in proportion, to within one.
    assert set(seen) <= set(expected)
    for token, p in expected.items():
        assert abs(seen[token] - p * draws) < 1.01


@pytest.mark.parametrize("top_p", [0.25, 0.5, 0.75])
def test_of_equal_tokens_at_the_edge_the_lower_ones_stay(top_p: float) -> None:
    row = np.zeros(8, dtype=np.float32)

    tokens = drawn_at(row, replace(OFF, top_p=top_p), (np.arange(100) / 100).tolist())

    assert sorted(set(tokens)) == list(range(int(8 * top_p)))


def test_top_p_and_min_p_look_at_probabilities_before_the_temperature() -> None:
    # Heat would even these out, and cold would leave one; neither changes who stays.
    row = np.log(np.array([0.6, 0.25, 0.1, 0.05], dtype=np.float32))
    numbers = (np.arange(500) / 500).tolist()

    for temperature in (0.7, 1.0, 50.0):
        nucleus = replace(OFF, top_p=0.8, temperature=temperature)
        relative = replace(OFF, min_p=0.3, temperature=temperature)
        assert set(drawn_at(row, nucleus, numbers)) == {0, 1}
        assert set(drawn_at(row, relative, numbers)) == {0, 1}


@pytest.mark.parametrize("params", [replace(OFF, top_p=0.0), replace(OFF, typical_p=0.0)])
def test_a_cut_to_nothing_leaves_one_token(params: SamplingParams) -> None:
    row = np.array([0.1, 0.3, 0.2], dtype=np.float32)

    tokens = drawn_at(row, params, [0.0, 0.5, 1 - 2**-53])

    assert len(set(tokens)) == 1


@pytest.mark.parametrize("n_vocab", [5, 5_000])
@pytest.mark.parametrize("cut", CUTS)
def test_tokens_without_a_chance_are_never_drawn(cut: str, n_vocab: int) -> None:
    row = np.full(n_vocab, -np.inf, dtype=np.float32)
    row[[1, 3]] = 2.0, 1.0

    tokens = drawn_at(row, CUTS[cut], [0.0, 0.3, 0.999999, 1 - 2**-53])

    assert set(tokens) <= {1, 3}


@pytest.mark.parametrize("temperature", [5e-324, 1e-20, 1e-6])
@pytest.mark.parametrize("cut", CUTS)
def test_a_temperature_near_zero_is_greedy_among_what_is_left(cut: str, temperature: float) -> None:
    row = noise(3, 5_000)
    params = replace(CUTS[cut], temperature=temperature)
    best = max(distribution(row, CUTS[cut]), key=lambda token: float(row[token]))

    tokens = drawn_at(row, params, [0.0, 0.5, 1 - 2**-53])

    assert set(tokens) == {best}


@pytest.mark.parametrize("cut", ["nothing", "top-p", "llama.cpp's defaults"])
def test_draws_follow_the_distribution(cut: str) -> None:
    row = noise(11, 50, 2.0)
    params = replace(CUTS[cut], temperature=0.9)
    numbers = np.random.default_rng(12).random(8_000).tolist()
    seen: dict[int, int] = {}

    for token in drawn_at(row, params, numbers):
        seen[token] = seen.get(token, 0) + 1

    statistic, degrees = chi_square(seen, distribution(row, params))
    assert set(seen) <= set(distribution(row, params))
    assert statistic < chi_square_limit(degrees)


def test_two_nearly_equal_logits_that_change_places_change_no_draw() -> None:
    # As happens when a restarted engine prefills what another had decoded.
    row = np.array([3.0, 2.0, 2.0, 1.0], dtype=np.float32)
    swapped = row + np.array([0, 1e-5, -1e-5, 0], dtype=np.float32)
    numbers = (np.arange(200) / 200 + 0.00123).tolist()
    params = replace(OFF, top_k=4)

    assert drawn_at(row, params, numbers) == drawn_at(swapped, params, numbers)


@pytest.mark.parametrize("min_p", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_top_p_is_exact_where_float32_could_not_tell(seed: int, min_p: float) -> None:
    # The best twelve stand in ascending order at the start: the first token that can be drawn
    # says how many are kept. The share they need is reached just before, or just after, the next.
    row = noise(seed, 20_000, 0.3)
    row[:12] = np.linspace(7, 9, 12, dtype=np.float32)
    odds = np.exp(row.astype(np.float64) - float(row.max()))
    best_first = np.sort(odds)[::-1]
    for count in (3, 7, 10):
        edge = math.fsum(best_first[:count]) / math.fsum(odds)
        params = replace(OFF, min_p=min_p)

        (below,) = drawn_at(row, replace(params, top_p=edge * (1 - 1e-9)), [0.0])
        (above,) = drawn_at(row, replace(params, top_p=edge * (1 + 1e-9)), [0.0])

        assert (12 - below, 12 - above) == (count, count + 1)
