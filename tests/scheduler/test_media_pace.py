"""Media of background work beside somebody who reads, on a device where time passes in steps alone.

A row takes as long as a step there, as on a CPU: rows are a decode of their own, and that reads all
weights.
"""

import numpy as np
import pytest

from umad.config import LaneSettings, SchedulerSettings
from umad.media_slices import EncodeTurn, RowSpan
from umad.scheduler import Scheduler, SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.media.cells import stand_ins
from umad.step import HouseKept, Sampled, StepPlan, StepResult

READER, PHOTO, N_ROWS = 1, 2, 256
LANES = {
    "interactive": LaneSettings(priority=10),
    "background": LaneSettings(priority=1, floor=0.02),
}


def decode_ms(n: int) -> float:
    return 24.0 + 2.0 * n


def rows_ms(n: int, ms_each: float) -> float:
    return 20.0 + ms_each * n


class LongNodes:
    """An encoder whose nodes take `node_ms` each, and cannot be held within one. A step beside one
    takes `slower` times as long, and the node has the rest of the cores."""

    def __init__(self, node_ms: float, slower: float) -> None:
        self.node_ms = node_ms
        self.slower = slower
        self.n_over = 0
        # Of the node that is under way between turns.
        self.left_ms = 0.0

    def turn(self, turn: EncodeTurn) -> float:
        """How long the step thread waits for it; as `EncodeGate.open_for`."""
        waited_ms = min(self.left_ms, turn.ms)
        if self.left_ms:
            self.left_ms -= waited_ms
            if self.left_ms:
                return waited_ms
            self.n_over += 1
        while waited_ms < turn.ms:
            if waited_ms + self.node_ms > turn.ms + turn.late_ms:
                self.left_ms = self.node_ms - (turn.ms + turn.late_ms - waited_ms)
                return turn.ms + turn.late_ms
            waited_ms += self.node_ms
            self.n_over += 1
        return waited_ms

    def step(self, alone_ms: float) -> float:
        """How long a step takes that takes `alone_ms` with no node under way."""
        share = 1 - 1 / self.slower
        node_ms = min(self.left_ms / share, alone_ms * self.slower)
        self.left_ms -= node_ms * share
        if self.left_ms < 1e-6:
            self.n_over += node_ms > 0
            self.left_ms = 0.0
        return node_ms + alone_ms - node_ms / self.slower


def scheduler(ms_each: float, *, has_rows: bool = True) -> Scheduler:
    """With a reader, and a photo. has_rows: they are at hand."""
    cost = CostModel()
    cost.learn_all([(n, 0, decode_ms(n)) for n in (1, 2, 4, 8)])
    cost.learn_all([(0, n, rows_ms(n, ms_each)) for n in (1, 2, 4, 16, 64, 256)])
    cost.learn_all([(1, n, decode_ms(1) + ms_each * n) for n in (1, 2, 4, 16, 64, 256)])
    made = assemble(
        SchedulerSpec(
            n_cells=8192,
            max_seqs=4,
            batch_tokens=512,
            settings=SchedulerSettings(),
            latency_cap=1.2,
            lanes=LANES,
            cost=cost,
            has_rows=lambda rid, run: has_rows,
        )
    )
    photo = np.concatenate([np.arange(4), stand_ins("photo", N_ROWS), np.arange(8)])
    spans = (RowSpan(run=0, start=4, n_cells=N_ROWS, is_atomic=False),)
    for rid, tokens, lane in ((READER, np.arange(8), "interactive"), (PHOTO, photo, "background")):
        made.submit(
            Submission(
                rid=rid,
                tokens=tokens.astype(np.int32),
                n_prompt=tokens.size,
                max_new_tokens=4000 if rid == READER else 1,
                lane=lane,
                app=lane,
                spans=spans if rid == PHOTO else (),
            ),
            0,
        )
    return made


def waits_ms(
    ms_each: float, n: int, encoder: LongNodes | None = None
) -> tuple[list[float], list[StepPlan]]:
    """What the reader waits for the next `n` tokens, and the steps of it. encoder: of the photo's
    rows, which are not there yet."""
    made = scheduler(ms_each, has_rows=encoder is None)
    waits: list[float] = []
    plans: list[StepPlan] = []
    now_ns, left_ns = 0, 0
    while len(waits) < n:
        plan = made.plan(now_ns)
        rows = 0.0 if plan.rows is None else rows_ms(plan.rows.n_cells, ms_each)
        tokens = sum(piece.n_tokens for piece in plan.prefill)
        device_ms = decode_ms(len(plan.decode)) + ms_each * tokens if plan.decodes else 0.0
        if encoder is not None:
            rows += 0.0 if plan.encode is None else encoder.turn(plan.encode)
            device_ms = encoder.step(device_ms) if device_ms else 0.0
        is_beside = encoder is not None and encoder.left_ms > 0
        now_ns += int((rows + device_ms) * 1e6)
        drawn = [row.rid for row in plan.decode]
        if READER in drawn:
            waits.append((now_ns - left_ns) / 1e6)
            plans.append(plan)
        drawn += [piece.rid for piece in plan.prefill if piece.wants_logits]
        felt_ms, left_ns = (now_ns - left_ns) / 1e6, now_ns
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid, 5) for rid in drawn),
            device_ms=device_ms,
            felt_ms=felt_ms,
            media_ms=rows,
            house=HouseKept(),
            crowded=is_beside,
            bulk_beside=is_beside,
        )
        made.apply(plan, result, now_ns)
    return waits, plans


def test_rows_that_do_not_fit_the_cap_are_rare_and_several() -> None:
    waits, plans = waits_ms(6.0, 2000)

    solo_ms = decode_ms(1)
    over = [wait for wait in waits if wait > 1.2 * solo_ms]
    carried = [plan.rows.n_cells for plan in plans if plan.rows is not None]
    assert 15 <= len(carried) <= 20, "one step in 101, so that p99 is free of them"
    assert len(over) <= len(carried) + 5, "its texts are steps, too"
    assert max(over) <= 3 * solo_ms
    assert min(carried) >= 2, "one row would take as long as a step, and bring nothing"


def test_an_image_is_read_to_its_end_however_long_somebody_reads() -> None:
    waits, plans = waits_ms(0.5, 1500)

    assert sum(plan.rows.n_cells for plan in plans if plan.rows is not None) == N_ROWS
    assert max(waits) <= 3 * decode_ms(1)


@pytest.mark.parametrize("ms_each", [0.5, 6.0, 12.0])
def test_the_median_reader_feels_nothing(ms_each: float) -> None:
    waits, _ = waits_ms(ms_each, 600)

    assert sorted(waits)[len(waits) // 2] <= 1.2 * decode_ms(1)


# By its operations, attention over some thousand patches takes about ten steps of a small model.
@pytest.mark.parametrize("node_ms", [20.0, 60.0, 200.0])
def test_nodes_longer_than_a_step_keep_the_cap_where_the_encoder_leaves_the_cores_to_steps(
    node_ms: float,
) -> None:
    encoder = LongNodes(node_ms, slower=1.11)

    waits, _ = waits_ms(0.5, 800, encoder)

    solo_ms = decode_ms(1)
    assert sorted(waits)[len(waits) * 95 // 100] <= 1.2 * solo_ms
    assert max(waits) <= 3 * solo_ms
    assert encoder.n_over >= 5, "the photo goes on"


@pytest.mark.parametrize("node_ms", [20.0, 60.0, 200.0])
def test_nobody_waits_much_longer_than_three_steps_where_the_encoder_has_half_of_the_cores(
    node_ms: float,
) -> None:
    waits, _ = waits_ms(0.5, 800, LongNodes(node_ms, slower=2.0))

    assert max(waits) <= 3.2 * decode_ms(1)
