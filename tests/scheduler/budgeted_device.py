"""A scheduler with a budget on a fake device: 5 ms and 100 MB a step, so 20 GB/s when nothing holds
it back."""

from dataclasses import dataclass, field

import numpy as np

from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler import Neighbours, SchedulerSpec, Submission, TrafficBudget, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.step import Sampled, StepPlan, StepResult

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


def a_stream() -> ScheduledRequest:
    return ScheduledRequest.of(
        Submission(
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
        self.scheduler = assemble(
            SchedulerSpec(
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
        )

    def arrive(self, rid: int, *, lane: str, n_new: int = 5000, n_prompt: int = 2) -> None:
        tokens = np.random.default_rng(rid).integers(0, 1000, n_prompt).astype(np.int32)
        admission = Submission(
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
