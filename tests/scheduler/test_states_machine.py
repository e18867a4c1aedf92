"""The scheduler on `FakeStates`, driven at random.

Whatever arrives, ends, fails, moves or crashes, a row must be computed on the state of exactly the
tokens before it. `make states-fuzz` runs 10,000 examples.
"""

import os

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from typing_extensions import override

from tests.scheduler.fake_cells import N_CELLS, FakeDisk, plain
from tests.scheduler.fake_states import STATE_SHAPES, FakeStates, Kind
from tests.scheduler.test_scheduler_machine import BATCH, LANES, SchedulerMachine
from umad.config import SchedulerSettings
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.memory.windows import Beginnings, Window
from umad.step import SeqPark, SeqRestore, StateLoad, StateSave, StepPlan, StepResult

WINDOWS = [Window(n_tokens=12), Window(n_tokens=16, in_chunks=True)]


class StatesMachine(SchedulerMachine):
    """Random traffic on a model whose sequences have states."""

    kind: Kind = "hybrid"
    max_seqs = 5
    byte_ms = 1e-4
    cut_save_ms: float | None = None
    slack = 0

    @override
    @initialize(
        window=st.sampled_from(WINDOWS),
        skip_ms=st.sampled_from([0.0, 0.02]),
        max_seqs=st.integers(1, 6),
        turn=st.integers(3, 40),
        byte_ms=st.sampled_from([1e-4, 0.01, 0.04]),
        cut_save_ms=st.sampled_from([0.01, 1.0, 8.0, None]),
        slack=st.sampled_from([0, 3, 30]),
    )
    def on_some_machine(
        self,
        window: Window,
        skip_ms: float,
        max_seqs: int,
        turn: int,
        byte_ms: float,
        cut_save_ms: float | None,
        slack: int,
    ) -> None:
        self.cut_save_ms, self.slack = cut_save_ms, slack
        self.skip_ms, self.max_seqs = skip_ms, max_seqs
        self.turn, self.byte_ms = turn, byte_ms
        self.window = window if self.kind == "window" else None
        self.start({})

    @override
    def start(self, files: dict[str, list[list[int]]]) -> None:
        states = self.cells.disk.states if files else {}
        self.cells = FakeStates(
            disk=FakeDisk(files=files, states=states),
            window=self.window,
            kind=self.kind,
            byte_ms=self.byte_ms,
            slack=self.slack,
            shape=STATE_SHAPES[self.kind],
        )
        beginnings = None
        if self.window is not None:
            beginnings = Beginnings(self.window, self.cells.begin_of)
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=N_CELLS,
                max_seqs=self.max_seqs,
                batch_tokens=BATCH,
                settings=SchedulerSettings(slice_ms=100.0),
                latency_cap=1.2,
                lanes=LANES,
                parking=STATE_SHAPES[self.kind],
                beginnings=beginnings,
                shares_at="states",
                cut_share=0.0,
                cut_save_ms=self.cut_save_ms,
                skip_ms=self.skip_ms,
                saved={
                    session: np.array(plain(slabs), dtype=np.int32)
                    for session, slabs in files.items()
                },
                saved_states={session: tuple(sorted(of)) for session, of in states.items()},
            )
        )

    @property
    @override
    def park_bytes(self) -> int:
        """Windows are copied with their states."""
        return self.cells.shape.capacity_bytes

    @override
    def marks(self, prompt: list[int]) -> tuple[int, ...]:
        """Its turns are all equally long; some prompts have none."""
        if len(prompt) % 3 == 0:
            return ()
        return tuple(range(self.turn, len(prompt), self.turn))

    @rule(
        saves=st.lists(st.booleans(), max_size=2),
        loads=st.lists(st.booleans(), max_size=2),
        parks=st.lists(st.booleans(), max_size=2),
        restores=st.lists(st.booleans(), max_size=3),
        undone=st.lists(st.booleans(), max_size=3),
    )
    def states_fail(
        self,
        saves: list[bool],
        loads: list[bool],
        parks: list[bool],
        restores: list[bool],
        undone: list[bool],
    ) -> None:
        self.cells.failing = {
            StateSave: saves,
            StateLoad: loads,
            SeqPark: parks,
            SeqRestore: restores,
            StepPlan: undone,
        }

    @precondition(lambda self: self.live)
    @rule()
    def no_memory(self) -> None:
        """llama.cpp finds no cells for a step, which it should."""
        plan = self.scheduler.plan(self.now_ns)
        house = self.cells.carry_out(plan)
        if plan.is_idle:
            self.scheduler.kept_house(plan, house, self.now_ns)
            return
        result = StepResult(outcome="no_memory", house=house)
        self.scheduler.apply(plan, result, self.now_ns)

    @rule(n=st.integers(2, 5), at=st.integers(1, 60), steps=st.integers(0, 6))
    def a_turn_is_answered_several_times(self, n: int, at: int, steps: int) -> None:
        """Some of them later than others."""
        prompt = [(at + i * i) % 50 for i in range(20 + at)]
        for _ in range(n):
            self.submit(prompt, 4, "interactive", "chat", None)
            self.steps(max(1, steps), "done")

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 1000))
    def stopped(self, which: int) -> None:
        """It ends, and what it has computed stays."""
        rid = sorted(self.live)[which % len(self.live)]
        self.scheduler.stop(rid)
        del self.live[rid]
        self.paused.discard(rid)

    @rule()
    def the_engine_crashes(self) -> None:
        """Its requests go on in a new one, with the tokens that they had."""
        self.start(self.cells.disk.files)
        self.paused.clear()
        for rid, client in self.live.items():
            tokens = [*client.prompt, *client.out]
            self.scheduler.submit(
                Submission(
                    rid=rid,
                    tokens=np.array(tokens, dtype=np.int32),
                    n_prompt=len(client.prompt),
                    max_new_tokens=client.wanted,
                    lane=client.lane,
                    app=client.app,
                    marks=self.marks(client.prompt),
                    adapters=str(client.under or ""),
                    invoked_at=client.invoked_at,
                ),
                self.now_ns,
            )

    @override
    def teardown(self) -> None:
        super().teardown()
        assert isinstance(self.cells, FakeStates)
        assert set(self.cells.checkpoints) == set(self.scheduler._checkpoints), "states leaked"


class RecurrentMachine(StatesMachine):
    """The same on a model that has states alone."""

    kind: Kind = "recurrent"


class WindowMachine(StatesMachine):
    """The same on a model with windows at their size."""

    kind: Kind = "window"


def examples(share: float) -> settings:
    """How many examples run of a machine that has so great a share of them."""
    every = int(os.environ.get("UMAD_STATES_EXAMPLES", "240"))
    return settings(max_examples=int(share * every), stateful_step_count=40, deadline=None)


TestHybrid = StatesMachine.TestCase
TestHybrid.settings = examples(0.5)
TestRecurrent = RecurrentMachine.TestCase
TestRecurrent.settings = examples(0.25)
TestWindow = WindowMachine.TestCase
TestWindow.settings = examples(0.25)
