"""Texts being embedded beside streams: what the streams feel of it, and that it gets somewhere."""

import numpy as np

from umad.config import SchedulerSettings, Settings
from umad.request import BACKGROUND, INTERACTIVE
from umad.scheduler import Neighbours, SchedulerSpec, Submission, assemble
from umad.scheduler.embeds.queue import EmbedAdmission, EmbedShape
from umad.step import Sampled, StepPlan, StepResult

NS_PER_MS = 1_000_000
DECODE_MS, MS_PER_TOKEN, EMBED_CALL_MS, EMBED_MS = 10.0, 0.5, 0.3, 0.25
CAP = 1.2


class Machine:
    """A scheduler on a device of known speed. gaps_ms: of steps in which a stream had a row."""

    def __init__(self, *, rows: int = 128, whole: bool = False, cut_share: float = 0.0) -> None:
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=4096,
                max_seqs=8,
                batch_tokens=256,
                settings=SchedulerSettings(),
                latency_cap=CAP,
                lanes=Settings().qos,
                embeds=EmbedShape(rows=rows, seqs=16, whole=whole),
                cut_share=cut_share,
            )
        )
        self.now_ns = 1
        self.gaps_ms: list[float] = []
        self.plans: list[StepPlan] = []

    def chat(
        self, rid: int, *, lane: str = INTERACTIVE, n_prompt: int = 8, n_new: int = 1500
    ) -> None:
        self.scheduler.submit(
            Submission(
                rid=rid,
                tokens=np.full(n_prompt, rid, np.int32),
                n_prompt=n_prompt,
                max_new_tokens=n_new,
                lane=lane,
                app="chat",
            ),
            self.now_ns,
        )

    def embed(self, call: int, *sizes: int, lane: str = INTERACTIVE) -> None:
        inputs = tuple(np.full(size, 7, np.int32) for size in sizes)
        admission = EmbedAdmission(call=call, lane=lane, app="index", inputs=inputs)
        self.scheduler.embeds.submit(admission, self.now_ns)

    def step(self, *, cut: bool = False) -> StepPlan:
        """One step; cut: an arrival ends its texts' slice."""
        plan = self.scheduler.plan(self.now_ns)
        self.plans.append(plan)
        if plan.is_idle:
            self.now_ns += max(1, int(plan.wait_ms * NS_PER_MS))
            return plan
        n_prefill = sum(piece.n_tokens for piece in plan.prefill)
        device_ms = DECODE_MS * bool(plan.decode) + MS_PER_TOKEN * n_prefill
        embed_ms = 0.0
        if plan.embed is not None:
            embed_ms = EMBED_CALL_MS + EMBED_MS * plan.embed.n_rows
        self.now_ns += int((device_ms + embed_ms) * NS_PER_MS)
        if any(row.rid == 1 for row in plan.decode):
            self.gaps_ms.append(device_ms + embed_ms)
        rids = [row.rid for row in plan.decode] + [p.rid for p in plan.prefill if p.wants_logits]
        result = StepResult(
            outcome="done",
            sampled=tuple(Sampled(rid=rid, token=5) for rid in rids),
            device_ms=device_ms,
            embed_ms=embed_ms,
            embed_cut=cut,
        )
        self.scheduler.apply(plan, result, self.now_ns)
        return plan

    def settled(self) -> "Machine":
        """One stream that has run for a while, so that its step is known."""
        self.chat(1)
        while len(self.gaps_ms) < 50:
            self.step()
        self.gaps_ms.clear()
        return self


def test_a_library_being_embedded_stays_inside_the_cap_of_a_stream() -> None:
    machine = Machine().settled()
    machine.embed(9, *[200] * 500)

    while len(machine.gaps_ms) < 600:
        machine.step()

    assert np.quantile(machine.gaps_ms, 0.95) <= CAP * DECODE_MS
    assert np.quantile(machine.gaps_ms, 0.99) <= 2 * DECODE_MS
    assert max(machine.gaps_ms) <= 3 * DECODE_MS
    assert machine.scheduler.embeds.tokens_total > 600


def test_a_question_beside_a_stream_is_answered_within_its_cap_too() -> None:
    machine = Machine().settled()
    machine.embed(9, 60)

    while len(machine.scheduler.embeds):
        machine.step()

    assert max(machine.gaps_ms) <= 2 * DECODE_MS
    assert len(machine.gaps_ms) < 60


def test_alone_a_text_has_the_device() -> None:
    machine = Machine()
    machine.embed(9, *[64] * 64)

    for _ in range(200):
        machine.step()

    slices = [plan.embed for plan in machine.plans if plan.embed is not None]
    assert not len(machine.scheduler.embeds)
    assert max(one.n_rows for one in slices) == 128
    assert all(plan.cuttable for plan in machine.plans if plan.embed is not None)


def embedded_ms(machine: Machine, *, cut: bool = False) -> float:
    """What the texts of the next step take."""
    plan = machine.step(cut=cut)
    assert plan.embed is not None
    return EMBED_CALL_MS + EMBED_MS * plan.embed.n_rows


def test_alone_a_librarys_slices_grow_until_an_arrival_cuts_one() -> None:
    machine = Machine(rows=4096)
    machine.embed(9, *[4000] * 8)

    grown_ms = [embedded_ms(machine) for _ in range(8)]
    embedded_ms(machine, cut=True)
    again_ms = embedded_ms(machine)

    assert grown_ms[0] <= 51
    assert 200 < grown_ms[-1] <= 251
    assert again_ms <= 51


def test_slices_that_no_arrival_can_cut_stay_short() -> None:
    machine = Machine(rows=4096, cut_share=1.0)
    machine.embed(9, *[4000] * 8)

    assert max(embedded_ms(machine) for _ in range(12)) <= 51


def test_bulk_and_background_streams_take_turns() -> None:
    machine = Machine()
    machine.chat(2, lane=BACKGROUND)
    machine.embed(9, *[64] * 200)

    for _ in range(100):
        machine.step()

    with_texts = sum(plan.embed is not None for plan in machine.plans)
    assert 40 <= with_texts <= 60
    assert all(not plan.decode for plan in machine.plans if plan.embed is not None)


def test_a_newcomers_prompt_waits_for_no_library() -> None:
    machine = Machine()
    machine.embed(9, *[64] * 200)
    for _ in range(5):
        machine.step()
    machine.chat(1, n_prompt=600)

    steps = [machine.step() for _ in range(3)]

    assert all(plan.prefill and plan.embed is None for plan in steps)


def test_beside_a_busy_neighbour_bulk_takes_a_small_share_and_a_question_none_of_its_patience() -> (
    None
):
    machine = Machine(whole=True)
    machine.scheduler.heard(Neighbours(interactive=True), machine.now_ns)
    machine.embed(9, *[64] * 400)
    began_ns = machine.now_ns
    while machine.now_ns - began_ns < 5_000 * NS_PER_MS:
        machine.step()
    busy_ms = sum(
        EMBED_CALL_MS + EMBED_MS * plan.embed.n_rows
        for plan in machine.plans
        if plan.embed is not None
    )
    machine.embed(10, 30)

    question = next(plan for plan in iter(machine.step, None) if not plan.is_idle)

    assert 0.01 < busy_ms / 5_000 < 0.08
    assert question.embed is not None
    assert question.embed.pieces[0].call == 10
