"""What copies teach about the copies to come."""

import pytest

from umad.scheduler.costs.copy_cost import CopyCost
from umad.scheduler.costs.step_cost import CostModel

MB = 1_000_000


def fresh() -> CopyCost:
    return CopyCost(CostModel(prefill_ms_per_token=0.1), cell_bytes=1000.0, batch_tokens=256)


def test_a_large_copy_teaches_its_rate() -> None:
    copying = fresh()

    copying.learn(10 * MB, 1.0)

    assert copying.bytes_ms(10 * MB) == pytest.approx(1.0)


def test_a_copy_of_a_kilobyte_teaches_nothing_about_large_ones() -> None:
    copying = fresh()
    before = copying.bytes_ms(MB)

    copying.learn(1100, 0.3)

    assert copying.bytes_ms(MB) == before
    assert copying.is_worth_parking(3000)


def test_a_first_copy_that_was_interrupted_forbids_no_copies() -> None:
    copying = fresh()

    copying.learn(200_000, 20.0)

    assert copying.is_worth_parking(500)
