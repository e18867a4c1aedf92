"""The ΣBMT budget and the courtesy to other engines, on a fake device: 5 ms and 100 MB a step, so
20 GB/s when nothing holds it back."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler import Admission, Neighbours, Scheduler, TrafficBudget
from umad.scheduler.budget import BURST_MS
from umad.scheduler.compose import Ready
from umad.scheduler.cost import CostModel
from umad.scheduler.entry import Entry
from umad.scheduler.neighbours import SHARE, STEP_MS
from umad.scheduler.throttle import BackgroundThrottle
from umad.step import DecodeSlice, Sampled, StepPlan, StepResult

STEP_BYTES = 100_000_000
STEP_NS = 5_000_000
FULL = STEP_BYTES / (STEP_NS / 1e9)
HALF = FULL / 2
SECOND = 1_000_000_000
LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1, floor=0.02),
}


@dataclass
class Traffic:
    """All a step moves is the weights. row_bytes: what each row adds (chosen experts, say)."""

    row_bytes: int = 0

    def moved(self, *, n_rows: int, n_cells_read: int, n_logit_rows: int) -> int:
        return STEP_BYTES + n_rows * self.row_bytes if n_rows else 0


def a_stream() -> Entry:
    return Entry.of(
        Admission(
            rid=1,
            tokens=np.zeros(4, dtype=np.int32),
            n_prompt=4,
            max_new_tokens=10,
            lane="background",
            app="batch",
        ),
        0,
    )


@dataclass
class Device:
    """A scheduler and the fake device it runs on. ran: (start, bytes, plan) of every step."""

    budget: TrafficBudget | None = None
    traffic: Traffic = field(default_factory=Traffic)
    row_ns: int = 0  # what each row but the first adds
    now_ns: int = 0
    ran: list[tuple[int, int, StepPlan]] = field(default_factory=list)
    next_door: Neighbours | None = None

    def __post_init__(self) -> None:
        cost = CostModel()
        cost.learn_all([(n, 0, 5.0 + 0.1 * n) for n in (1, 2, 4, 8)])
        cost.learn_all([(0, n, 5.0 * n) for n in (1, 16, 64)])
        cost.learn_all([(1, n, 5.0 + 0.5 * n) for n in (1, 16, 64)])
        self.scheduler = Scheduler(
            n_cells=65536,
            max_seqs=16,
            batch_tokens=64,
            settings=SchedulerSettings(),
            latency_cap=1.2,
            lanes=LANES,
            cost=cost,
            traffic=self.traffic,
            budget=self.budget,
        )

    def arrive(self, rid: int, *, lane: str, n_new: int = 5000, n_prompt: int = 2) -> None:
        tokens = np.random.default_rng(rid).integers(0, 1000, n_prompt).astype(np.int32)
        admission = Admission(
            rid=rid, tokens=tokens, n_prompt=n_prompt, max_new_tokens=n_new, lane=lane, app=lane
        )
        self.scheduler.submit(admission, self.now_ns)

    def run_until(self, end_ns: int) -> None:
        while self.now_ns < end_ns:
            if self.next_door is not None:
                self.scheduler.heard(self.next_door, self.now_ns)
            plan = self.scheduler.plan(self.now_ns)
            if plan.is_idle:
                self.now_ns += int(plan.wait_ms * 1e6) or STEP_NS
                continue
            n_prefill = plan.n_rows - len(plan.decode)
            took_ns = STEP_NS + self.row_ns * (len(plan.decode) - 1)
            if not plan.decode:
                took_ns = STEP_NS * n_prefill
            self.ran.append((self.now_ns, STEP_BYTES, plan))
            self.now_ns += took_ns
            rids = [row.rid for row in plan.decode]
            rids += [piece.rid for piece in plan.prefill if piece.wants_logits]
            result = StepResult(
                outcome="done",
                sampled=tuple(Sampled(rid=rid, token=1) for rid in rids),
                device_ms=took_ns / 1e6,
                bytes_moved=STEP_BYTES,
            )
            self.scheduler.apply(plan, result, self.now_ns)

    def bytes_between(self, begin_ns: int, end_ns: int) -> int:
        return sum(n for at, n, _ in self.ran if begin_ns <= at < end_ns)

    def tokens_of(self, rid: int) -> list[int]:
        return [at for at, _, plan in self.ran for row in plan.decode if row.rid == rid]


def limited(rate: float, *, measured: bool = False) -> TrafficBudget:
    return TrafficBudget(bytes_per_s=rate, measured=measured)


# -- the rate -----------------------------------------------------------------------------------


def test_background_alone_is_held_to_half_the_bandwidth_in_any_second() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")

    device.run_until(5 * SECOND)

    for begin_ns in range(0, 4 * SECOND, 77_000_000):
        moved = device.bytes_between(begin_ns, begin_ns + SECOND)
        assert moved == pytest.approx(HALF, rel=0.05)


def test_without_a_budget_nothing_waits() -> None:
    device = Device()
    device.arrive(1, lane="background")

    device.run_until(SECOND)

    assert device.bytes_between(0, SECOND) == pytest.approx(FULL, rel=0.01)


@pytest.mark.parametrize("beside", [False, True])
def test_interactive_work_is_never_held(beside: bool) -> None:
    device = Device(budget=limited(FULL / 100))
    device.arrive(1, lane="interactive")
    if beside:
        device.arrive(2, lane="background")

    device.run_until(SECOND)

    assert len(device.tokens_of(1)) >= SECOND / STEP_NS - 3


def test_background_pays_for_what_interactive_work_moves() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")
    for second in range(1, 6):
        # A fifth of each second at full rate: two fifths of the budget.
        device.arrive(10 + second, lane="interactive", n_new=40)
        device.run_until(second * SECOND)

    assert device.bytes_between(0, 5 * SECOND) == pytest.approx(5 * HALF, rel=0.05)
    assert len(device.tokens_of(1)) > 0


def test_the_floor_is_kept_though_interactive_work_alone_exceeds_the_budget() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="interactive")
    device.arrive(2, lane="background", n_prompt=3000)

    device.run_until(5 * SECOND)

    prefilled = sum(s.n_tokens for _, _, plan in device.ran for s in plan.prefill if s.rid == 2)
    assert prefilled > 0


def test_a_minute_of_interactive_work_silences_the_background_for_ten_seconds_at_most() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="interactive", n_new=4000)
    device.run_until(20 * SECOND)
    quiet_ns = device.tokens_of(1)[-1] + STEP_NS

    device.arrive(2, lane="background")
    device.run_until(40 * SECOND)

    first_ns = next(at for at, _, plan in device.ran if plan.cuttable)
    assert 9 * SECOND <= first_ns - quiet_ns <= 10 * SECOND + STEP_NS


def test_background_pays_for_an_answer_that_took_more_than_the_budget() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background", n_new=30_000)
    for second in range(0, 30, 6):
        device.run_until(second * SECOND)
        device.arrive(2 + second, lane="interactive", n_new=400)  # two seconds' at full speed

    device.run_until(36 * SECOND)

    moved = device.bytes_between(0, 36 * SECOND)
    assert moved == pytest.approx(36 * HALF, rel=0.06)


def test_background_rows_ride_along_on_weights_that_are_read_anyway() -> None:
    device = Device(budget=limited(FULL / 100))
    device.arrive(1, lane="interactive")
    device.arrive(2, lane="background")

    device.run_until(2 * SECOND)

    # As many as the guard lets, which on this device is every step.
    assert len(device.tokens_of(2)) >= 0.9 * len(device.tokens_of(1))


def test_background_rows_that_would_move_much_themselves_do_not_ride() -> None:
    device = Device(
        budget=limited(FULL / 100),
        traffic=Traffic(row_bytes=STEP_BYTES // 10),
        row_ns=STEP_NS // 10,
    )
    device.arrive(1, lane="interactive")
    device.arrive(2, lane="background")

    device.run_until(4 * SECOND)

    # The floor alone: a row costs a tenth of a step, so about one step in five carries it.
    ours, theirs = ([at for at in device.tokens_of(rid) if at > 2 * SECOND] for rid in (1, 2))
    assert 0 < len(theirs) <= 0.3 * len(ours)


def test_a_prompt_that_waits_for_bytes_is_computed_in_long_slices() -> None:
    held, free = Device(budget=limited(FULL / 100)), Device()
    for device in (held, free):
        for _ in range(20):  # somebody types: a cut every 50 ms
            device.scheduler.slices.cuts.ran(50.0, was_cut=True)
        device.arrive(1, lane="background", n_prompt=200)
        device.run_until(6 * SECOND)

    slices = [
        [piece.n_tokens for _, _, plan in device.ran for piece in plan.prefill]
        for device in (held, free)
    ]
    # Every slice reads all weights; where nothing waits, short ones lose less to a cut.
    assert len(slices[0]) * 2 < len(slices[1])
    assert sum(slices[0]) == sum(slices[1]) == 200


# -- auto ---------------------------------------------------------------------------------------


def test_a_probe_that_was_disturbed_does_not_slow_the_machine_down() -> None:
    device = Device(budget=limited(HALF, measured=True))
    device.arrive(1, lane="background")

    device.run_until(SECOND)

    assert device.bytes_between(0, SECOND) >= 0.95 * FULL


def test_a_rate_that_was_asked_for_stays_though_the_machine_is_faster() -> None:
    budget = limited(HALF)

    budget.learn(STEP_BYTES, 5.0)

    assert budget.bytes_per_s == HALF


# -- the books ----------------------------------------------------------------------------------


def test_what_a_cut_step_did_not_move_is_given_back() -> None:
    budget = limited(1000.0)
    budget.spend(1000, 0, background=True)

    budget.spend(-900, 0, background=True)

    assert budget.wait_ms(0) == pytest.approx(100)


def test_an_idle_minute_saves_up_no_burst() -> None:
    budget = limited(1000.0)
    budget.wait_ms(0)

    budget.spend(1000, 60 * SECOND, background=True)

    assert budget.wait_ms(60 * SECOND) == pytest.approx(1000 - BURST_MS)


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 2 * SECOND)), min_size=1, max_size=60)
)
def test_whatever_the_steps_no_stretch_of_time_exceeds_the_rate_by_more_than_a_step(
    steps: list[tuple[int, int]],
) -> None:
    budget, rate, now_ns = limited(1000.0), 1000.0, 0
    begun: list[tuple[int, int]] = []

    for n_bytes, idle_ns in steps:
        now_ns += idle_ns
        now_ns += int(budget.wait_ms(now_ns) * 1e6) + 1
        budget.spend(n_bytes, now_ns, background=True)
        begun.append((now_ns, n_bytes))

    for first in range(len(begun)):
        moved = 0
        for at_ns, n_bytes in begun[first:]:
            # Up to the beginning of the last step, which may be in debt by itself alone.
            allowed = rate * (at_ns - begun[first][0]) / SECOND + rate * BURST_MS / 1e3
            assert moved <= allowed + 1e-3
            moved += n_bytes


# -- other engines ------------------------------------------------------------------------------


def test_what_other_engines_move_counts() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")
    budget = device.scheduler

    for second in range(1, 4):
        budget.heard(Neighbours(background_bytes=int(HALF / 2)), device.now_ns)
        device.run_until(second * SECOND)

    assert device.bytes_between(0, 3 * SECOND) == pytest.approx(1.5 * HALF, rel=0.07)


def test_the_engine_that_moved_last_leaves_the_other_the_next_turn() -> None:
    device = Device(budget=limited(HALF))
    device.arrive(1, lane="background")
    device.run_until(SECOND)
    device.scheduler.heard(Neighbours(background_bytes=STEP_BYTES), device.now_ns)
    device.run_until(device.now_ns + 11_000_000)  # both steps' debts are paid by now
    ours_ns = device.ran[-1][0]

    device.run_until(device.now_ns + 100_000_000)

    later = [at for at, _, _ in device.ran if at > ours_ns]
    assert later[0] - ours_ns >= 10_000_000 + 9_000_000
    assert device.bytes_between(0, device.now_ns) <= HALF * device.now_ns / 1e9


def test_an_engine_that_is_always_woken_late_gets_its_half_all_the_same() -> None:
    plan = StepPlan(
        decode=(DecodeSlice(rid=1, seq=0, position=0, token=0),), n_cells_read=1, cuttable=True
    )
    moved = StepResult(outcome="done", sampled=(), device_ms=5.0, bytes_moved=STEP_BYTES)
    # A step's bytes are worth 60 ms; one begins as soon as it may, the other 15 ms later.
    rate = STEP_BYTES / 0.060
    engines = [
        BackgroundThrottle(budget=limited(rate), traffic=Traffic(), floor=0.0) for _ in range(2)
    ]
    late_ms, may_since, steps = (0, 15), [-1, -1], [0, 0]
    for now_ms in range(20_000):
        now_ns = now_ms * 1_000_000
        for one, engine in enumerate(engines):
            ready = Ready(background_decode=[a_stream()])
            if engine.hold(ready, now_ns, floor_is_owed=False) > 0:
                engines[1 - one].heard(Neighbours(waiting=True), now_ns)
                may_since[one] = -1
                continue
            may_since[one] = now_ms if may_since[one] < 0 else may_since[one]
            if now_ms - may_since[one] < late_ms[one]:
                continue
            engine.charge(plan, now_ns)
            engine.settle(plan, moved, now_ns)
            engines[1 - one].heard(Neighbours(background_bytes=STEP_BYTES), now_ns)
            steps[one], may_since[one] = steps[one] + 1, -1

    assert min(steps) >= 0.45 * sum(steps)
    assert sum(steps) >= 0.95 * 20_000 / 60, "and nothing of the budget is lost by it"


def test_an_engine_that_looks_up_after_an_idle_second_owes_what_time_has_not_paid() -> None:
    budget = limited(HALF)
    budget.wait_ms(0)

    budget.owe(int(HALF), background=True)

    assert budget.wait_ms(SECOND) == 0


def test_a_better_measurement_of_one_engine_counts_for_the_others() -> None:
    device = Device(budget=limited(HALF, measured=True))
    device.arrive(1, lane="background")

    device.scheduler.heard(Neighbours(bytes_per_s=int(2 * FULL)), 0)

    assert device.scheduler.bytes_per_s == 2 * FULL


def test_background_work_keeps_to_a_small_share_while_another_engine_is_interactive() -> None:
    device = Device(next_door=Neighbours(interactive=True))
    device.arrive(1, lane="background", n_prompt=4000)

    device.run_until(10 * SECOND)

    busy_ns = sum(STEP_NS * plan.n_rows for _, _, plan in device.ran)
    assert 0.5 * SHARE <= busy_ns / (10 * SECOND) <= 1.1 * SHARE
    assert max(STEP_NS * plan.n_rows for _, _, plan in device.ran) <= STEP_MS * 1e6


def test_background_work_takes_the_device_back_as_soon_as_the_neighbour_is_quiet() -> None:
    device = Device(next_door=Neighbours(interactive=True))
    device.arrive(1, lane="background", n_prompt=2)
    device.run_until(SECOND)
    held = len(device.ran)

    device.next_door = Neighbours()
    device.run_until(2 * SECOND)

    assert len(device.ran) - held >= 0.9 * SECOND / STEP_NS


def test_interactive_work_takes_no_notice_of_neighbours() -> None:
    device = Device(
        budget=limited(HALF), next_door=Neighbours(interactive=True, interactive_bytes=STEP_BYTES)
    )
    device.arrive(1, lane="interactive")

    device.run_until(SECOND)

    assert len(device.tokens_of(1)) >= SECOND / STEP_NS - 3
