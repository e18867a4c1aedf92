"""Steps whose rows fill the blocks that kernels work in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.costs.tiles import ATTENTION_ROWS, in_whole_tiles


@pytest.mark.parametrize(
    ("n_tokens", "beside", "bound", "whole"),
    [
        pytest.param(12, 3, 12, 9, id="15 rows cost more than 12 do"),
        pytest.param(12, 3, 13, 13, id="and as much as 16"),
        pytest.param(13, 3, 99, 13, id="16 rows are whole"),
        pytest.param(70, 3, 99, 61, id="73 rows leave nine in a tile of their own"),
        pytest.param(120, 3, 125, 125, id="128 rows are two of the attention's tiles"),
        pytest.param(100, 3, 110, 101, id="half a tile is not left out, so matrices' tiles count"),
        pytest.param(63, 0, 63, 60, id="below the attention's tile, that of the matrices"),
        pytest.param(200, 0, 200, 192, id="three tiles and a little"),
        pytest.param(4, 3, 4, 4, id="four tokens are worth more than one and a whole tile"),
        pytest.param(1, 0, 1, 1, id="a single token is never dropped"),
        pytest.param(0, 3, 9, 0, id="no prompt, no rows"),
    ],
)
def test_a_step_has_no_half_empty_tile(n_tokens: int, beside: int, bound: int, whole: int) -> None:
    assert in_whole_tiles(n_tokens, beside=beside, fits=lambda n: n <= bound) == whole


@given(
    n_tokens=st.integers(1, 2048), beside=st.integers(0, 600), spare=st.integers(0, ATTENTION_ROWS)
)
def test_a_slice_is_never_longer_than_its_bound_and_never_empty(
    n_tokens: int, beside: int, spare: int
) -> None:
    aligned = in_whole_tiles(n_tokens, beside=beside, fits=lambda n: n <= n_tokens + spare)

    assert 3 * n_tokens / 4 <= aligned <= n_tokens + spare


def test_sizes_are_tried_one_after_another_until_the_bound_whatever_runs_beside() -> None:
    costs = CostModel()
    for rows in range(1, 9):
        costs.learn(rows, 0, 10.0 * rows)

    sizes = []
    for _ in range(12):
        n_tokens = costs.prefill_within(300.0, beside=3, n_max=509)
        costs.learn(3, n_tokens, 30.0 + n_tokens)
        sizes.append(n_tokens)

    assert sizes[0] < 16
    assert sizes == sorted(sizes)
    assert 3 + sizes[-1] == 4 * ATTENTION_ROWS
