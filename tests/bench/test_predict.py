"""What the guard keeps to on the machines that are only known by their figures."""

import pytest

from bench.predict import MACHINES, Machine, predict
from umad.step import DecodeSlice, StepPlan


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_the_guard_holds_on_a_machine_that_is_bound_by_bandwidth(machine: Machine) -> None:
    found = predict(machine, steps=1500)

    assert found.p95 <= 1.2 * 1.02
    assert found.p99 <= 2.0
    assert found.longest <= 3.0
    assert found.beside_per_s > 0.4 * found.alone_per_s, "rows beside are nearly free there"


def test_a_row_costs_what_reading_the_weights_costs() -> None:
    (machine,) = [one for one in MACHINES if one.name == "Apple M4"]
    row = DecodeSlice(rid=1, seq=0, position=0, token=1)

    took_ms = machine.step_ms(StepPlan(decode=(row,), n_cells_read=1))

    assert 1e3 / took_ms == pytest.approx(20.87, rel=0.05), "tokens a second as published"
