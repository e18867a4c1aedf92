"""What the scheduler promises, rule by rule, on a fake device that costs what the CPU of
evidence.md costs: 22 ms for a row, about 5 ms for every further token."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest

from umad.config import LaneSettings, SchedulerSettings
from umad.errors import PromptTooLong
from umad.scheduler import Admission, Scheduler
from umad.scheduler.cost import CostModel
from umad.scheduler.curve import CostCurve
from umad.scheduler.parked import ParkShape
from umad.scheduler.waiting import AGING_NS
from umad.step import (
    Finished,
    HouseKept,
    Sampled,
    SeqCopy,
    SeqPark,
    SeqRestore,
    SeqTrim,
    StepPlan,
    StepResult,
)

LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1, floor=0.02),
}


def device_ms(plan: StepPlan) -> float:
    """A step on the fake device."""
    n_prefill = plan.n_rows - len(plan.decode)
    if not plan.decode:
        return 16.0 + 4.3 * n_prefill
    return 16.0 + 6.0 * len(plan.decode) + 4.5 * n_prefill


@dataclass
class Bench:
    """A scheduler and the fake device it runs on; time passes only in steps."""

    n_cells: int = 4096
    max_seqs: int = 16
    batch_tokens: int = 256
    cap: float = 1.2
    cuts_soon: bool = True
    pays_for_kept: bool = False
    settings: SchedulerSettings = field(default_factory=SchedulerSettings)
    parking: ParkShape | None = None
    slab_ms: float = 1.0
    now_ns: int = 0
    plans: list[StepPlan] = field(default_factory=list)
    ended: dict[int, Finished] = field(default_factory=dict)
    tokens: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        cost = CostModel()
        cost.learn_all([(n, 0, 16.0 + 6.0 * n) for n in (1, 2, 4, 8, 16)])
        cost.learn_all([(0, n, 16.0 + 4.3 * n) for n in (1, 4, 16, 64, 256)])
        cost.learn_all([(4, n, 40.0 + 4.5 * n) for n in (1, 4, 16, 64, 256)])
        self.scheduler = Scheduler(
            n_cells=self.n_cells,
            max_seqs=self.max_seqs,
            batch_tokens=self.batch_tokens,
            settings=self.settings,
            latency_cap=self.cap,
            lanes=LANES,
            cost=cost,
            parking=self.parking,
            cuts_soon=self.cuts_soon,
            pays_for_kept=self.pays_for_kept,
        )

    def arrive(
        self,
        rid: int,
        n_prompt: int,
        n_new: int,
        *,
        lane: str = "interactive",
        app: str = "editor",
        prompt: list[int] | None = None,
        session: str | None = None,
        cap: float | None = None,
        deadline_ms: int | None = None,
    ) -> None:
        rng = np.random.default_rng(rid)
        tokens = rng.integers(0, 1000, n_prompt) if prompt is None else np.array(prompt)
        self.scheduler.submit(
            Admission(
                rid=rid,
                tokens=tokens.astype(np.int32),
                n_prompt=tokens.size,
                max_new_tokens=n_new,
                lane=lane,
                app=app,
                session=session,
                latency_cap=cap,
                deadline_ms=deadline_ms,
            ),
            self.now_ns,
        )

    def step(self) -> StepPlan:
        plan = self.scheduler.plan(self.now_ns)
        self.plans.append(plan)
        n_slabs = sum(isinstance(op, SeqPark | SeqRestore) for op in plan.memory)
        house = HouseKept(
            copied_bytes=n_slabs * (self.parking.slab_bytes if self.parking else 0),
            copy_ms=n_slabs * self.slab_ms,
        )
        self.now_ns += int(house.copy_ms * 1e6)
        if plan.is_idle:
            self.scheduler.kept_house(plan, house, self.now_ns)
            return plan
        took_ms = device_ms(plan)
        self.now_ns += int(took_ms * 1e6)
        drawn = [row.rid for row in plan.decode]
        drawn += [piece.rid for piece in plan.prefill if piece.wants_logits]
        self.tokens.update(drawn)
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=rid, token=rid) for rid in drawn),
            device_ms=took_ms,
            house=house,
        )
        for finished in self.scheduler.apply(plan, result, self.now_ns):
            self.ended[finished.rid] = finished
        return plan

    def cut_next(self, *, after_ms: float) -> None:
        """Plan a step and abort it: all of its slice is lost."""
        plan = self.scheduler.plan(self.now_ns)
        assert plan.cuttable
        self.now_ns += int(after_ms * 1e6)
        kept = tuple((piece.seq, piece.start) for piece in plan.prefill)
        cut = StepResult(outcome="cut", device_ms=after_ms, seq_lengths=kept)
        self.scheduler.apply(plan, cut, self.now_ns)

    def run(self, steps: int) -> list[StepPlan]:
        return [self.step() for _ in range(steps)]


def test_a_long_background_prompt_never_stalls_an_interactive_stream() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(9, 2000, 10, lane="background", app="batch")
    steps = [device_ms(plan) for plan in bench.run(200)]

    solo_ms = 16.0 + 6.0 * 3
    assert np.percentile(steps, 95) <= 1.2 * solo_ms
    assert max(steps) <= 2.0 * solo_ms


def test_the_strictest_cap_of_the_streams_in_a_step_holds_for_it() -> None:
    def p95_ms(*caps: float | None) -> float:
        bench = Bench(n_cells=8192)
        for rid, cap in enumerate(caps, start=1):
            bench.arrive(rid, 20, 700, cap=cap)
        bench.run(5)
        bench.arrive(9, 3000, 10, lane="background", app="batch")
        return float(np.percentile([device_ms(plan) for plan in bench.run(300)], 95))

    solo_ms = 16.0 + 6.0 * 3
    assert solo_ms < p95_ms(None, None, 1.15) <= 1.15 * solo_ms * 1.01
    assert 1.3 * solo_ms < p95_ms(1.6, 1.6, 1.6) <= 1.6 * solo_ms * 1.01


def test_an_apps_own_deadlines_decide_who_of_its_requests_goes_first() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(1, 20, 5)
    bench.run(2)
    bench.arrive(2, 20, 5)
    bench.arrive(3, 20, 5, deadline_ms=60_000)
    bench.arrive(4, 20, 5, deadline_ms=20_000)

    while len(bench.ended) < 4:
        bench.step()

    assert list(bench.ended) == [1, 4, 3, 2]


def test_a_deadline_takes_no_turn_from_another_app() -> None:
    bench = Bench(max_seqs=1)
    for rid in range(1, 11):
        bench.arrive(rid, 20, 10, app="hasty", deadline_ms=60_000)
        bench.arrive(100 + rid, 20, 10, app="calm")

    while len(bench.ended) < 10:
        bench.step()

    assert 4 <= len([rid for rid in bench.ended if rid > 100]) <= 6


def test_the_background_always_gets_its_floor() -> None:
    bench = Bench()
    for rid in range(1, 9):
        bench.arrive(rid, 20, 3000 // 8, app=f"app{rid}")
    bench.arrive(50, 600, 4, lane="background", app="batch")

    bench.run(330)

    prefilled = sum(s.n_tokens for plan in bench.plans for s in plan.prefill if s.rid == 50)
    spent_ms = 4.5 * prefilled
    assert spent_ms >= 0.02 * sum(device_ms(plan) for plan in bench.plans)


def test_background_work_alone_runs_in_large_slices_that_may_be_cut() -> None:
    bench = Bench()
    bench.arrive(1, 1000, 4, lane="background")

    plan = bench.step()

    assert plan.cuttable
    assert plan.n_rows >= 64


def test_background_work_fills_the_whole_batch_where_nobody_ever_cuts_it() -> None:
    bench = Bench(n_cells=2**14, batch_tokens=512)
    bench.arrive(1, 8000, 4, lane="background")

    sizes = [plan.n_rows for plan in bench.run(12)]

    assert sizes[-5:] == [512] * 5


def test_background_slices_are_sized_in_time_where_a_running_step_cannot_be_cut() -> None:
    bench = Bench(cuts_soon=False)
    bench.arrive(1, 2000, 4, lane="background")

    plans = bench.run(10)

    assert all(device_ms(plan) <= 1.2 * bench.settings.slice_ms for plan in plans)


def test_background_slices_shrink_while_arrivals_keep_cutting_them_and_grow_again() -> None:
    bench = Bench(n_cells=2**18, batch_tokens=512)
    bench.arrive(1, 200_000, 4, lane="background")
    calm = bench.run(12)[-1].n_rows

    for _ in range(20):
        # One second's work, then an arrival cuts whatever runs.
        began_ns = bench.now_ns
        while bench.now_ns - began_ns < 1e9:
            cut = bench.step()
        busy = cut.n_rows
        bench.cut_next(after_ms=10.0)
    bench.run(150)

    assert calm == 512
    assert busy <= 192, "most of a second's work was lost to every cut"
    assert bench.step().n_rows >= 256


def test_background_slices_grow_until_larger_ones_are_no_faster() -> None:
    bench = Bench()
    bench.scheduler.cost.prefill.rows = CostCurve(5.0)
    bench.scheduler.cost.learn(0, 4, 16.0 + 4.3 * 4)  # all that was probed
    bench.arrive(1, 3500, 4, lane="background")

    sizes = [plan.n_rows for plan in bench.run(15)]

    assert sizes[0] <= 16
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 48


def test_a_cut_step_loses_only_what_the_cells_do_not_hold() -> None:
    bench = Bench()
    bench.arrive(1, 500, 4, lane="background")
    plan = bench.scheduler.plan(0)
    piece = plan.prefill[0]

    cut = StepResult(outcome="cut", device_ms=9.0, seq_lengths=((piece.seq, 10),))
    bench.scheduler.apply(plan, cut, 1)
    after = bench.step()

    assert after.memory == (SeqTrim(seq=piece.seq, keep_tokens=10),)
    assert after.prefill[0].start == 10


def test_a_newcomer_is_prefilled_beside_running_streams_in_bounded_slices() -> None:
    bench = Bench()
    for rid in (1, 2, 3):
        bench.arrive(rid, 20, 400)
    bench.run(5)

    bench.arrive(4, 200, 10, app="terminal")
    waited = 0
    while not bench.tokens[4]:
        plan = bench.step()
        waited += 1
        assert len(plan.decode) == 3, "running streams go on at every step"
        assert device_ms(plan) <= (1 + bench.settings.newcomer_steps) * 34.0 * 1.1

    assert waited <= 20


def test_newcomers_that_outnumber_the_running_streams_are_not_held_back_for_them() -> None:
    bench = Bench()
    bench.arrive(1, 20, 400)
    bench.run(3)

    for rid in range(2, 10):
        bench.arrive(rid, 40, 400, app=f"app{rid}")
    steps = 0
    while any(not bench.tokens[rid] for rid in range(2, 10)):
        bench.step()
        steps += 1

    assert steps <= 20


def test_a_machine_that_is_busy_for_a_while_does_not_shrink_slices_for_good() -> None:
    cost = CostModel()
    for _ in range(50):
        cost.learn(0, 64, 280.0)
    for _ in range(10):
        cost.learn(0, 64, 2_000.0)
    busy = cost.prefill.at(64)
    for _ in range(5):
        cost.learn(0, 64, 280.0)

    assert busy < 500.0
    assert cost.prefill.at(64) < 330.0


def test_nothing_waits_for_background_rows_when_a_newcomer_has_the_device_to_itself() -> None:
    bench = Bench()
    for rid in range(4):
        bench.arrive(rid, 20, 400, lane="background", app="batch")
    bench.run(5)

    bench.arrive(9, 100, 10)
    plan = bench.step()

    assert [piece.rid for piece in plan.prefill] == [9]
    assert not plan.decode


def test_apps_of_a_lane_share_by_tokens_however_many_requests_they_send() -> None:
    bench = Bench(max_seqs=2)
    for rid in range(1, 41):
        bench.arrive(rid, 20, 20, app="greedy")
    for rid in range(101, 111):
        bench.arrive(rid, 20, 20, app="modest")

    while len([rid for rid in bench.ended if rid > 100]) < 10:
        bench.step()

    served_greedy = len([rid for rid in bench.ended if rid <= 40])
    assert 8 <= served_greedy <= 12, "about as many as the modest app's ten"


def test_within_an_app_the_first_to_come_is_the_first_to_start() -> None:
    bench = Bench(max_seqs=1)
    for rid in (3, 1, 2):
        bench.arrive(rid, 20, 5)

    while len(bench.ended) < 3:
        bench.step()

    assert list(bench.ended) == [3, 1, 2]


def test_an_interactive_request_takes_the_place_of_a_background_one_which_loses_nothing() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(1, 40, 30, lane="background", app="batch")
    bench.run(10)
    before = bench.tokens[1]

    bench.arrive(2, 40, 5)
    while 2 not in bench.ended:
        bench.step()
    while 1 not in bench.ended:
        bench.step()

    assert before > 0
    assert list(bench.ended) == [2, 1]
    assert bench.tokens[1] == 30, "every token was drawn exactly once"
    assert bench.scheduler.snapshot().preemptions_total == 1


def test_a_preempted_request_finds_its_cells_again_where_nobody_needed_them() -> None:
    bench = Bench(max_seqs=2, n_cells=150)
    bench.arrive(1, 60, 60, lane="background", app="batch")
    bench.run(10)

    bench.arrive(2, 40, 5)  # does not fit beside the promise of 119 cells
    while 1 not in bench.ended:
        bench.step()

    recomputed = [s for plan in bench.plans[10:] for s in plan.prefill if s.rid == 1]
    assert recomputed
    assert min(s.start for s in recomputed) >= 60


def test_a_second_turn_computes_only_what_is_new() -> None:
    bench = Bench()
    first = list(range(300))
    bench.arrive(1, 0, 10, prompt=first, session="chat")
    while 1 not in bench.ended:
        bench.step()

    second = [*first, *([1] * 9), 7, 8, 9]  # the bench draws the rid as every token
    bench.arrive(2, 0, 5, prompt=second, session="chat")
    plan = bench.step()

    assert plan.prefill[0].start == 309
    assert plan.prefill[0].n_tokens == 3


def test_two_live_requests_share_the_cells_of_a_common_prompt() -> None:
    bench = Bench()
    system = list(range(200))
    bench.arrive(1, 0, 50, prompt=[*system, 1, 2], app="a")
    bench.run(8)
    alone = bench.scheduler.snapshot().cells_live

    bench.arrive(2, 0, 50, prompt=[*system, 3, 4], app="b")
    plan = bench.step()

    assert next(op for op in plan.memory if isinstance(op, SeqCopy)).n_tokens == 200
    assert bench.scheduler.snapshot().cells_live <= alone + 5


def test_a_cancelled_request_gives_its_cells_back_with_the_next_step() -> None:
    bench = Bench()
    bench.arrive(1, 100, 50)
    bench.run(5)

    finished = bench.scheduler.cancel(1)
    plan = bench.scheduler.plan(bench.now_ns)

    assert finished is not None
    assert finished.reason == "cancelled"
    assert plan.memory == (SeqTrim(seq=0, keep_tokens=0),)
    assert bench.scheduler.snapshot().cells_live == 0
    assert not bench.scheduler.has_work


def test_a_request_no_empty_pool_could_hold_is_refused_at_once() -> None:
    bench = Bench(n_cells=100)
    with pytest.raises(PromptTooLong) as caught:
        bench.arrive(1, 90, 20)
    assert caught.value.field == "prompt"
    assert not bench.scheduler.has_work


def test_a_paused_stream_stands_still_and_the_others_do_not() -> None:
    bench = Bench()
    bench.arrive(1, 20, 50, app="slow")
    bench.arrive(2, 20, 50, app="quick")
    bench.run(5)
    before = bench.tokens.copy()

    bench.scheduler.pause(1)
    bench.run(10)
    bench.scheduler.resume(1)
    paused = bench.tokens.copy()
    bench.run(10)

    assert paused[1] == before[1]
    assert paused[2] == before[2] + 10
    assert bench.tokens[1] == paused[1] + 10


def test_a_request_moved_to_the_interactive_lane_is_served_as_one_at_once() -> None:
    bench = Bench()
    bench.arrive(1, 20, 100)
    bench.arrive(2, 20, 100, lane="background")
    bench.run(60)

    bench.scheduler.set_lane(2, "interactive")
    plans = bench.run(20)

    # Its prompt is finished first, in newcomer's slices.
    assert all({row.rid for row in plan.decode} == {1, 2} for plan in plans[5:])


def test_streams_beyond_max_merge_take_turns() -> None:
    bench = Bench(settings=SchedulerSettings(max_merge=4))
    for rid in range(6):
        bench.arrive(rid, 5, 100, app=f"app{rid}")
    bench.run(10)
    before = bench.tokens.copy()

    plans = bench.run(30)

    assert all(len(plan.decode) == 4 for plan in plans)
    served = [bench.tokens[rid] - before[rid] for rid in range(6)]
    assert max(served) - min(served) <= 1


def test_a_request_of_a_quiet_lane_is_placed_when_it_has_waited_long_enough() -> None:
    bench = Bench(max_seqs=1)
    bench.arrive(0, 20, 10)
    bench.arrive(500, 20, 2, lane="background", app="batch")
    rid = 0
    while 500 not in bench.ended:
        if rid in bench.ended or rid == 0:
            rid += 1
            bench.arrive(rid, 20, 10)
        bench.step()
        assert bench.now_ns < 2 * AGING_NS, "the background request starved"


def test_what_a_background_request_left_goes_with_its_apps_next_where_every_cell_is_paid_for() -> (
    None
):
    bench = Bench(pays_for_kept=True)
    system = list(range(200))
    bench.arrive(1, 0, 5, prompt=[*system, *[500] * 300], lane="background", app="batch")
    bench.arrive(2, 300, 5, lane="interactive", app="batch")
    while len(bench.ended) < 2:
        bench.step()
    kept = bench.scheduler.snapshot().cells_retained

    bench.arrive(3, 0, 5, prompt=[*system, *[501] * 300], lane="background", app="batch")
    first = bench.step()
    while len(bench.ended) < 3:
        bench.step()

    assert kept > 700
    assert first.prefill[0].start == 200, "what both have in common is not computed again"
    assert bench.scheduler.snapshot().cells_retained <= 820, "the first one's tail is gone"
    assert bench.scheduler.snapshot().cells_live == 0


def test_a_short_prompt_goes_with_its_apps_next_where_cells_are_paid_for() -> None:
    bench = Bench(pays_for_kept=True)
    bench.arrive(1, 0, 5, prompt=[500] * 100)
    bench.arrive(2, 0, 5, prompt=[501] * 300)
    while len(bench.ended) < 2:
        bench.step()
    kept = bench.scheduler.snapshot().cells_retained

    bench.arrive(3, 0, 5, prompt=[502] * 50)
    bench.step()

    assert kept > 400
    assert 300 <= bench.scheduler.snapshot().cells_retained < 310


def test_a_short_prompt_of_a_session_waits_for_its_next_turn() -> None:
    bench = Bench(pays_for_kept=True)
    bench.arrive(1, 0, 5, prompt=[500] * 100, session="talk")
    while 1 not in bench.ended:
        bench.step()

    bench.arrive(2, 0, 5, prompt=[502] * 50)
    bench.step()

    assert bench.scheduler.snapshot().cells_retained > 100
