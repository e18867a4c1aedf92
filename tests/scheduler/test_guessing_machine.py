"""The scheduler driven at random, with guesses of next tokens in its steps.

Its model repeats itself often and departs from that now and then. So guesses hold, hold in part,
and fail, while requests come, are cancelled, stall, are preempted, parked and cut.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from typing_extensions import override

from tests.scheduler import test_scheduler_machine
from tests.scheduler.test_scheduler_machine import SchedulerMachine
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.windows import Window
from umad.step import StepPlan


def repeating(seen: list[int]) -> int:
    """Mostly what stood six tokens ago."""
    hashed = (sum((i + 1) * t for i, t in enumerate(seen)) * 2654435761 + 1) % 4999
    return seen[-6] if len(seen) >= 6 and hashed % 8 else hashed % 50


# So slow that a step with guesses takes more than a fifth of a second.
SLOW = (150.0, 20.0)


class GuessingMachine(SchedulerMachine):
    """A device on which further rows cost next to nothing, so guesses are worth their rows."""

    speculates = True
    # Of a step with no rows, and of each row. Where a step takes long, an arrival may cut it.
    step_ms, row_ms = 10.0, 0.1

    @initialize(skip_ms=st.sampled_from([0.0, 0.02]), window=st.none(), is_slow=st.booleans())
    @override
    def on_some_machine(self, skip_ms: float, window: Window | None, is_slow: bool = False) -> None:
        self.skip_ms = skip_ms
        if is_slow:
            self.step_ms, self.row_ms = SLOW
        self.start({})

    @override
    def next_token(self, seen: list[int]) -> int:
        return repeating(seen)

    @override
    def expected(self, client: test_scheduler_machine.Client) -> list[int]:
        tokens = list(client.prompt)
        for _ in range(client.wanted):
            tokens.append(repeating(tokens))
        return tokens[len(client.prompt) :]

    @override
    def cost(self) -> CostModel:
        cost = CostModel()
        cost.learn_all([(n, 0, self.step_ms + self.row_ms * n) for n in (1, 2, 4, 8, 16, 24)])
        return cost

    @override
    def device_ms(self, plan: StepPlan) -> float:
        return self.step_ms + self.row_ms * plan.n_rows

    @rule()
    def a_repetitive_text_is_written_alone(self) -> None:
        if len(self.live) < 2:
            self.submit([1, 2, 3, 4, 5, 6] * 3, 40, "interactive", "editor", None)
            self.steps(25, "done")


TestGuessing = GuessingMachine.TestCase
TestGuessing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_machine_cuts_steps_of_interactive_guesses() -> None:
    machine = GuessingMachine()
    machine.step_ms, machine.row_ms = SLOW
    machine.start({})
    machine.submit([1, 2, 3, 4, 5, 6] * 3, 90, "interactive", "editor", None)

    plans = [machine.step("cut" if at % 2 else "done") for at in range(80)]

    assert any(plan.cuttable and plan.guesses and not plan.background for plan in plans)
    machine.steps(90, "done")
    assert not machine.live, "the answer was right"


def test_the_machine_verifies_guesses_and_some_of_them_fail() -> None:
    machine = GuessingMachine()
    machine.submit([1, 2, 3, 4, 5, 6] * 3, 90, "interactive", "editor", None)

    plans = [machine.step() for _ in range(80)]

    n_guesses = sum(plan.n_guesses for plan in plans)
    n_accepted = machine.scheduler.snapshot().guessed.accepted_total
    assert 0 < n_accepted < n_guesses
    assert not machine.live, "the answer was right"
