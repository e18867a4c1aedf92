"""A scheduler on a fake device that costs what a small CPU costs: 22 ms for a row, about 5 ms for
every further token. Time passes only in its steps."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from umad.config import LaneSettings, SchedulerSettings
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import (
    Finished,
    HouseKept,
    Sampled,
    SeqPark,
    SeqRestore,
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
    cut_share: float = 0.0
    shares_at: Literal["anywhere", "states"] = "anywhere"
    cut_save_ms: float | None = None
    skip_ms: float = 0.0
    tiles: bool = False
    settings: SchedulerSettings = field(default_factory=SchedulerSettings)
    parking: ParkShape | None = None
    saved: dict[str, NDArray[np.int32]] | None = None
    slab_ms: float = 1.0
    host_ms: float = 0.0  # of every step, beside the device's time
    switch_ms: float = 0.0  # of a step under other adapters than the step before
    under: str = ""
    now_ns: int = 0
    plans: list[StepPlan] = field(default_factory=list)
    ended: dict[int, Finished] = field(default_factory=dict)
    tokens: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        cost = CostModel(tiles=self.tiles)
        cost.learn_all([(n, 0, 16.0 + 6.0 * n) for n in (1, 2, 4, 8, 16)])
        cost.learn_all([(0, n, 16.0 + 4.3 * n) for n in (1, 4, 16, 64, 256)])
        cost.learn_all([(4, n, 40.0 + 4.5 * n) for n in (1, 4, 16, 64, 256)])
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=self.n_cells,
                max_seqs=self.max_seqs,
                batch_tokens=self.batch_tokens,
                settings=self.settings,
                latency_cap=self.cap,
                lanes=LANES,
                cost=cost,
                parking=self.parking,
                saved=self.saved,
                cut_share=self.cut_share,
                shares_at=self.shares_at,
                cut_save_ms=self.cut_save_ms,
                skip_ms=self.skip_ms,
            )
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
        owner: str = "",
        adapters: str = "",
        invoked_at: int = 0,
    ) -> None:
        rng = np.random.default_rng(rid)
        tokens = rng.integers(0, 1000, n_prompt) if prompt is None else np.array(prompt)
        self.scheduler.submit(
            Submission(
                rid=rid,
                tokens=tokens.astype(np.int32),
                n_prompt=tokens.size,
                max_new_tokens=n_new,
                lane=lane,
                app=app,
                session=session,
                latency_cap=cap,
                deadline_ms=deadline_ms,
                owner=owner,
                salt=owner,
                adapters=adapters,
                invoked_at=invoked_at,
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
        took_ms = device_ms(plan) + (self.switch_ms if plan.adapters != self.under else 0.0)
        self.under = plan.adapters
        self.now_ns += int((took_ms + self.host_ms) * 1e6)
        drawn = [row.rid for row in plan.decode]
        drawn += [piece.rid for piece in plan.prefill if piece.wants_logits]
        self.tokens.update(drawn)
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=rid, token=rid) for rid in drawn),
            device_ms=took_ms,
            felt_ms=took_ms + house.copy_ms + self.host_ms,
            house=house,
        )
        for finished in self.scheduler.apply(plan, result, self.now_ns):
            self.ended[finished.rid] = finished
        return plan

    def cut_next(self, *, after_ms: float, by: Callable[[], None] = lambda: None) -> None:
        """Plan a step and abort it: all of its slice is lost. by: what happens while it runs."""
        plan = self.scheduler.plan(self.now_ns)
        assert plan.cuttable
        by()
        self.now_ns += int(after_ms * 1e6)
        kept = tuple((piece.seq, piece.start) for piece in plan.prefill)
        cut = StepResult(outcome="cut", device_ms=after_ms, seq_lengths=kept)
        self.scheduler.apply(plan, cut, self.now_ns)

    def run(self, steps: int) -> list[StepPlan]:
        return [self.step() for _ in range(steps)]
