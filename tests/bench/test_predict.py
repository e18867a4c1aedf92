"""The guard on simulated machines, under both assumptions about what more rows cost."""

import dataclasses

import pytest

from bench.predict import FEW_ROWS, MACHINES, NOISE, STREAMS, Machine, predict
from umad.config import Settings


def test_where_rows_are_free_a_few_more_cost_nothing_and_where_not_each_one_costs() -> None:
    free = MACHINES[0]
    dear = dataclasses.replace(free, rows_are_free=False)

    assert free.shape_ms(FEW_ROWS) == pytest.approx(free.shape_ms(1), rel=0.01)
    costs = [dear.shape_ms(n) for n in range(1, 600)]
    assert costs == sorted(costs)
    assert dear.shape_ms(FEW_ROWS) > 2.5 * dear.shape_ms(1)


@pytest.mark.parametrize("are_free", [True, False])
@pytest.mark.parametrize("machine", MACHINES[1:4], ids=lambda one: one.name)
def test_the_guard_holds_whether_rows_are_free_or_not(machine: Machine, are_free: bool) -> None:
    assumed = dataclasses.replace(machine, rows_are_free=are_free)

    found = predict(assumed, steps=400)

    assert found.p95 <= Settings().latency_cap * (1 + NOISE)
    assert found.beside_per_s > 0, f"{STREAMS} streams leave background work its floor"
