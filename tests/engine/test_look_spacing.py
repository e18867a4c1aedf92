"""How far apart the looks of a step are. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.engine.llamacpp.gate import LOOK_MS, MOST_SHARE, PRICE_ERROR, layers_between

ENDS = st.integers(1, 500)
STEP_MS = st.floats(0.01, 1e5)
PRICE_MS = st.floats(0.0, 1e3)


def looks(n_ends: int, between: int) -> int:
    """The looks of a step, which has none at its last layer's end."""
    return (n_ends - 1) // between if between else 0


@pytest.mark.parametrize(
    ("step_ms", "between"),
    [(24 * LOOK_MS, 1), (12 * LOOK_MS, 2), (50.0, 4), (LOOK_MS, 0), (0.0, 0)],
)
def test_cheap_looks_are_as_far_apart_as_an_arrival_may_wait(step_ms: float, between: int) -> None:
    assert layers_between(24, step_ms=step_ms, look_ms=0.001) == between


def test_expensive_looks_are_farther_apart_and_evenly() -> None:
    assert layers_between(24, step_ms=240.0, look_ms=1.0) == 8, "two looks make three thirds"
    assert layers_between(24, step_ms=90.0, look_ms=1.0) == 0, "one would be too many"


def test_a_short_model_looks_after_every_layer_but_the_last() -> None:
    """Five looks in six layers: a sixth is waited for, and a hundredth is paid."""
    between = layers_between(6, step_ms=450.0, look_ms=0.92)

    assert between == 1
    assert looks(6, between) == 5


@given(ENDS, STEP_MS, PRICE_MS)
def test_looks_take_a_hundredth_of_a_step_at_most(
    n_ends: int, step_ms: float, look_ms: float
) -> None:
    between = layers_between(n_ends, step_ms=step_ms, look_ms=look_ms)

    most_ms = (1 + PRICE_ERROR) * MOST_SHARE * step_ms
    assert looks(n_ends, between) * look_ms <= most_ms * (1 + 1e-9)


@given(st.integers(5, 500), st.floats(5 * LOOK_MS, 1e5))
def test_an_arrival_waits_for_a_fifth_of_a_long_step_at_most_where_looks_are_cheap(
    n_ends: int, step_ms: float
) -> None:
    between = layers_between(n_ends, step_ms=step_ms, look_ms=MOST_SHARE * step_ms / n_ends)

    assert between >= 1
    assert between / n_ends <= 1 / 5
