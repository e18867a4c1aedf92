"""Speeds computed from arrival times."""

import pytest

from bench.arrivals import Arrival, decode_tokens_per_s
from bench.errors import BenchError

MS = 1_000_000


def stream(*, start_ms: int, step_ms: int, tokens: int) -> list[Arrival]:
    return [
        Arrival(at_ns=(start_ms + step_ms * index) * MS, tokens=index + 1)
        for index in range(tokens)
    ]


def test_one_stream_is_as_fast_as_its_steps() -> None:
    assert decode_tokens_per_s([stream(start_ms=500, step_ms=20, tokens=64)]) == pytest.approx(50)


def test_prompts_of_other_streams_are_not_in_the_speed() -> None:
    early = stream(start_ms=0, step_ms=1000, tokens=3) + [
        Arrival(at_ns=(2000 + 20 * index) * MS, tokens=3 + index) for index in range(1, 60)
    ]
    late = stream(start_ms=2000, step_ms=20, tokens=60)

    assert decode_tokens_per_s([early, late]) == pytest.approx(100)


def test_the_edges_of_the_window_cost_nothing() -> None:
    streams = [stream(start_ms=offset, step_ms=100, tokens=5) for offset in (0, 1, 2, 3)]

    assert decode_tokens_per_s(streams) == pytest.approx(40)


def test_text_that_is_held_back_counts_when_it_comes() -> None:
    held = [Arrival(at_ns=at * MS, tokens=so_far) for at, so_far in ((0, 1), (40, 3), (60, 4))]

    assert decode_tokens_per_s([held]) == pytest.approx(50)


@pytest.mark.parametrize(
    "streams",
    [
        [],
        [[]],
        [stream(start_ms=0, step_ms=10, tokens=1)],
        [stream(start_ms=0, step_ms=10, tokens=5), stream(start_ms=90, step_ms=10, tokens=5)],
    ],
    ids=["no stream", "no token", "one token", "one after the other"],
)
def test_streams_that_do_not_decode_together_have_no_speed(streams: list[list[Arrival]]) -> None:
    with pytest.raises(BenchError):
        decode_tokens_per_s(streams)
