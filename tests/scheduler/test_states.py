"""Where states are copied, who begins from them, and what is never done with them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.scheduler.fake_cells import FakeDisk
from tests.scheduler.fake_device import LANES, device_ms
from tests.scheduler.fake_states import FakeStates, Kind
from umad.config import SchedulerSettings
from umad.forgetting import ForgetScope
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs import copy_cost
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Beginnings, Window
from umad.step import (
    Finished,
    HouseKept,
    Sampled,
    SeqCopy,
    SeqRestore,
    StateDrop,
    StateLoad,
    StateSave,
    StepPlan,
    StepResult,
)

KINDS: list[Kind] = ["hybrid", "recurrent", "window"]
SYSTEM = list(range(100, 500))


def said(which: int, n_tokens: int) -> list[int]:
    return [(which * 7919 + i * i) % 900 + 1000 for i in range(n_tokens)]


@dataclass
class Pool:
    """A scheduler on a pool with states; a token costs 4.3 ms, a state 0.1 ms."""

    kind: Kind = "hybrid"
    n_cells: int = 4000
    max_seqs: int = 8
    capacity_bytes: int = 1 << 20
    state_ms: float = 0.1
    # Where sessions are saved; None for nowhere.
    disk: FakeDisk | None = None
    cells: FakeStates = field(init=False)
    now_ns: int = 0
    plans: list[StepPlan] = field(default_factory=list)
    ended: dict[int, Finished] = field(default_factory=dict)

    def __post_init__(self) -> None:
        window = Window(n_tokens=32) if self.kind == "window" else None
        shape = ParkShape(
            capacity_bytes=self.capacity_bytes,
            slice_cells=64,
            slab_bytes=640,
            state_bytes=120,
            has_cells=self.kind != "recurrent",
        )
        self.cells = FakeStates(
            kind=self.kind,
            window=window,
            shape=shape,
            n_cells=self.n_cells,
            disk=self.disk or FakeDisk(),
        )
        cost = CostModel()
        cost.learn_all([(n, 0, 16.0 + 6.0 * n) for n in (1, 2, 4, 8, 16)])
        cost.learn_all([(0, n, 16.0 + 4.3 * n) for n in (1, 4, 16, 64, 256)])
        cost.learn_all([(4, n, 40.0 + 4.5 * n) for n in (1, 4, 16, 64, 256)])
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=self.n_cells,
                max_seqs=self.max_seqs,
                batch_tokens=256,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=LANES,
                cost=cost,
                parking=shape,
                beginnings=None if window is None else Beginnings(window, self.cells.begin_of),
                shares_at="states",
                cut_share=1.0,
                saved=None
                if self.disk is None
                else {
                    session: np.array([token for slab in slabs for token in slab], np.int32)
                    for session, slabs in self.disk.files.items()
                },
                saved_states={}
                if self.disk is None
                else {session: tuple(sorted(of)) for session, of in self.disk.states.items()},
            )
        )

    def submit(
        self,
        rid: int,
        prompt: list[int],
        *marks: int,
        n_new: int = 4,
        lane: str = "interactive",
        app: str = "chat",
        salt: str = "",
        session: str | None = None,
    ) -> None:
        self.scheduler.submit(
            Submission(
                rid=rid,
                tokens=np.array(prompt, np.int32),
                n_prompt=len(prompt),
                max_new_tokens=n_new,
                lane=lane,
                app=app,
                salt=salt,
                owner=salt,
                session=session,
                marks=marks,
            ),
            self.now_ns,
        )

    def step(self) -> StepPlan:
        plan = self.scheduler.plan(self.now_ns)
        self.plans.append(plan)
        kept = self.cells.carry_out(plan)
        n_copies = sum(isinstance(op, StateSave | StateLoad | SeqRestore) for op in plan.memory)
        house = HouseKept(
            copied_bytes=kept.copied_bytes,
            copy_ms=n_copies * self.state_ms,
            failed=kept.failed,
            saved_states=kept.saved_states,
            failed_states=kept.failed_states,
        )
        self.now_ns += int((device_ms(plan) + house.copy_ms) * 1e6)
        if plan.is_idle:
            self.scheduler.kept_house(plan, house, self.now_ns)
            return plan
        drawn: list[int] = []
        for row in plan.decode:
            self.cells.compute(row.seq, row.position, [row.token])
            drawn.append(row.rid)
        for piece in plan.prefill:
            self.cells.compute(piece.seq, piece.start, piece.tokens.tolist())
            drawn += [piece.rid] if piece.wants_logits else []
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=rid, token=7) for rid in drawn),
            device_ms=device_ms(plan),
            house=house,
        )
        for finished in self.scheduler.apply(plan, result, self.now_ns):
            self.ended[finished.rid] = finished
        return plan

    def run(self, rid: int) -> list[StepPlan]:
        """Step until the request has ended; its plans."""
        before = len(self.plans)
        while rid not in self.ended:
            self.step()
        return self.plans[before:]

    def turn(self, rid: int, prompt: list[int], *marks: int, **of: object) -> list[StepPlan]:
        self.submit(rid, prompt, *marks, **of)  # type: ignore[arg-type]
        return self.run(rid)


def computed(plans: list[StepPlan], rid: int) -> int:
    return sum(piece.n_tokens for plan in plans for piece in plan.prefill if piece.rid == rid)


def ops(plans: list[StepPlan], kind: type) -> list[object]:
    return [op for plan in plans for op in plan.memory if isinstance(op, kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_turn_computes_only_what_is_new(kind: Kind) -> None:
    pool = Pool(kind)
    first = [*SYSTEM, *said(1, 100)]
    pool.turn(1, first, 500)

    second = [*first, 7, 7, 7, *said(2, 40)]
    plans = pool.turn(2, second, 500, 543)

    assert computed(plans, 2) == 40
    assert pool.ended[2].cached_tokens == 503


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_an_answer_is_copied_at_rest_and_not_before_the_next_first_token(
    kind: Kind,
) -> None:
    pool = Pool(kind)
    first = [*SYSTEM, *said(1, 100)]
    pool.turn(1, first, 500, n_new=60)

    at_rest = pool.step()

    assert at_rest.is_idle
    assert saved([at_rest]) == [559]
    plans = pool.turn(2, [*first, *[7] * 59, *said(2, 40)], 500, 600)
    before = [plan for plan in plans if plan.prefill]
    assert saved(before[:1]) == []
    assert computed(plans, 2) == 40


def test_the_end_of_an_answer_is_not_copied_while_a_newcomer_waits() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], 500, n_new=60)

    pool.submit(2, said(2, 200), 190, app="other")
    plan = pool.step()

    assert plan.prefill
    assert saved([plan]) == []


def test_the_end_of_what_is_no_chat_is_not_copied() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], n_new=60)

    assert saved([pool.step()]) == []


def test_the_end_of_an_answer_is_copied_once() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], 500, n_new=60)
    pool.step()

    assert saved([pool.step(), pool.step()]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_last_message_begins_where_the_turn_before_it_ended(kind: Kind) -> None:
    pool = Pool(kind)
    first = [*SYSTEM, *said(1, 100)]
    pool.turn(1, [*first, *said(2, 60)], 500, 560)

    plans = pool.turn(2, [*first, *said(3, 60)], 500, 560)

    assert computed(plans, 2) == 60
    assert pool.ended[2].cached_tokens == 500
    (load,) = ops(plans, StateLoad)
    assert isinstance(load, StateLoad)
    assert load.n_tokens == 500


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_app_begins_behind_the_same_system_prompt(kind: Kind) -> None:
    pool = Pool(kind)
    pool.turn(1, [*SYSTEM, *said(1, 100)], 400, 500, app="one")

    plans = pool.turn(2, [*SYSTEM, *said(2, 100)], 400, 500, app="two")

    assert computed(plans, 2) == 100


def ends(plans: list[StepPlan], rid: int) -> list[int]:
    """Where the slices of its prompt end."""
    pieces = [piece for plan in plans for piece in plan.prefill if piece.rid == rid]
    return [piece.start + piece.n_tokens for piece in pieces]


def saved(plans: list[StepPlan]) -> list[int]:
    """The places whose states were copied."""
    return [op.n_tokens for op in ops(plans, StateSave) if isinstance(op, StateSave)]


def test_a_first_token_does_not_wait_for_the_copy_of_a_window_just_before_it() -> None:
    pool = Pool("window")
    first = [*SYSTEM, *said(1, 100)]

    plans = pool.turn(1, first, 400, 497, n_new=20)

    assert 400 in ends(plans, 1)
    assert 497 not in ends(plans, 1)
    assert saved(plans) == [400, 497]
    assert pool.cells.n_late == 1
    # The next turn shows the answer otherwise.
    again = pool.turn(2, [*first[:497], *said(2, 60)], 400, 554, n_new=20)
    assert computed(again, 2) == 60
    assert pool.ended[2].cached_tokens == 497


def test_windows_are_copied_at_the_ends_of_short_turns_for_which_no_slice_would_end() -> None:
    pool = Pool("window")
    first = [*SYSTEM, *said(1, 100)]
    pool.turn(1, first, 400, 497, n_new=20)
    second = [*first[:497], *said(2, 24), *said(3, 20), 8, 8, 8]

    plans = pool.turn(2, second, 497, 521, 541, n_new=20)

    assert ends(plans, 2) == [544]
    # 519 is the end of the first answer.
    assert saved(plans) == [519, 521, 541]
    edited = pool.turn(3, [*second[:521], *said(4, 30)], 497, 521, 551, n_new=20)
    assert computed(edited, 3) == 30


@pytest.mark.parametrize("kind", ["hybrid", "recurrent"])
def test_a_recurrent_state_is_copied_where_a_slice_ends(kind: Kind) -> None:
    pool = Pool(kind)

    plans = pool.turn(1, [*SYSTEM, *said(1, 100)], 400, 497, n_new=20)

    assert ends(plans, 1)[-2:] == [497, 500]
    assert saved(plans) == [400, 497]


def test_a_window_is_copied_before_an_answer_that_may_be_too_short_for_it() -> None:
    pool = Pool("window")

    plans = pool.turn(1, [*SYSTEM, *said(1, 100)], 400, 497, n_new=1)

    assert ends(plans, 1)[-2:] == [497, 500]
    assert saved(plans) == [400, 497]


def test_a_window_that_was_lost_before_its_copy_counts_against_no_other_copy() -> None:
    pool = Pool("window")
    for rid in range(1, 6):
        prompt = [*said(rid, 300)]
        pool.cells.failing = {StateSave: [True]}
        pool.turn(rid, prompt, 297, n_new=20, app=f"app{rid}")
    pool.cells.failing = {}

    plans = pool.turn(9, [*SYSTEM, *said(9, 100)], 497, n_new=20)

    assert 497 in saved(plans)


@pytest.mark.parametrize("kind", KINDS)
def test_where_one_prompt_left_another_a_third_begins(kind: Kind) -> None:
    pool = Pool(kind)
    for rid in (1, 2, 3):
        plans = pool.turn(rid, [*SYSTEM, *said(rid, 100)], app=f"app{rid}")

    assert computed(plans, 3) == 100


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_comes_back_from_host_memory_with_its_state(kind: Kind) -> None:
    pool = Pool(kind, n_cells=1200, max_seqs=3)
    first = [*SYSTEM, *said(1, 100)]
    pool.turn(1, first, 500)
    for rid in range(2, 8):
        pool.turn(rid, said(rid, 450), 440, app=f"app{rid}")

    plans = pool.turn(9, [*first, 7, 7, 7, *said(2, 40)], 500, 543)

    assert computed(plans, 9) == 40
    assert pool.cells.n_loaded >= 1
    assert pool.scheduler.snapshot().restores_total >= 1


def test_the_state_is_put_back_after_the_cells() -> None:
    pool = Pool("hybrid", n_cells=1200, max_seqs=3)
    first = [*SYSTEM, *said(1, 100)]
    pool.turn(1, first, 500)
    for rid in range(2, 8):
        pool.turn(rid, said(rid, 450), 440, app=f"app{rid}")

    plans = pool.turn(9, [*first, 7, 7, 7, *said(2, 40)], 500, 543)

    memory = [op for plan in plans for op in plan.memory]
    kinds = [type(op) for op in memory if isinstance(op, SeqCopy | SeqRestore | StateLoad)]
    assert kinds[-1] is StateLoad
    assert kinds[:-1] == [SeqRestore] * 8


def test_slices_end_where_a_turn_ends_and_the_state_is_copied_before_the_next() -> None:
    pool = Pool()
    plans = pool.turn(1, [*SYSTEM, *said(1, 200)], 400, 590)

    ends = [piece.start + piece.n_tokens for plan in plans for piece in plan.prefill]
    assert {400, 590} <= set(ends)
    saved = [op.n_tokens for op in ops(plans, StateSave) if isinstance(op, StateSave)]
    assert saved == [400, 590]


def test_a_copy_that_takes_longer_than_the_tokens_it_saves_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # These states have 120 bytes. Copies of so few teach nothing in a real engine.
    monkeypatch.setattr(copy_cost, "LEAST_BYTES", 1)
    pool = Pool(state_ms=1_000.0)
    pool.turn(1, [*SYSTEM, *said(1, 200)], 400, 500, 590)
    assert pool.cells.n_saved == 1, "one copy is enough to learn it"

    pool.turn(2, said(2, 400), 100, 200, 300, 390)

    assert pool.cells.n_saved == 1


def test_a_short_turn_is_not_cut_for_a_copy_that_saves_next_to_nothing() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], 496)

    plans = pool.turn(2, [*SYSTEM, *said(1, 100), 7, 7, 7, 1, 2], 496, 504)

    assert not ops(plans, StateSave)
    assert [piece.n_tokens for plan in plans for piece in plan.prefill] == [2]


def test_a_long_prompt_has_checkpoints_on_the_way() -> None:
    pool = Pool(n_cells=4000)
    pool.turn(1, said(1, 3000), 2990)

    plans = pool.turn(2, [*said(1, 3000)[:2100], 5], 2100)

    assert computed(plans, 2) <= 100


def test_another_salt_begins_from_nothing() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], 400, salt="ours")

    plans = pool.turn(2, [*SYSTEM, *said(2, 100)], 400, salt="theirs")

    assert computed(plans, 2) == 500


def test_what_is_forgotten_has_no_checkpoint() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], 400)
    pool.scheduler.forget(ForgetScope())

    plans = pool.turn(2, [*SYSTEM, *said(2, 100)], 400)

    assert computed(plans, 2) == 500
    assert len(ops(plans, StateDrop)) >= 1


def test_a_state_that_cannot_be_put_back_is_computed_and_not_counted_as_cached() -> None:
    pool = Pool()
    pool.turn(1, [*SYSTEM, *said(1, 100)], 400, 500)
    pool.cells.failing = {StateLoad: [True]}

    plans = pool.turn(2, [*SYSTEM, *said(2, 100)], 400)

    assert computed(plans, 2) == 500
    assert pool.ended[2].cached_tokens == 0
    assert pool.scheduler.snapshot().cached_tokens_total == 0


def test_one_prompt_answered_several_times_is_computed_once() -> None:
    pool = Pool()
    prompt = [*SYSTEM, *said(1, 100)]
    pool.submit(1, prompt, 496, n_new=40)
    while not pool.plans or not pool.plans[-1].decode:
        pool.step()

    plans = pool.turn(2, prompt, 496)

    assert computed(plans, 2) == 4


def test_a_preempted_stream_goes_on_at_its_end() -> None:
    pool = Pool(max_seqs=2)
    pool.submit(1, [*SYSTEM, *said(1, 100)], 496, n_new=120, lane="background", app="batch")
    pool.submit(2, said(2, 300), 290, n_new=120, lane="background", app="batch2")
    while not pool.plans or len(pool.plans[-1].decode) < 2:
        pool.step()
    for _ in range(30):
        pool.step()

    before = len(pool.plans)
    pool.turn(3, said(3, 300), 290)
    for rid in (1, 2):
        pool.run(rid)

    after = pool.plans[before:]
    assert pool.scheduler.snapshot().preemptions_total == 1
    assert computed(after, 1) + computed(after, 2) <= 2, "only tokens that were just drawn"


def test_a_background_prompt_waits_for_its_copy_and_an_interactive_one_does_not() -> None:
    pool = Pool(state_ms=15.0)
    pool.submit(1, said(1, 40), n_new=400)
    while not pool.plans or not pool.plans[-1].decode:
        pool.step()
    pool.submit(2, said(2, 300), 100, 200, lane="background", app="batch")
    pool.run(2)

    rows = [plan for plan in pool.plans if any(op for op in plan.memory if type(op) is StateSave)]
    saved = [op.n_tokens for op in ops(rows, StateSave) if isinstance(op, StateSave)]
    assert {100, 200} <= set(saved)


def test_copies_of_states_keep_running_streams_within_the_guard() -> None:
    pool = Pool(state_ms=3.0, n_cells=12_000)
    for rid in (1, 2, 3):
        pool.submit(rid, said(rid, 20), n_new=2_000, app=f"app{rid}")
    for rid in range(10, 14):
        prompt = said(rid, 700)
        pool.submit(rid, prompt, *range(100, 700, 100), lane="background", app=f"batch{rid}")
    while 1 not in pool.ended:
        pool.step()

    copying = [
        (pool.state_ms * len(ops([plan], StateSave)), plan)
        for plan in pool.plans
        if len(plan.decode) >= 3 and ops([plan], StateSave)
    ]
    assert len(copying) >= 10
    slack = [0.2 * plan.solo_ms for _, plan in copying]
    assert all(ms <= max(pool.state_ms, most) for (ms, _), most in zip(copying, slack, strict=True))


def test_checkpoints_are_thinned_out_before_conversations_are_forgotten() -> None:
    pool = Pool("recurrent", capacity_bytes=120 * 4, max_seqs=2)
    for rid in (1, 2, 3):
        pool.turn(rid, said(rid, 400), 100, 200, 390, app=f"app{rid}")

    kept = [len(state) for state in pool.cells.checkpoints.values()]

    assert len(kept) <= 4
    assert sum(n >= 390 for n in kept) >= 2, "the longest of each is worth most by now"


def rest(pool: Pool) -> None:
    """Nothing comes for some seconds, and the disk does what it was asked."""
    for _ in range(8):
        pool.now_ns += 1_000_000_000
        pool.step()
        while pool.cells.disk.writing:
            report = pool.cells.disk.written(fails=False)
            if report is not None:
                pool.scheduler.disk_done(report)


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_comes_back_from_disk_with_its_states(kind: Kind) -> None:
    first = [*SYSTEM, *said(1, 100)]
    before = Pool(kind, disk=FakeDisk())
    before.turn(1, first, 400, 490, session="chat")
    rest(before)
    after = Pool(kind, disk=before.cells.disk)

    after.submit(2, [*first, 7, 7, 7, *said(2, 40)], 400, 490, 543, session="chat")
    after.step()
    after.scheduler.disk_done(after.cells.disk.read(after.cells, fails=False))
    plans = after.run(2)

    assert computed(plans, 2) <= 40 + 13, "the last state but for a few tokens"


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_turn_of_a_session_on_disk_begins_where_the_turn_before_it_ended(
    kind: Kind,
) -> None:
    first = [*SYSTEM, *said(1, 100)]
    before = Pool(kind, disk=FakeDisk())
    before.turn(1, first, 400, 490, session="chat")
    rest(before)
    after = Pool(kind, disk=before.cells.disk)

    after.submit(2, [*SYSTEM, *said(2, 100)], 400, 490, session="chat")
    after.step()
    after.scheduler.disk_done(after.cells.disk.read(after.cells, fails=False))
    plans = after.run(2)

    assert computed(plans, 2) == 100


def test_a_session_whose_file_cannot_be_read_is_computed() -> None:
    first = [*SYSTEM, *said(1, 100)]
    before = Pool(disk=FakeDisk())
    before.turn(1, first, 400, session="chat")
    rest(before)
    after = Pool(disk=before.cells.disk)

    after.submit(2, [*first, 7, 7], 400, session="chat")
    after.step()
    after.scheduler.disk_done(after.cells.disk.read(after.cells, fails=True))
    plans = after.run(2)

    assert computed(plans, 2) == 502
