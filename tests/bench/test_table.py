"""Ratios and spread of interleaved measurements; the figures read from batched-bench."""

import pytest

from bench import bare
from bench.errors import BenchError
from bench.table import Comparison, Spread

COMPARISON = Comparison(
    kind="speed",
    title="Decode speed",
    unit="tokens/s",
    condition="streams",
    baseline="bare",
    samples={"4": {"bare": [100.0, 50.0, 80.0], "umad": [98.0, 49.0, 80.0]}},
)


def test_ratios_are_taken_within_each_repetition() -> None:
    ratio = COMPARISON.ratio("4", "umad")

    assert ratio == Spread(median=0.98, low=0.98, high=1.0)


def test_the_baseline_has_no_ratio_to_itself() -> None:
    assert COMPARISON.ratio("4", "bare") is None


def test_the_speed_of_the_asked_for_streams_is_read() -> None:
    output = 'log line\n{"pl": 1, "speed_tg": 45.3}\n{"pl": 4, "speed_tg": 78.1}\n'

    assert bare.speed_in(output, streams=4) == pytest.approx(78.1)


def test_a_missing_line_is_an_error() -> None:
    with pytest.raises(BenchError, match="8 streams"):
        bare.speed_in('{"pl": 1, "speed_tg": 45.3}\n', streams=8)
