"""Selections over a whole row, against a sort of it."""

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.reference import Row, noise
from umad.sampling.workspace import MASS_ERROR, Workspace, first_above

rows = st.builds(
    noise,
    seed=st.integers(0, 2**32),
    # A small one, one that folds evenly, one that leaves 63 over.
    n_vocab=st.sampled_from([1, 100, 4096, 4159, 10_000]),
    scale=st.just(3.0),
    step=st.sampled_from([0.0, 0.5]),
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(row=rows, k=st.sampled_from([1, 2, 20, 40, 500, 4000, 9999, 20_000]))
def test_the_k_best_are_those_of_a_sort(row: Row, k: int) -> None:
    space = Workspace(row.size)
    best_first = sorted(range(row.size), key=lambda token: (-row[token], token))

    peak = space.look(row)
    ids, logits = space.top_k(k)

    assert peak == row.max()
    assert ids.tolist() == sorted(best_first[:k])
    assert (logits == row[ids]).all()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(row=rows, floor=st.floats(-12, 12))
def test_all_above_a_floor_are_found(row: Row, floor: float) -> None:
    space = Workspace(row.size)
    expected = [token for token in range(row.size) if float(row[token]) >= floor]

    space.look(row)
    ids, logits = space.at_least(floor)
    keep = space.keep(floor)

    assert ids.tolist() == expected
    assert (logits == row[ids]).all()
    assert np.flatnonzero(keep).tolist() == expected


def test_a_floor_between_two_float32_values_lets_in_only_the_upper_one() -> None:
    row = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)
    space = Workspace(2)
    space.look(row)

    ids, _ = space.at_least(1.0 + 2**-30)

    assert ids.tolist() == [1]


@pytest.mark.parametrize("size", [10, 5_000])
def test_banned_tokens_are_in_no_selection(size: int) -> None:
    row = np.full(size, -np.inf, dtype=np.float32)
    row[[2, size - 1]] = -3.0e38, 1.0
    space = Workspace(size)
    space.look(row)

    assert space.at_least(-math.inf)[0].tolist() == [2, size - 1]
    assert space.top_k(5)[0].tolist() == [2, size - 1]
    assert space.top_k(size)[0].tolist() == [2, size - 1]


@pytest.mark.parametrize("at", [0, 4095, 4100])
def test_a_nan_anywhere_shows_in_the_peak(at: int) -> None:
    row = np.zeros(4101, dtype=np.float32)
    row[at] = np.nan

    assert math.isnan(Workspace(row.size).look(row))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(row=rows, shift=st.sampled_from([-1e4, 0.0, 50.0, 1e6]))
def test_the_mass_is_within_its_stated_error(row: Row, shift: float) -> None:
    row = row + np.float32(shift)
    space = Workspace(row.size)
    peak = space.look(row)
    exact = math.fsum(np.exp(row.astype(np.float64) - peak))

    assert space.mass(peak) == pytest.approx(exact, rel=MASS_ERROR)
    assert float(space.exact(peak)[1].sum()) == pytest.approx(exact, rel=1e-12)


def test_each_thread_has_a_workspace_of_its_own_and_keeps_it() -> None:
    found: list[Workspace] = []
    other = threading.Thread(target=lambda: found.append(Workspace.of_thread(100)))
    other.start()
    other.join(60)

    assert Workspace.of_thread(100) is Workspace.of_thread(100)
    assert Workspace.of_thread(100) is not found[0]
    assert Workspace.of_thread(200).n_vocab == 200


def test_a_number_rounded_up_to_the_whole_never_draws_what_has_no_weight() -> None:
    sums = np.array([0.0, 0.5, 1.0, 1.0])

    assert [first_above(sums, wanted) for wanted in (0.0, 0.49, 0.5, 1.0)] == [1, 1, 2, 2]
