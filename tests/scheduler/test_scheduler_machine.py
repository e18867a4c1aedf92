"""The scheduler on `FakeCells` and `FakeDisk`, driven at random.

Whatever arrives, ends, fails or moves, a row must be computed on exactly the tokens before it.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from tests.scheduler.fake_cells import N_CELLS, PARKING, FakeCells, FakeDisk, plain
from umad.config import LaneSettings, SchedulerSettings
from umad.errors import PromptTooLong
from umad.forgetting import ForgetScope
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.windows import Beginnings, Window
from umad.scheduler.speculation.drafting import DraftShape
from umad.step import Finished, Sampled, SeqPark, SeqRestore, StepPlan, StepResult, Verified

MAX_SEQS = 5
BATCH = 32
LANES = {
    "interactive": LaneSettings(priority=10),
    "agents": LaneSettings(priority=5),
    "background": LaneSettings(priority=1, floor=0.02),
}
STEP_NS = 50_000_000


def next_token(seen: list[int]) -> int:
    """A greedy model: the next token is a function of all before it."""
    return (sum((i + 1) * t for i, t in enumerate(seen)) * 2654435761 + 1) % 50


def undisturbed(prompt: list[int], n: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(n):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


@dataclass
class Client:
    prompt: list[int]
    wanted: int
    lane: str
    app: str
    # The number of its adapters, and the token from which on they act.
    under: int = 0
    invoked_at: int = 0
    out: list[int] = field(default_factory=list)


class SchedulerMachine(RuleBasedStateMachine):
    """Random traffic; every client checks what it gets against a run on its own."""

    speculates = False

    def __init__(self) -> None:
        super().__init__()
        self.skip_ms = 0.0
        self.window: Window | None = None
        self.start({})
        self.now_ns = 0
        self.next_rid = 0
        self.live: dict[int, Client] = {}
        self.paused: set[int] = set()
        self.history: list[list[int]] = [[]]

    @initialize(
        skip_ms=st.sampled_from([0.0, 0.02]),
        window=st.sampled_from([None, Window(n_tokens=12), Window(n_tokens=16, in_chunks=True)]),
    )
    def on_some_machine(self, skip_ms: float, window: Window | None) -> None:
        self.skip_ms = skip_ms
        self.window = window
        self.start({})

    def start(self, files: dict[str, list[list[int]]]) -> None:
        self.cells = FakeCells(disk=FakeDisk(files=files), window=self.window)
        beginnings, keeps = None, self.window is None
        if self.window is not None:
            # Their sequences are never parked, and so never saved.
            beginnings = Beginnings(self.window, self.cells.begin_of)
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=N_CELLS,
                max_seqs=MAX_SEQS,
                batch_tokens=BATCH,
                settings=SchedulerSettings(slice_ms=100.0),
                latency_cap=1.2,
                lanes=LANES,
                parking=PARKING if keeps else None,
                beginnings=beginnings,
                skip_ms=self.skip_ms,
                cost=self.cost(),
                speculates=self.speculates,
                draft=self.draft(),
                saved={
                    session: np.array(plain(slabs), dtype=np.int32)
                    for session, slabs in files.items()
                }
                if keeps
                else None,
            )
        )

    @precondition(lambda self: self.window is not None)
    @rule(
        size=st.integers(20, 70),
        cut=st.integers(0, 50),
        share=st.sampled_from([0.3, 0.9, 1.0]),
        n=st.integers(1, 3),
        steps=st.integers(1, 30),
    )
    def a_turn_is_edited(self, size: int, cut: int, share: float, n: int, steps: int) -> None:
        """Its beginning may be written over meanwhile. n: so many edit it at once."""
        known = [i * i % 50 for i in range(size)]
        self.submit(known, 4, "interactive", "chat", None)
        self.steps(steps, "done")
        self.cells.lose_beginnings(share)
        for at in range(n):
            self.submit([*known[: max(16, size - cut)], 7, at], 3, "interactive", "chat", None)
        self.steps(steps, "done")

    @rule(
        reuse=st.integers(0, 10),
        cut=st.integers(0, 40),
        tail=st.lists(st.integers(0, 49), min_size=1, max_size=60),
        wanted=st.integers(1, 40),
        lane=st.sampled_from(sorted(LANES)),
        app=st.sampled_from(["editor", "terminal", "batch"]),
        session=st.sampled_from([None, None, "a", "b"]),
    )
    def arrives(
        self,
        reuse: int,
        cut: int,
        tail: list[int],
        wanted: int,
        lane: str,
        app: str,
        session: str | None,
    ) -> None:
        known = self.history[reuse % len(self.history)]
        self.submit([*known[: max(0, len(known) - cut)], *tail], wanted, lane, app, session)

    def submit(
        self, prompt: list[int], wanted: int, lane: str, app: str, session: str | None
    ) -> None:
        self.next_rid += 1
        client = Client(prompt, wanted, lane, app)
        admission = self.under_adapters(
            Submission(
                rid=self.next_rid,
                tokens=np.array(prompt, dtype=np.int32),
                n_prompt=len(prompt),
                max_new_tokens=wanted,
                lane=lane,
                app=app,
                session=session,
                marks=self.marks(prompt),
                speculates=self.speculates,
            ),
            client,
        )
        if len(prompt) + wanted - 1 > N_CELLS:
            with pytest.raises(PromptTooLong):
                self.scheduler.submit(admission, self.now_ns)
            return
        self.scheduler.submit(admission, self.now_ns)
        self.live[self.next_rid] = client

    def under_adapters(self, admission: Submission, client: Client) -> Submission:
        """`admission`, with the adapters that the client asks for."""
        return admission

    def expected(self, client: Client) -> list[int]:
        """The answer that the client would have alone."""
        return undisturbed(client.prompt, client.wanted)

    def cost(self) -> CostModel | None:
        """What is known of the device; None for nothing."""
        return None

    def draft(self) -> DraftShape | None:
        """The draft model; None for none."""
        return None

    def completed(self, plan: StepPlan) -> StepPlan:
        """A plan with what the draft has guessed."""
        assert not plan.drafts
        return plan

    def device_ms(self, plan: StepPlan) -> float:
        """How long a step takes."""
        return plan.n_rows * 5.0

    def next_token(self, seen: list[int]) -> int:
        """The model."""
        return next_token(seen)

    def under(self, plan: StepPlan) -> int:
        """What the adapters of a step make of a token."""
        assert not plan.adapters
        return 0

    def marks(self, prompt: list[int]) -> tuple[int, ...]:
        """Where the prompt's turns end."""
        return ()

    @rule(
        seed=st.integers(0, 5),
        n=st.integers(3, 8),
        size=st.integers(30, 70),
        lane=st.sampled_from(sorted(LANES)),
    )
    def a_crowd_comes(self, seed: int, n: int, size: int, lane: str) -> None:
        """Conversations that together need several times the pool; the same ones come again."""
        for at in range(n):
            self.arrives(
                0, 1000, [(seed * 8 + at + i * i) % 50 for i in range(size)], 6, lane, "crowd", None
            )
            self.steps(at % 3 + 1, "done")

    @rule(which=st.integers(1, 5), lane=st.sampled_from(sorted(LANES)), n=st.integers(1, 20))
    def a_conversation_goes_on(self, which: int, lane: str, n: int) -> None:
        known = self.history[-which % len(self.history)]
        if len(known) < N_CELLS - 20:
            self.arrives(-which, 0, [7, 8, 9], 5, lane, "crowd", None)
            self.steps(n, "done")

    @rule(
        session=st.sampled_from(["a", "b"]),
        size=st.integers(20, 60),
        cut=st.integers(0, 30),
        fails=st.booleans(),
        restarts=st.booleans(),
    )
    def a_session_is_saved_and_goes_on(
        self, session: str, size: int, cut: int, fails: bool, restarts: bool
    ) -> None:
        self.submit([i * i % 50 for i in range(size)], 4, "interactive", "chat", session)
        for _ in range(3):
            self.steps(30, "done")
            self.disk_answers(1, fails=False)
        if restarts and not self.live:
            self.start(self.cells.disk.files)
        known = plain(self.cells.disk.files.get(session, []))
        if len(known) < N_CELLS - 20:
            self.submit([*known[: max(0, len(known) - cut)], 7, 8, 9], 4, "agents", "chat", session)
        self.steps(2, "done")
        self.disk_answers(1, fails=fails)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 1000))
    def cancelled(self, which: int) -> None:
        rid = sorted(self.live)[which % len(self.live)]
        finished = self.scheduler.cancel(rid)
        assert finished is not None
        assert finished.reason == "cancelled"
        assert self.scheduler.cancel(rid) is None, "a request ends once"
        del self.live[rid]
        self.paused.discard(rid)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 1000), lane=st.sampled_from(sorted(LANES)))
    def moves_lane(self, which: int, lane: str) -> None:
        self.scheduler.set_lane(sorted(self.live)[which % len(self.live)], lane)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 1000))
    def reader_stalls(self, which: int) -> None:
        rid = sorted(self.live)[which % len(self.live)]
        self.scheduler.pause(rid)
        self.paused.add(rid)

    @rule()
    def readers_catch_up(self) -> None:
        for rid in self.paused:
            self.scheduler.resume(rid)
        self.paused.clear()

    @rule(session=st.sampled_from(["a", "b", None]))
    def session_forgotten(self, session: str | None) -> None:
        self.scheduler.forget(ForgetScope(session=session))

    @property
    def park_bytes(self) -> int:
        """Host memory for copies. Here, cells of windows are never copied."""
        return self.cells.shape.capacity_bytes if self.window is None else 0

    @rule(share=st.sampled_from([0.0, 0.125, 0.5, 1.0]))
    def machine_is_short_of_memory(self, share: float) -> None:
        before_bytes = self.scheduler.snapshot().parked_bytes
        spared = self.scheduler.spare(share)
        kept_bytes = self.scheduler.snapshot().parked_bytes
        assert spared.freed_bytes == before_bytes - kept_bytes
        assert spared.kept_bytes == kept_bytes
        assert kept_bytes <= share * self.park_bytes + spared.over_bytes

    @rule(n=st.integers(1, 3), fails=st.booleans())
    def disk_answers(self, n: int, fails: bool) -> None:
        disk = self.cells.disk
        for _ in range(n):
            if disk.writing:
                report = disk.written(fails=fails)
                if report is not None:
                    self.scheduler.disk_done(report)
            if disk.reading:
                self.scheduler.disk_done(disk.read(self.cells, fails=fails))

    @rule(parks=st.lists(st.booleans(), max_size=2), restores=st.lists(st.booleans(), max_size=4))
    def copies_fail(self, parks: list[bool], restores: list[bool]) -> None:
        self.cells.failing = {SeqPark: parks, SeqRestore: restores}

    @rule(n=st.integers(1, 30), outcome=st.sampled_from(["done", "done", "done", "cut"]))
    def steps(self, n: int, outcome: str) -> None:
        for _ in range(n):
            self.step(outcome)

    def step(self, outcome: str = "done") -> StepPlan:
        plan = self.scheduler.plan(self.now_ns)
        house = self.cells.carry_out(plan)
        self.now_ns += STEP_NS
        if plan.is_idle:
            self.scheduler.kept_house(plan, house, self.now_ns)
            return plan
        plan = self.completed(plan)
        assert plan.n_rows <= BATCH
        under = self.under(plan)
        if outcome == "cut" and plan.cuttable:
            lengths = self.cells.cut(plan, under)
            self.scheduler.apply(
                plan,
                StepResult(outcome="cut", device_ms=9, seq_lengths=lengths, house=house),
                0,
            )
            return plan
        sampled = []
        for row in plan.decode:
            seen = self.cells.compute(row.seq, row.position, [row.token + under])
            sampled.append(Sampled(rid=row.rid, token=self.next_token(seen)))
        for piece in plan.prefill:
            tokens = [token + under for token in piece.tokens.tolist()]
            seen = self.cells.compute(piece.seq, piece.start, tokens)
            if piece.wants_logits:
                sampled.append(Sampled(rid=piece.rid, token=self.next_token(seen)))
        verified = self.verify(plan, sampled)
        for one in sampled:
            client = self.live[one.rid]
            assert one.rid not in self.paused, "a paused stream was served"
            client.out.append(one.token)
        result = StepResult(
            outcome="done",
            sampled=tuple(sampled),
            verified=verified,
            device_ms=self.device_ms(plan),
            felt_ms=self.device_ms(plan) if self.speculates else 0.0,
            house=house,
        )
        for finished in self.scheduler.apply(plan, result, self.now_ns):
            self.ended(finished)
        return plan

    def verify(self, plan: StepPlan, sampled: list[Sampled]) -> tuple[Verified, ...]:
        """Compute the guesses of a step; add the tokens that they brought to `sampled`."""
        verified: list[Verified] = []
        drawn = {one.rid: one for one in sampled}
        for piece in plan.guesses:
            assert self.speculates
            n_accepted, token = 0, drawn[piece.rid].token
            for at, guess in enumerate(piece.tokens):
                seen = self.cells.compute(piece.seq, piece.start + at, [guess])
                if n_accepted == at and token == guess:
                    n_accepted += 1
                    token = self.next_token(seen)
                    sampled.append(Sampled(rid=piece.rid, token=token))
            verified.append(Verified(rid=piece.rid, n_accepted=n_accepted))
        return tuple(verified)

    def ended(self, finished: Finished) -> None:
        client = self.live.pop(finished.rid)
        self.paused.discard(finished.rid)
        assert finished.reason == "length"
        assert finished.completion_tokens == client.wanted
        assert client.out == self.expected(client)
        self.history.append([*client.prompt, *client.out])
        del self.history[:-10]

    @invariant()
    def no_cell_is_lost_or_overbooked(self) -> None:
        plan_ops = self.scheduler._residency._ops
        snapshot = self.scheduler.snapshot()
        if not plan_ops:
            assert self.cells.used() == snapshot.cells_live + snapshot.cells_retained
        assert snapshot.cells_live + snapshot.cells_retained <= N_CELLS
        assert self.scheduler._residency._promised_cells >= 0
        assert snapshot.parked_bytes <= self.cells.shape.capacity_bytes
        assert self.cells.parked_bytes() <= self.cells.shape.capacity_bytes

    @override
    def teardown(self) -> None:
        """Everything that arrived ends, whatever happened before."""
        self.readers_catch_up()
        for _ in range(20_000):
            if not self.live:
                break
            self.step()
        assert not self.live, "a request starved"
        self.scheduler.forget(ForgetScope())
        self.step()
        while self.cells.disk.writing or self.cells.disk.reading:
            self.disk_answers(1, False)
        self.step()
        assert not self.cells.disk.files, "a file outlived its session"
        assert self.scheduler.snapshot().saved == 0
        assert self.scheduler.snapshot().cells_live == 0
        assert not self.scheduler._restorer.has_work
        assert set(self.cells.slabs) == set(self.scheduler._parker._store), "slabs leaked"
        assert self.cells.used() == self.scheduler.snapshot().cells_retained


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
