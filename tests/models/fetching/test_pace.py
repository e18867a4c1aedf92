"""How fast a file comes, how long it takes, and how fast it may."""

import pytest

from umad.models.fetching.limits import FetchLimits, RateLimit
from umad.models.fetching.progress import Pace
from umad.units import NS_PER_S

MB = 10**6


def test_a_speed_is_that_of_the_last_ten_seconds() -> None:
    pace = Pace("model.gguf", 1000 * MB)
    for second in range(31):
        # 10 MB a second, then 20 MB a second.
        done = 10 * second if second <= 15 else 150 + 20 * (second - 15)
        told = pace.read(done * MB, second * NS_PER_S)

    assert told.bytes_per_s == pytest.approx(20 * MB)
    assert told.remaining_s == pytest.approx((1000 - 450) / 20)


def test_bytes_of_an_earlier_run_are_no_speed() -> None:
    pace = Pace("model.gguf", 1000 * MB)

    first = pace.read(900 * MB, 0)
    second = pace.read(910 * MB, NS_PER_S)

    assert (first.bytes_per_s, first.remaining_s) == (0.0, None)
    assert second.bytes_per_s == pytest.approx(10 * MB)


def test_a_line_that_stands_still_has_no_end_in_sight() -> None:
    pace = Pace("model.gguf", 1000 * MB)
    for second in range(30):
        told = pace.read(5 * MB, second * NS_PER_S)

    assert (told.bytes_per_s, told.remaining_s) == (0.0, None)


def test_a_whole_file_takes_no_longer() -> None:
    assert Pace("model.gguf", 5).read(5, 0).remaining_s == 0.0


def test_a_rate_is_kept_however_the_bytes_are_cut() -> None:
    rate = RateLimit(MB)
    now_ns = 0
    for n_bytes in [10_000, 250_000, 1, 500_000, 239_999]:
        now_ns += rate.take(n_bytes, now_ns)

    assert now_ns == pytest.approx(NS_PER_S)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    rate = RateLimit(MB)
    rate.take(1, 0)

    assert rate.take(MB, 60 * NS_PER_S) == pytest.approx(NS_PER_S)


def test_without_a_limit_nobody_waits() -> None:
    assert RateLimit(None).take(10**12, 0) == 0


@pytest.mark.parametrize(
    ("size_bytes", "piece_bytes"),
    [(0, 2**20), (8 * 2**20, 2**20), (10**9, 10**9 // 16), (10**11, 64 * 2**20)],
)
def test_pieces_are_as_large_as_a_file_allows(size_bytes: int, piece_bytes: int) -> None:
    assert FetchLimits().piece_bytes(size_bytes) == piece_bytes
