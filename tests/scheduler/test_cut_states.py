"""Whether a step may be cut where a cut spoils a recurrent state: the save before it must pay."""

from dataclasses import dataclass
from typing import Literal

import pytest

from tests.scheduler.fake_device import Bench, device_ms
from umad.config import SchedulerSettings
from umad.scheduler.steps.cut_cost import MOST_SHARE
from umad.step import StepPlan, StepResult

SAVE_MS = 5.0


@dataclass
class StatesBench(Bench):
    """A model with recurrent layers."""

    shares_at: Literal["anywhere", "states"] = "states"
    cut_save_ms: float | None = SAVE_MS


def is_short(bench: Bench, plan: StepPlan) -> bool:
    return device_ms(plan) <= 1.2 * bench.settings.slice_ms


@pytest.mark.parametrize("lane", ["interactive", "background"])
def test_a_prompt_alone_is_read_in_long_slices_whose_state_is_saved(lane: str) -> None:
    bench = StatesBench()
    bench.arrive(1, 2000, 5, lane=lane, app="agent")

    plans = bench.run(6)

    assert all(plan.cuttable and plan.saves_state for plan in plans)
    assert all(MOST_SHARE * plan.predicted_ms >= SAVE_MS for plan in plans[1:])
    assert not any(is_short(bench, plan) for plan in plans[2:])


@pytest.mark.parametrize("lane", ["interactive", "background"])
def test_a_save_that_would_cost_more_than_it_is_worth_is_left_out(lane: str) -> None:
    bench = StatesBench(cut_save_ms=10_000.0)
    bench.arrive(1, 2000, 5, lane=lane, app="agent")
    bench.run(1)  # an empty sequence has nothing to save

    plans = bench.run(6)

    assert not any(plan.cuttable or plan.saves_state for plan in plans)
    assert all(is_short(bench, plan) for plan in plans)


@pytest.mark.parametrize("lane", ["interactive", "background"])
def test_where_states_cannot_be_saved_no_step_is_cut(lane: str) -> None:
    bench = StatesBench(cut_save_ms=None)
    bench.arrive(1, 2000, 5, lane=lane, app="agent")

    plans = bench.run(6)

    assert not any(plan.cuttable or plan.saves_state for plan in plans)
    assert all(is_short(bench, plan) for plan in plans)


def test_a_model_that_a_cut_does_not_spoil_saves_nothing() -> None:
    bench = Bench()
    bench.arrive(1, 2000, 5, app="agent")

    plans = bench.run(5)

    assert all(plan.cuttable and not plan.saves_state for plan in plans)


def test_a_large_state_is_saved_before_steps_that_are_so_much_longer() -> None:
    bench = StatesBench(cut_save_ms=80.0, batch_tokens=2048, n_cells=2**15)
    bench.arrive(1, 12_000, 5, app="agent")
    bench.run(1)

    plans = bench.run(4)

    assert all(plan.cuttable and plan.saves_state for plan in plans)
    assert all(MOST_SHARE * plan.predicted_ms >= 80.0 for plan in plans)


def test_steps_of_several_sequences_are_short_and_not_cut() -> None:
    """llama.cpp moves the states of others while it computes several."""
    bench = StatesBench()
    bench.arrive(1, 60, 200, lane="background", app="one")
    while not bench.tokens[1]:
        bench.step()
    bench.arrive(2, 2000, 5, lane="background", app="two")

    plans = bench.run(20)

    assert all(len(plan.decode) == 1 and plan.prefill for plan in plans)
    assert not any(plan.cuttable or plan.saves_state for plan in plans)
    # A token of a running stream is in each.
    assert all(device_ms(plan) <= 1.5 * bench.settings.slice_ms for plan in plans)


def test_of_several_background_prompts_the_first_has_long_steps_to_itself() -> None:
    bench = StatesBench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 1500, 5, lane="background", app="batch")
    bench.run(2)

    plans = bench.run(4)

    assert all(len(plan.prefill) == 1 for plan in plans)
    assert all(plan.cuttable and plan.saves_state for plan in plans)


def test_short_background_prompts_share_a_step_as_before() -> None:
    bench = StatesBench()
    for rid in range(1, 9):
        bench.arrive(rid, 2, 5, lane="background", app="batch")

    plan = bench.step()

    assert len(plan.prefill) > 1
    assert not plan.saves_state


def test_what_was_cut_is_computed_again_from_where_it_was() -> None:
    bench = StatesBench()
    bench.arrive(1, 1000, 5, app="agent")
    bench.run(2)
    reached = sum(plan.n_rows for plan in bench.plans)
    bench.cut_next(after_ms=10.0)

    while 1 not in bench.ended:
        bench.step()

    starts = [piece.start for plan in bench.plans for piece in plan.prefill]
    assert starts[2] == reached
    assert sum(piece.n_tokens for plan in bench.plans for piece in plan.prefill) == 1000


def test_a_sequence_that_a_cut_has_emptied_is_computed_from_its_first_token() -> None:
    bench = StatesBench()
    bench.arrive(1, 1000, 5, app="agent")
    bench.run(3)
    plan = bench.scheduler.plan(bench.now_ns)
    (piece,) = plan.prefill
    assert piece.start > 0

    emptied = StepResult(outcome="cut", device_ms=9.0, seq_lengths=((piece.seq, 0),))
    bench.scheduler.apply(plan, emptied, bench.now_ns)
    del bench.plans[:]
    while 1 not in bench.ended:
        bench.step()

    read = [one for plan in bench.plans for one in plan.prefill]
    assert read[0].start == 0
    assert sum(one.n_tokens for one in read) == 1000
    assert bench.tokens[1] == 5


def test_a_save_teaches_nothing_about_the_cost_of_steps() -> None:
    taught = []
    for save_ms in (0.5, SAVE_MS):
        bench = StatesBench(cut_save_ms=save_ms)
        bench.arrive(1, 3000, 5, app="agent")
        bench.run(8)
        taught.append([plan.predicted_ms / device_ms(plan) for plan in bench.plans])

    assert taught[0] == pytest.approx(taught[1], rel=0.05)


@pytest.mark.parametrize("lane", ["interactive", "background"])
@pytest.mark.parametrize("cut_save_ms", [None, SAVE_MS, 0.01])
def test_on_a_machine_where_one_token_takes_longer_than_a_slice_may_prompts_are_read(
    cut_save_ms: float | None, lane: str
) -> None:
    bench = StatesBench(cut_save_ms=cut_save_ms, settings=SchedulerSettings(slice_ms=1.0))
    bench.arrive(1, 60, 2, lane=lane, app="agent")

    while 1 not in bench.ended:
        assert not bench.step().is_idle

    assert bench.tokens[1] == 2
