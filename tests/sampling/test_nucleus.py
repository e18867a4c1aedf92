"""The shortest best-first prefix, found by buckets, is the one that a sort finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.sampling.nucleus import SORTABLE, nucleus


def by_sorting(keys: list[float], weights: list[float], target: float, strict: bool) -> set[int]:
    kept: set[int] = set()
    held = 0.0
    for index in sorted(range(len(keys)), key=lambda index: (-keys[index], index)):
        kept.add(index)
        held += weights[index]
        if held > target or (held == target and not strict):
            break
    return kept


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1, 2, 50, SORTABLE, SORTABLE + 1, 9_000]),
    spread=st.sampled_from([1e-9, 0.1, 5.0, 1e4]),
    step=st.sampled_from([0.0, 0.25]),
    share=st.floats(0.001, 0.999),
    strict=st.booleans(),
)
def test_it_is_the_prefix_that_a_sort_finds(
    seed: int, size: int, spread: float, step: float, share: float, strict: bool
) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal(size) * spread
    if step:
        keys = np.round(keys / step) * step
    # Whole numbers add up without rounding, in any order: the comparison is exact.
    weights = rng.integers(0, 1000, size).astype(np.float64)
    target = float(int(weights.sum() * share))

    kept = nucleus(keys, weights, target, strict=strict)

    assert set(np.flatnonzero(kept).tolist()) == by_sorting(
        keys.tolist(), weights.tolist(), target, strict
    )


@pytest.mark.parametrize("size", [3, 50_000])
def test_equal_keys_are_taken_from_the_lowest_index(size: int) -> None:
    kept = nucleus(np.zeros(size), np.ones(size), size / 3)

    assert np.flatnonzero(kept).tolist() == list(range(-(-size // 3)))


@pytest.mark.parametrize("size", [3, 50_000])
def test_a_target_beyond_the_whole_mass_takes_everything(size: int) -> None:
    keys = np.linspace(0, 1, size)

    assert nucleus(keys, np.ones(size), size + 1.0).all()
    assert nucleus(keys, np.ones(size), float(size), strict=True).all()


def test_one_outlier_does_not_put_all_others_into_one_bucket_for_ever() -> None:
    keys = np.append(np.linspace(-1e-6, 0, 20_000), [300.0, -1e300])
    weights = np.ones(20_002)

    kept = nucleus(keys, weights, 101.0)

    assert np.flatnonzero(kept).tolist() == [*range(19_900, 20_000), 20_000]
