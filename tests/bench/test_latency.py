"""What clients felt, computed by hand from when their tokens came."""

import pytest

from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.latency import (
    Felt,
    Trace,
    felt,
    first_token_ms,
    left_idle,
    percentile,
    prompt_tokens_per_s,
    since,
)

MS = 1_000_000
SECOND = 1000 * MS


def trace(
    sent_ms: int, times_ms: list[int], *, tokens: list[int] | None = None, ended: bool = True
) -> Trace:
    counts = tokens or list(range(1, len(times_ms) + 1))
    return Trace(
        sent_ns=sent_ms * MS,
        arrivals=tuple(
            Arrival(at_ns=at * MS, tokens=so_far)
            for at, so_far in zip(times_ms, counts, strict=True)
        ),
        ended=ended,
    )


def of(*traces: Trace, closed_ms: int = 1000) -> Felt:
    return felt(traces, opened_ns=0, closed_ns=closed_ms * MS)


def test_figures_of_two_streams_are_those_computed_by_hand() -> None:
    # Waits 10, 20, 30 and 40, 100; first tokens after 50 and 70.
    figures = of(trace(0, [50, 60, 80, 110]), trace(100, [170, 210, 310]))

    assert figures == Felt(
        p50_ms=30,
        p95_ms=100,
        p99_ms=100,
        longest_ms=100,
        first_token_p50_ms=50,
        first_token_p95_ms=70,
        tokens_per_s=7,
    )


def test_thinking_between_two_requests_is_no_wait() -> None:
    figures = of(trace(0, [10, 20]), trace(520, [530, 540]))

    assert figures.longest_ms == 10


def test_tokens_that_come_in_one_message_end_one_wait() -> None:
    figures = of(trace(0, [10, 110, 120], tokens=[1, 8, 9]))

    assert (figures.p50_ms, figures.longest_ms) == (10, 100)
    assert figures.tokens_per_s == 9


def test_messages_read_at_one_moment_end_one_wait() -> None:
    figures = of(trace(0, [10, 60, 60, 60]))

    assert figures.p50_ms == 50


def test_a_stall_that_outlasts_the_window_is_in_the_figures() -> None:
    figures = of(trace(0, [10, 20, 30, 40], ended=False))

    assert figures.longest_ms == 960
    assert figures.p50_ms == 10


def test_a_short_wait_that_the_window_cut_off_says_nothing() -> None:
    figures = of(trace(0, [10, 20, 40], ended=False), closed_ms=41)

    assert (figures.p50_ms, figures.longest_ms) == (10, 20)


def test_a_request_that_never_got_a_token_counts_as_long_as_it_waited() -> None:
    figures = of(trace(0, [10, 20]), trace(100, [], ended=False))

    assert (figures.first_token_p50_ms, figures.first_token_p95_ms) == (10, 900)


def test_a_window_without_a_wait_has_no_figures() -> None:
    with pytest.raises(BenchError, match="--seconds"):
        of(trace(0, [10]))


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundred = [float(value) for value in range(1, 101)]

    assert [percentile(hundred, percent) for percent in (50, 95, 99)] == [50, 95, 99]
    assert percentile([7.0], 99) == 7


def test_a_first_token_that_never_came_is_an_error() -> None:
    assert first_token_ms(trace(20, [50, 60])) == 30
    with pytest.raises(BenchError):
        first_token_ms(trace(20, []))


def test_prompt_tokens_count_as_far_as_they_were_told() -> None:
    done = Trace(sent_ns=0, prompt=(Arrival(at_ns=1, tokens=2048), Arrival(at_ns=2, tokens=2700)))
    begun = Trace(sent_ns=3, prompt=(Arrival(at_ns=4, tokens=300),), ended=False)
    untold = Trace(sent_ns=5, ended=False)

    speed = prompt_tokens_per_s([done, begun, untold], opened_ns=0, closed_ns=2 * SECOND)

    assert speed == 1500


def test_where_nobody_got_a_second_token_the_wait_for_the_first_is_what_was_felt() -> None:
    figures = of(trace(0, [], ended=False), trace(400, [], ended=False))

    assert figures.longest_ms == figures.first_token_p95_ms == 1000
    assert figures.tokens_per_s == 0


@pytest.mark.parametrize(
    ("traces", "share"),
    [
        pytest.param([], 1.0, id="nobody came"),
        pytest.param([trace(100, [150, 300]), trace(600, [700])], 0.7, id="two after each other"),
        pytest.param([trace(600, [700]), trace(100, [650])], 0.4, id="two that overlap"),
        pytest.param([trace(0, [900]), trace(100, [300])], 0.1, id="one within another"),
        pytest.param([trace(500, [600], ended=False)], 0.5, id="one that runs when it closes"),
        pytest.param([trace(500, [])], 0.5, id="one without a token"),
    ],
)
def test_time_without_a_request_is_what_the_clients_leave(
    traces: list[Trace], share: float
) -> None:
    assert left_idle(traces, opened_ns=0, closed_ns=SECOND) == pytest.approx(share)


def test_of_an_answer_that_began_earlier_only_the_window_counts_with_the_wait_that_was_open() -> (
    None
):
    whole = trace(0, [50, 60, 100, 110], ended=False)

    inside = since(whole, 70 * MS)

    figures = felt([inside], opened_ns=70 * MS, closed_ns=170 * MS)
    assert figures.longest_ms == 60, "it has no token since 110"
    assert figures.p50_ms == 40, "from the token before the window on"
    assert figures.tokens_per_s == 20


def test_an_answer_without_a_token_in_the_window_waited_for_all_of_it() -> None:
    inside = since(trace(0, [50, 60], ended=False), 70 * MS)

    assert felt([inside], opened_ns=70 * MS, closed_ns=170 * MS).longest_ms == 110
