"""Log-probabilities: of the raw row, natural, with the alternatives in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.reference import log_softmax, noise
from umad.sampling.logprobs import token_logprob
from umad.sampling.workspace import Workspace


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1, 30, 5_000]),
    scale=st.sampled_from([0.01, 3.0, 100.0]),
    shift=st.sampled_from([0.0, 300.0, -300.0]),
    step=st.sampled_from([0.0, 0.5]),  # makes ties
    n_top=st.sampled_from([0, 1, 5, 20]),
)
def test_they_are_those_of_a_float64_softmax(
    seed: int, size: int, scale: float, shift: float, step: float, n_top: int
) -> None:
    row = noise(seed, size, scale, step=step) + np.float32(shift)
    token = seed % size
    expected = log_softmax(row)
    best_first = sorted(range(size), key=lambda t: (-row[t], t))[:n_top]
    space = Workspace(size)

    found = token_logprob(space, row, space.look(row), token, n_top)

    assert found.id == token
    assert found.logprob == pytest.approx(expected[token], abs=1e-5)
    assert [id_ for id_, _ in found.top] == best_first
    assert [p for _, p in found.top] == pytest.approx(expected[best_first].tolist(), abs=1e-5)


def test_tokens_that_cannot_be_are_not_listed() -> None:
    row = np.array([0.0, -np.inf, 0.0, -np.inf], dtype=np.float32)
    space = Workspace(4)

    found = token_logprob(space, row, space.look(row), 2, 3)

    assert [id_ for id_, _ in found.top] == [0, 2]
    assert [p for _, p in found.top] == pytest.approx([np.log(0.5)] * 2)


def test_everything_in_them_is_plain_python() -> None:
    # They are packed as msgpack and as JSON, which know no numpy.
    row = np.arange(9, dtype=np.float32)
    space = Workspace(9)

    found = token_logprob(space, row, space.look(row), 3, 2)

    assert type(found.logprob) is float
    assert [(type(id_), type(p)) for id_, p in found.top] == [(int, float)] * 2
