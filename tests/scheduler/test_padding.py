"""A prompt's last piece deep in a context is quicker with rows of nobody beside it, where part of
an attention tile takes longer than all of it."""

import pytest

from tests.scheduler.fake_device import Bench
from umad.scheduler.costs.step_cost import CostModel, slice_cells
from umad.scheduler.costs.tiles import ATTENTION_ROWS

CELL_MS, TILED_CELL_MS = 0.02, 0.0015
DEPTH = 2000


def tiled_ms(n_tokens: int, start: int) -> float:
    each = TILED_CELL_MS if n_tokens >= ATTENTION_ROWS else CELL_MS
    return 16.0 + 4.3 * n_tokens + each * slice_cells(n_tokens, start)


def decode_ms(n_rows: int, n_cells: int) -> float:
    return 16.0 + 6.0 * n_rows + CELL_MS * n_cells


def probed() -> CostModel:
    cost = CostModel(tiles=True)
    cost.learn_all([(n, 0, decode_ms(n, 0)) for n in (1, 2, 4, 8)])
    cost.learn_all([(0, n, tiled_ms(n, 0)) for n in (4, 16, 64)])
    return cost


def experienced() -> CostModel:
    """After one long conversation of one long answer."""
    cost = probed()
    for start in range(0, DEPTH, 64):
        cost.learn(0, 64, tiled_ms(64, start), prefill_cells=slice_cells(64, start))
    for depth in range(DEPTH, DEPTH + 40):
        cost.learn(1, 0, decode_ms(1, depth), decode_cells=depth)
    return cost


def padding(cost: CostModel, n_tokens: int, start: int) -> int:
    return cost.padding(n_tokens, slice_cells(n_tokens, start), start + n_tokens)


def test_what_a_cell_costs_outside_of_a_tile_shows_in_one_answer() -> None:
    cost = experienced()

    assert cost.decode.at(1, DEPTH) == pytest.approx(decode_ms(1, DEPTH), rel=0.1)
    assert cost.prefill.slice_ms(25, DEPTH) == pytest.approx(tiled_ms(25, DEPTH), rel=0.2)
    assert cost.prefill.slice_ms(64, DEPTH) == pytest.approx(tiled_ms(64, DEPTH), rel=0.35)


@pytest.mark.parametrize(
    ("n_tokens", "start", "rows"),
    [
        pytest.param(25, DEPTH, 39, id="deep, half a tile is filled"),
        pytest.param(1, DEPTH, 0, id="a single row is quicker alone"),
        pytest.param(25, 0, 0, id="at the start cells cost nothing yet"),
        pytest.param(64, DEPTH, 0, id="a whole tile needs no more"),
        pytest.param(200, DEPTH, 0, id="nor do several"),
    ],
)
def test_a_tile_is_filled_where_that_is_quicker(n_tokens: int, start: int, rows: int) -> None:
    assert padding(experienced(), n_tokens, start) == rows


def test_nothing_is_padded_before_anything_is_known() -> None:
    assert padding(probed(), 25, DEPTH) == 0


def test_nothing_is_padded_where_part_of_a_tile_costs_its_part() -> None:
    cost = probed()
    for start in range(0, DEPTH, 64):
        ms = 16.0 + 4.3 * 64 + CELL_MS * slice_cells(64, start)
        cost.learn(0, 64, ms, prefill_cells=slice_cells(64, start))
    for depth in range(DEPTH, DEPTH + 40):
        cost.learn(1, 0, decode_ms(1, depth), decode_cells=depth)

    assert all(padding(cost, n, DEPTH) == 0 for n in range(1, 50))


def test_a_busy_minute_is_not_taken_for_the_price_of_cells() -> None:
    cost = probed()
    for _ in range(20):
        cost.learn(1, 0, 3.2 * decode_ms(1, 70), decode_cells=70)

    assert cost.decode.at(1, 4000) <= 4 * decode_ms(1, 4000)


def test_what_slices_beside_a_stream_leave_of_a_step_is_no_price_of_the_streams_cells() -> None:
    cost = experienced()
    known_ms = cost.decode.at(1, DEPTH)

    for depth in range(DEPTH, DEPTH + 30):  # eight tokens beside it cost next to nothing
        ms = decode_ms(1, depth) + 2.0
        cost.learn(1, 8, ms, decode_cells=depth, prefill_cells=slice_cells(8, 1000))

    assert cost.decode.at(1, DEPTH) == pytest.approx(known_ms, rel=0.05)


def test_a_budget_that_holds_a_tile_is_not_filled_with_less() -> None:
    cost = experienced()
    within_ms = 1.2 * tiled_ms(64, DEPTH)

    n_tokens = cost.prefill_within(within_ms, beside=0, n_max=256, start=DEPTH)

    assert n_tokens >= 64
    assert tiled_ms(24, DEPTH) > within_ms


def turn_after_a_long_one(bench: Bench) -> None:
    """A second turn of 25 tokens, 1,000 deep, is about to be read."""
    cost = bench.scheduler.cost
    cost.decode.cells.ms_each, cost.prefill.cells.ms_each = CELL_MS, TILED_CELL_MS
    prompt = [token % 900 for token in range(1000)]
    bench.arrive(1, 0, 1, prompt=prompt, session="chat")
    while 1 not in bench.ended:
        bench.step()
    bench.arrive(2, 0, 5, prompt=[*prompt, *range(25)], session="chat")


def test_a_second_turn_is_padded_and_costs_what_a_tile_does() -> None:
    bench = Bench(tiles=True)
    turn_after_a_long_one(bench)

    plan = bench.step()

    assert [piece.n_tokens for piece in plan.prefill] == [25]
    assert plan.n_padding == 39
    assert plan.n_rows == 25
    assert plan.predicted_ms < 0.8 * tiled_ms(25, 1000)


def test_nothing_is_padded_where_the_attention_has_no_tiles() -> None:
    bench = Bench(tiles=False)
    turn_after_a_long_one(bench)

    assert bench.step().n_padding == 0


def test_running_streams_do_not_wait_for_rows_of_nobody() -> None:
    bench = Bench(tiles=True)
    bench.arrive(9, 20, 200, app="terminal")
    bench.run(3)
    turn_after_a_long_one(bench)

    assert all(not plan.n_padding for plan in bench.run(5))
