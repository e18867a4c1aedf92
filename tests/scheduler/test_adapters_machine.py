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
from umad.scheduler import Submission
from umad.session_names import kept_name
from umad.step import StepPlan


class AdapterMachine(SchedulerMachine):
    """Random traffic of clients with no adapter, with one of two, or with an activated one."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen = 0
        self.invocation = 0

    @rule(chosen=st.integers(0, 2), invocation=st.sampled_from([0, 0, 5, 20, 33]))
    def clients_choose(self, chosen: int, invocation: int) -> None:
        """What those ask for who come from now on. invocation: 0 for an adapter that acts on all
        of a prompt."""
        self.chosen, self.invocation = chosen, invocation

    @override
    def under_adapters(self, admission: Submission, client: Client) -> Submission:
        if not self.chosen:
            return admission
        client.under = self.chosen
        client.invoked_at = min(self.invocation, admission.n_prompt - 1)
        key = str(self.chosen)
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


TestAdapters = AdapterMachine.TestCase
TestAdapters.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
