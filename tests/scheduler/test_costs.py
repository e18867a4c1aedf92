"""The cost model learns what a machine costs while it serves: rows, cells, and their mixture.

The machine of these tests is a formula with noise, and a fake clock runs nowhere: a step takes what
the formula says, and the model is asked what it would have expected."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from umad.scheduler.costs.cost_curve import ROWS, CostCurve
from umad.scheduler.costs.step_cost import CostModel, slice_cells
from umad.scheduler.steps.cut_wait import CutWait
from umad.scheduler.steps.slice_size import SlicePicker

PREFILL_MS_PER_TOKEN, PREFILL_MS_PER_CELL = 4.3, 0.002
DECODE_MS_PER_ROW, DECODE_MS_PER_CELL = 6.0, 0.0015

Noise = Callable[[], float]


def prefill_ms(n_tokens: int, start: int) -> float:
    """A prefill slice on the machine of these tests."""
    cells = slice_cells(n_tokens, start)
    return 16.0 + PREFILL_MS_PER_TOKEN * n_tokens + PREFILL_MS_PER_CELL * cells


def decode_ms(n_rows: int, n_cells: int) -> float:
    """A step of decode rows on it."""
    return 16.0 + DECODE_MS_PER_ROW * n_rows + DECODE_MS_PER_CELL * n_cells


def noise(seed: int) -> Noise:
    """A factor: up to a tenth more, and one step in fifty is interrupted for several times."""
    rng = np.random.default_rng(seed)
    return lambda: float(rng.uniform(1.0, 1.1) * (rng.uniform(3, 8) if rng.random() < 0.02 else 1))


def probed() -> CostModel:
    """A model as an engine has it after loading: shallow steps were tried, none that reads much."""
    cost = CostModel()
    cost.learn_all([(n, 0, decode_ms(n, 0)) for n in (1, 2, 4, 8)])
    cost.learn_all([(0, n, prefill_ms(n, 0)) for n in (4, 16, 64)])
    return cost


def learn_prompt(cost: CostModel, length: int, slice_tokens: int, factor: Noise) -> None:
    """A prompt is computed from its beginning to its end."""
    for start in range(0, length, slice_tokens):
        ms = prefill_ms(slice_tokens, start) * factor()
        cost.learn(0, slice_tokens, ms, prefill_cells=slice_cells(slice_tokens, start))


@pytest.mark.parametrize("start", [0, 1000, 3500, 7000])
def test_a_deep_slice_is_known_to_be_dearer_after_a_few_prompts(start: int) -> None:
    cost, factor = probed(), noise(1)

    for _ in range(6):
        learn_prompt(cost, 4096, 64, factor)

    assert cost.prefill.slice_ms(64, start) == pytest.approx(prefill_ms(64, start), rel=0.15)


def test_a_deep_slice_within_a_budget_is_shorter() -> None:
    cost, factor = probed(), noise(2)
    for _ in range(6):
        learn_prompt(cost, 4096, 64, factor)

    shallow = cost.prefill_within(200.0, beside=0, n_max=512, start=0)
    deep = cost.prefill_within(200.0, beside=0, n_max=512, start=6000)

    assert deep < shallow / 2
    assert prefill_ms(deep, 6000) == pytest.approx(200.0, rel=0.25)


def test_one_long_prompt_does_not_make_the_next_ones_beginning_look_dear() -> None:
    cost, factor = probed(), noise(3)
    learn_prompt(cost, 512, 64, factor)

    learn_prompt(cost, 8192, 64, factor)

    assert cost.prefill.slice_ms(64, 0) <= 1.4 * prefill_ms(64, 0)


def test_streams_with_long_histories_have_a_dearer_solo_step() -> None:
    cost, factor = probed(), noise(4)

    for turn in range(10):
        for position in range(0, 4000, 40):
            rows = 1 + turn % 4
            cells = rows * position
            cost.learn(rows, 0, decode_ms(rows, cells) * factor(), decode_cells=cells)

    for cells in (0, 6000, 12_000):
        assert cost.decode.at(3, cells) == pytest.approx(decode_ms(3, cells), rel=0.2)


def test_steps_that_all_read_the_same_leave_the_price_of_a_cell_alone() -> None:
    cost, factor = probed(), noise(5)
    for _ in range(300):
        cost.learn(2, 0, decode_ms(2, 2000) * factor(), decode_cells=2000)

    assert cost.decode.cells.ms_each < DECODE_MS_PER_CELL
    assert cost.decode.at(2, 2000) == pytest.approx(decode_ms(2, 2000), rel=0.15)


def test_a_disturbed_minute_does_not_change_the_price_of_a_cell_for_long() -> None:
    cost, factor = probed(), noise(6)
    for _ in range(6):
        learn_prompt(cost, 4096, 64, factor)

    for start in range(0, 2048, 64):
        ms = 6 * prefill_ms(64, start)
        cost.learn(0, 64, ms, prefill_cells=slice_cells(64, start))
    disturbed = cost.prefill.slice_ms(64, 2000)
    learn_prompt(cost, 2048, 64, factor)

    assert disturbed <= 3.5 * prefill_ms(64, 2000)
    assert cost.prefill.slice_ms(64, 2000) == pytest.approx(prefill_ms(64, 2000), rel=0.35)


@pytest.mark.parametrize("seed", range(8))
def test_a_busy_machine_never_makes_slices_shrink_to_nothing(seed: int) -> None:
    """Other programs take most of the device, in turns: steps take one to eight times as long."""
    rng = np.random.default_rng(seed)
    cost = CostModel()
    factor = float(rng.uniform(1, 8))
    cost.learn_all([(0, n, prefill_ms(n, 0) * float(rng.uniform(1, 8))) for n in (4, 16, 64)])
    picker, sizes = SlicePicker(cost.prefill, wait=CutWait(0.0)), []
    for _ in range(4):
        start = 0
        while start < 2700:
            n_tokens = picker.pick(room=min(512, 2700 - start), start=start, within_ms=None)
            if rng.random() < 0.1:
                factor = float(rng.uniform(1, 8))
            ms = prefill_ms(n_tokens, start) * factor
            cells = slice_cells(n_tokens, start)
            cost.learn(0, n_tokens, ms, prefill_cells=cells)
            picker.cuts.ran(ms, was_cut=False)
            sizes.append(n_tokens)
            start += n_tokens
    assert len(sizes) < 800, "slices shrank to a few tokens"
    assert max(sizes[-10:]) >= 32
    calm_ms = [prefill_ms(64, start) for start in (0, 2000)]
    known_ms = [cost.prefill.slice_ms(64, start) for start in (0, 2000)]
    assert all(known <= 8 * calm for known, calm in zip(known_ms, calm_ms, strict=True))


def test_slices_find_their_size_where_nothing_was_probed_and_small_ones_look_best() -> None:
    """As measured on a CPU: 17 ms for one token, 36 for two, 50 for four, 3.1 each for many."""
    cost = CostModel()
    picker, sizes = SlicePicker(cost.prefill, wait=CutWait(0.0)), []
    for _ in range(60):
        n_tokens = picker.pick(room=512, start=0, within_ms=None)
        ms = 17.0 if n_tokens == 1 else 30.0 + 3.0 * n_tokens
        cost.learn(0, n_tokens, ms)
        picker.cuts.ran(ms, was_cut=False)
        sizes.append(n_tokens)

    assert sizes[-1] == 512
    assert sizes[0] <= 16


def test_a_size_that_was_disturbed_when_first_tried_is_tried_again() -> None:
    cost = CostModel()
    picker, tried = SlicePicker(cost.prefill, wait=CutWait(0.0)), set[int]()
    for _ in range(200):
        n_tokens = picker.pick(room=512, start=0, within_ms=None)
        ms = prefill_ms(n_tokens, 0) * (1 if n_tokens in tried else 2.5)
        tried.add(n_tokens)
        cost.learn(0, n_tokens, ms)
        picker.cuts.ran(ms, was_cut=False)

    assert picker.pick(room=512, start=0, within_ms=None) >= 256


def test_a_price_of_cells_that_is_absurd_is_corrected_by_the_next_step() -> None:
    cost = probed()
    cost.prefill.cells.ms_each = 50.0

    cost.learn(0, 1, prefill_ms(1, 700), prefill_cells=700)

    assert cost.prefill.cells.ms_each * 700 <= prefill_ms(1, 700)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 64),
            st.integers(0, 512),
            st.just(0.0) | st.floats(0.001, 1e5),
            st.integers(0, 10_000_000),
        ),
        max_size=40,
    )
)
@example([(57, 351, 26_861.0, 0), (58, 193, 0.0, 0), (58, 193, 0.0, 0), (27, 511, 0.0, 0)])
def test_whatever_it_is_told_costs_stay_finite_and_never_fall_with_size(
    steps: list[tuple[int, int, float, int]],
) -> None:
    cost = CostModel()
    for rows, tokens, ms, cells in steps:
        cost.learn(rows, tokens, ms, decode_cells=cells, prefill_cells=cells)

    for shape in (cost.decode, cost.prefill, cost.mixed):
        line = [shape.at(n, 1000 * n) for n in (1, 2, 7, 64, 500, 2048, 4000)]
        assert all(np.isfinite(line))
        assert line[0] > 0
        assert 0 <= shape.most(100.0, 512, 300) <= 512


def test_short_prompts_of_many_lengths_do_not_put_a_price_on_cells() -> None:
    cost, factor = CostModel(), noise(9)
    rng = np.random.default_rng(9)
    for _ in range(300):
        n_tokens = int(rng.integers(1, 64))
        cells = slice_cells(n_tokens, int(rng.integers(0, 60)))
        cost.learn(2, n_tokens, 28.0 + 9.0 * n_tokens * factor(), prefill_cells=cells)

    assert cost.mixed.cells.ms_each == 0


def test_a_step_beside_another_engine_shows_only_that_it_takes_no_longer() -> None:
    cost = probed()
    usual_ms, quick_ms = decode_ms(1, 0), 0.8 * decode_ms(1, 0)

    cost.learn(1, 0, 3 * usual_ms, crowded=True)
    after_slow = cost.step_ms(1, 0)
    cost.learn(1, 0, quick_ms, crowded=True)

    assert after_slow == usual_ms
    assert cost.step_ms(1, 0) < usual_ms


def test_beside_another_engine_a_shape_that_nobody_measured_is_learnt_all_the_same() -> None:
    cost = CostModel()

    cost.learn(1, 0, 40.0, crowded=True)
    cost.learn_solo(1, 0, 42.0, crowded=True)

    assert cost.step_ms(1, 0) == 40.0
    assert cost.solo_ms(1, 0) == pytest.approx(42.0)


def test_the_pace_is_not_learnt_beside_another_engine() -> None:
    cost = probed()
    cost.learn_solo(1, 0, decode_ms(1, 0) + 1.0)

    for _ in range(100):
        cost.learn_solo(1, 0, 3 * decode_ms(1, 0), crowded=True)

    assert cost.solo_ms(1, 0) == pytest.approx(decode_ms(1, 0) + 1.0)


def test_a_slice_that_seemed_to_take_no_time_is_not_taken_to_be_free() -> None:
    """The step was as quick as its row alone, by chance."""
    cost = probed()

    cost.learn(1, 4, decode_ms(1, 0))

    each_ms = min(prefill_ms(n, 0) / n for n in (4, 16, 64))
    extra_ms = cost.step_ms(1, 4) - cost.step_ms(1, 0)
    assert extra_ms >= 4 * each_ms / 2
    assert cost.prefill_within(2.0, beside=1, n_max=64) < 4


def test_a_cost_of_one_row_that_was_learnt_in_a_crowd_falls_with_a_quick_step_of_two() -> None:
    cost = CostModel()
    cost.learn(1, 0, 60.0)

    cost.learn(2, 0, 27.0)

    assert cost.step_ms(1, 0) <= 27.0


def test_one_step_of_less_than_half_the_time_is_believed() -> None:
    cost = CostModel()
    cost.learn(1, 0, 60.0)

    cost.learn(1, 0, 14.0)

    assert cost.step_ms(1, 0) == pytest.approx(14.0)


def test_slices_beside_streams_that_were_never_tried_cost_what_prompts_alone_teach() -> None:
    cost = probed()

    n_tokens = cost.prefill_within(200.0, beside=1, n_max=512)

    assert prefill_ms(n_tokens, 0) - prefill_ms(0, 0) == pytest.approx(200.0, rel=0.15)
    assert cost.step_ms(1, 40) == pytest.approx(
        decode_ms(1, 0) + 40 * PREFILL_MS_PER_TOKEN, rel=0.1
    )


def test_a_first_slice_beside_streams_says_what_a_smaller_one_costs() -> None:
    cost = probed()

    cost.learn(1, 48, decode_ms(1, 0) + 48 * PREFILL_MS_PER_TOKEN)

    assert cost.mixed.at(6) == pytest.approx(6 * PREFILL_MS_PER_TOKEN, rel=0.3)
    assert cost.mixed.at(48) == pytest.approx(48 * PREFILL_MS_PER_TOKEN, rel=0.05)


def test_where_a_prompt_alone_costs_nothing_more_a_slice_beside_streams_is_believed_at_once() -> (
    None
):
    cost = CostModel()
    cost.learn_all([(1, 0, 5.0), (0, 4, 5.0), (0, 16, 5.0), (0, 64, 5.0)])

    cost.learn(1, 32, 25.0)

    assert cost.mixed.at(32) == pytest.approx(20.0, rel=0.2)


@given(
    other=st.lists(st.tuples(st.integers(1, 70), st.floats(0.1, 500)), min_size=1, max_size=40),
    own=st.lists(st.tuples(st.integers(1, 70), st.floats(0.1, 500)), max_size=40),
)
@example(other=[(4, 10.0), (8, 10.0), *[(4, 20.0)] * 10], own=[(3, 0.1)])
def test_no_number_of_rows_is_expected_to_take_less_than_no_time(
    other: list[tuple[int, float]], own: list[tuple[int, float]]
) -> None:
    prompts = CostCurve(5.0)
    beside = CostCurve(5.0, like=prompts)
    for n, ms in other:
        prompts.learn(n, ms)
    for n, ms in own:
        beside.learn(n, ms)

    assert min(beside.at(n) for n in range(100)) >= 0


def test_a_count_does_not_seem_to_cost_many_times_as_much_as_its_parts() -> None:
    curve = CostCurve(5.0)
    curve.learn(7, 77_000.0)

    curve.learn(1, 12.0)

    assert curve.at(8) <= 8 * 8 * 12.0

    # What was remembered before is mended, too.
    points = [
        (77_000.0, times) if n == 8 else (ms, times)
        for n, (ms, times) in zip(ROWS, curve.snapshot(), strict=True)
    ]
    curve.restore(points)
    assert curve.at(8) <= 8 * 8 * 12.0
