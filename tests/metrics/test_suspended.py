"""Figures of a model whose engine was suspended and started again."""

from tests.metrics.machine import Machine


def test_counters_of_the_next_engine_begin_at_zero_and_no_restart_is_counted() -> None:
    machine = Machine()
    machine.step(totals={"sampled": 40, "prompt_tokens": 100, "cached_tokens": 50})
    machine.wait(10)

    machine._totals = dict.fromkeys(machine._totals, 0)
    machine.card.engine_suspended("m")
    machine.step(totals={"sampled": 10, "prompt_tokens": 100, "cached_tokens": 100})

    seen = machine.read()
    assert seen["restarts"] == 0
    assert seen["prefix_hit_ratio"] == 150 / 200
