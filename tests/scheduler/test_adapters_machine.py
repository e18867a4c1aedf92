"""Requests under different adapters, driven at random on `FakeCells` and `FakeDisk`.

A cell remembers what it was computed under. So a row that sees a cell of other adapters, or of an
activated adapter before its invocation, brings another token than it should.
"""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from typing_extensions import override

from tests.scheduler.fake_cells import ADAPTED
from tests.scheduler.test_scheduler_machine import Client, SchedulerMachine, next_token
from tests.scheduler.test_states_machine import StatesMachine
from umad.scheduler import Submission
from umad.session_names import kept_name
from umad.step import StepPlan


class AdapterMachine(SchedulerMachine):
    """Random traffic of clients with no adapter, with one of two, or with an activated one."""

    def __init__(self) -> None:
        super().__init__()
        # What the next request asks for: the number of its adapter, or 0; and the token from which
        # on it acts.
        self.wishes = [(0, 0)]

    @rule(
        wishes=st.lists(
            st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 17, 20, 33])),
            min_size=1,
            max_size=4,
        )
    )
    def clients_choose(self, wishes: list[tuple[int, int]]) -> None:
        """What those ask for, in turn, who come from now on."""
        self.wishes = wishes

    @rule(
        seed=st.integers(0, 3),
        size=st.integers(20, 70),
        first=st.integers(0, 3),
        invocation=st.sampled_from([17, 20, 33]),
        lane=st.sampled_from(["interactive", "background"]),
        n=st.integers(1, 12),
    )
    def the_same_is_asked_under_several(
        self, seed: int, size: int, first: int, invocation: int, lane: str, n: int
    ) -> None:
        """One prompt, with no adapter, with two, and with one that is activated."""
        wishes = [(0, 0), (1, 0), (2, 0), (1, invocation)]
        known = [(seed + i * i) % 50 for i in range(size)]
        for at in range(4):
            self.wishes = [wishes[(first + at) % 4]]
            self.submit([*known, 7, at], 3, lane, "chat", None)
            self.steps(n, "done")

    @override
    def under_adapters(self, admission: Submission, client: Client) -> Submission:
        number, invocation = self.wishes[admission.rid % len(self.wishes)]
        if not number:
            return admission
        client.under = number
        client.invoked_at = min(invocation, admission.n_prompt - 1)
        key = str(number)
        session = None if client.invoked_at else kept_name(admission.session, key)
        return replace(admission, adapters=key, invoked_at=client.invoked_at, session=session)

    @override
    def under(self, plan: StepPlan) -> int:
        return ADAPTED * int(plan.adapters or 0)

    @override
    def expected(self, client: Client) -> list[int]:
        seen = [
            token + ADAPTED * client.under * (at >= client.invoked_at)
            for at, token in enumerate(client.prompt)
        ]
        out: list[int] = []
        for _ in range(client.wanted):
            out.append(next_token(seen))
            seen.append(out[-1] + ADAPTED * client.under)
        return out


class AdapterStatesMachine(AdapterMachine, StatesMachine):
    """The same on a model whose sequences have states: a state is that of adapters, too."""


TestAdapters = AdapterMachine.TestCase
TestAdapters.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestAdaptersAndStates = AdapterStatesMachine.TestCase
TestAdaptersAndStates.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
