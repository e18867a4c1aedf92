"""The scheduler driven at random, with a draft model that guesses some of its tokens.

The draft reads as it is told, is right most of the time, forgets now and then, and sometimes has no
room. Requests come, are cancelled, stall, are preempted, parked and cut meanwhile.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from typing_extensions import override

from tests.scheduler.test_guessing_machine import GuessingMachine, repeating
from umad.draft_slices import DraftCall, DraftDone, Drafted, DraftOrder
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.speculation.drafting import DraftShape
from umad.step import StepPlan


class DraftingMachine(GuessingMachine):
    """A device whose draft costs a tenth of a step."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.n_drafted = 0
        self.has_room = True
        super().__init__()

    @override
    def draft(self) -> DraftShape:
        cost = CostModel()
        cost.learn_all([(n, 0, 1.0) for n in (1, 2, 4, 8)])
        cost.learn_all([(0, n, 0.01 * n) for n in (4, 16, 64)])
        return DraftShape(cost=cost, batch_tokens=16)

    @override
    def completed(self, plan: StepPlan) -> StepPlan:
        if not plan.drafts:
            return plan
        assert not plan.prefill
        assert self.scheduler.speculator is not None
        drafted = tuple(self.drafted(order) for order in plan.drafts)
        calls = (DraftCall(len(drafted), 10, 0, 0, 1.0),)
        done = DraftDone(drafted=drafted, calls=calls, ms=1.0, bytes_moved=1)
        full = self.scheduler.speculator.with_drafted(plan, done)
        assert not full.drafts
        self.n_drafted += sum(len(one.tokens) for one in full.guesses if one.drafted)
        return full

    def drafted(self, order: DraftOrder) -> Drafted:
        if not self.has_room:
            return Drafted(order.rid, -1)
        known = order.tokens.tolist()
        held = min(self.held.get(order.rid, 0), len(known) - 1)
        guesses: list[int] = []
        if not order.n_guesses:
            held += min(order.most_read, len(known) - 1 - held)
        elif len(known) - held <= order.most_read:
            for _ in range(order.n_guesses):
                right = repeating([*known, *guesses])
                guesses.append(right if (right + len(known)) % 7 else 49)
            held = len(known)
        self.held[order.rid] = held
        return Drafted(order.rid, held, tuple(guesses))

    @rule()
    def the_draft_forgets(self) -> None:
        self.held.clear()

    @rule(has_room=st.booleans())
    def the_draft_has_room_or_none(self, has_room: bool) -> None:
        self.has_room = has_room


TestDrafting = DraftingMachine.TestCase
TestDrafting.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_the_machine_drafts() -> None:
    machine = DraftingMachine()
    machine.submit(list(range(20)), 90, "interactive", "editor", None)

    for _ in range(80):
        machine.step()

    assert machine.n_drafted > 0
    assert not machine.live, "the answer was right"
