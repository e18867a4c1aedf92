"""In how many slices a newcomer's prompt is read beside running streams."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.fake_device import Bench, device_ms
from umad.config import SchedulerSettings
from umad.scheduler.steps.patience import GAP_MS, MOST_LONGER, NEARLY, Patience


def cut(n_prompt: int, n_tokens: int) -> list[int]:
    """The slices of a prompt."""
    whole, rest = divmod(n_prompt, n_tokens)
    return [n_tokens] * whole + [rest] * bool(rest)


def _some(most: int) -> list[int]:
    """Sizes up to `most`: all small ones, and every eighth of the large ones."""
    return [*range(1, min(most, 64) + 1), *range(64, most + 1, 8)]


def felt_ms(slices: list[int], *, n_rows: int, n_waiting: int, solo_ms: float, ms: float) -> float:
    """What newcomers and readers wait for these slices, at `ms` for a token."""
    first_ms = sum(solo_ms + ms * n for n in slices)
    gaps_ms = sum(((solo_ms + ms * n) ** 2 - solo_ms**2) / GAP_MS for n in slices)
    return n_waiting * first_ms + n_rows * gaps_ms


@settings(deadline=None)
@given(
    n_prompt=st.integers(1, 1_000),
    n_rows=st.integers(1, 16),
    n_waiting=st.integers(1, 8),
    solo_ms=st.floats(2.0, 400.0),
    ms=st.floats(0.05, 60.0),
    n_most=st.integers(1, 512),
)
def test_no_size_would_be_much_better(
    n_prompt: int, n_rows: int, n_waiting: int, solo_ms: float, ms: float, n_most: int
) -> None:
    n_tokens = Patience(200.0).slice_tokens(
        [n_prompt] * n_waiting,
        n_rows=n_rows,
        solo_ms=solo_ms,
        n_most=n_most,
        extra_ms=lambda n: ms * n,
    )

    assert 1 <= n_tokens <= n_most

    def felt(n: int) -> float:
        slices = cut(n_prompt, n)
        return felt_ms(slices, n_rows=n_rows, n_waiting=n_waiting, solo_ms=solo_ms, ms=ms)

    chosen_ms = felt(min(n_tokens, n_prompt))
    best_ms = min(felt(n) for n in _some(min(n_prompt, n_most)))
    # Whole tiles cost a little more here, where a token costs the same wherever it stands.
    assert chosen_ms <= MOST_LONGER * NEARLY * best_ms


@given(
    n_rows=st.integers(1, 64), solo_ms=st.floats(0.1, 5_000.0), newcomer_ms=st.floats(1.0, 1_000.0)
)
def test_a_slice_is_bounded_by_the_setting_or_by_the_streams_own_pace(
    n_rows: int, solo_ms: float, newcomer_ms: float
) -> None:
    patience = Patience(newcomer_ms)

    most_ms = patience.most_ms(n_rows, solo_ms)

    assert most_ms > 0
    assert solo_ms + most_ms <= max(newcomer_ms, solo_ms + math.sqrt(solo_ms * GAP_MS)) + 1e-6


@pytest.mark.parametrize("n_streams", [1, 2, 3])
def test_a_short_prompt_is_read_in_two_or_three_steps(n_streams: int) -> None:
    bench = Bench()
    for rid in range(n_streams):
        bench.arrive(100 + rid, 20, 400, app=f"app{rid}")
    bench.run(6)

    bench.arrive(1, 40, 4, app="editor")
    plans = []
    while not bench.tokens[1]:
        plans.append(bench.step())

    assert len(plans) in (2, 3)
    assert all(device_ms(plan) <= bench.settings.newcomer_ms for plan in plans)


def test_what_is_left_of_a_prompt_is_read_at_once_where_that_takes_a_few_milliseconds() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(4, 8, 4, app="editor")
    bench.step()

    assert bench.tokens[4] == 1


def first_token_ms(newcomer_ms: float) -> float:
    bench = Bench(settings=SchedulerSettings(newcomer_ms=newcomer_ms))
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)
    came_ns = bench.now_ns
    bench.arrive(4, 60, 4, app="editor")
    while not bench.tokens[4]:
        bench.step()
    return (bench.now_ns - came_ns) / 1e6


def test_who_lets_streams_wait_longer_has_first_tokens_sooner() -> None:
    times = [first_token_ms(newcomer_ms) for newcomer_ms in (60.0, 120.0, 200.0, 1_000.0)]

    assert times == sorted(times, reverse=True)
    assert times[-1] < times[0]


def test_a_step_that_is_full_of_streams_has_no_slice() -> None:
    bench = Bench(batch_tokens=4)
    for rid in range(1, 5):
        bench.arrive(rid, 3, 40, app=f"app{rid}")
    while len([rid for rid in bench.tokens if bench.tokens[rid]]) < 4:
        bench.step()

    bench.arrive(9, 3, 4, app="editor")

    assert bench.step().n_rows <= 4
