"""A device with a draft model beside it, and texts that are known beforehand.

Time passes only in steps and in decodes of the draft. The draft guesses the next token of a text
with a probability; which ones follows from the token's place alone.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.scheduler.fake_device import LANES
from umad.config import SchedulerSettings
from umad.draft_slices import DraftCall, DraftDone, Drafted, DraftOrder
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.costs.step_cost import CostModel, slice_cells
from umad.scheduler.speculation.drafting import DraftShape
from umad.step import Sampled, StepPlan, StepResult, Verified

STEP_MS, TOKEN_MS = 20.0, 4.0
WRONG = 9_999


def words(seed: int, n: int) -> list[int]:
    """A text that repeats nothing."""
    text: list[int] = np.random.default_rng(seed).integers(0, 5000, n).tolist()
    return text


@dataclass
class DraftedDevice:
    """draft_ms: of a decode of the draft, and a fifth of that for each token it reads; None for no
    draft. right: how often it guesses right. row_ms: of each row beyond the first."""

    draft_ms: float | None
    right: float = 0.9
    row_ms: float = 1.0
    # What the draft's decodes are taken to cost at first; None for what they cost.
    believed_ms: float | None = None
    # Tokens of which the draft's pool holds no more.
    n_held_most: int = 10_000
    now_ms: float = 0.0
    plans: list[StepPlan] = field(default_factory=list)
    orders: list[DraftOrder] = field(default_factory=list)
    draft_took_ms: float = 0.0
    read_ms: float = 0.0
    ended_ms: dict[int, float] = field(default_factory=dict)
    able: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        cost = CostModel()
        cost.learn_all([(n, 0, STEP_MS + self.row_ms * (n - 1)) for n in (1, 2, 4, 8, 16)])
        cost.learn_all([(0, n, TOKEN_MS * n) for n in (16, 64, 256)])
        draft = None
        if self.draft_ms is not None:
            ms, its_cost = self.believed_ms or self.draft_ms, CostModel()
            its_cost.learn_all([(n, 0, ms) for n in (1, 2, 4, 8)])
            its_cost.learn_all([(0, n, ms + 0.2 * ms * n) for n in (4, 16, 64)])
            draft = DraftShape(cost=its_cost, batch_tokens=64)
        self.texts: dict[int, list[int]] = {}
        self.n_held: dict[int, int] = {}
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=8192,
                max_seqs=32,
                batch_tokens=1024,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=LANES,
                cost=cost,
                speculates=True,
                draft=draft,
                **self.able,
            )
        )

    def arrive(
        self, rid: int, text: list[int], n_prompt: int, *, lane: str = "interactive", **more: Any
    ) -> None:
        self.texts[rid] = text
        self.scheduler.submit(
            Submission(
                rid=rid,
                tokens=np.array(text[:n_prompt], np.int32),
                n_prompt=n_prompt,
                max_new_tokens=len(text) - n_prompt,
                lane=lane,
                app="app",
                **{"speculates": True, **more},
            ),
            self.now_ns,
        )

    @property
    def now_ns(self) -> int:
        return int(self.now_ms * 1e6)

    def run(self) -> "DraftedDevice":
        while len(self.ended_ms) < len(self.texts):
            self.step()
        return self

    @property
    def n_drafted(self) -> int:
        return sum(len(one.tokens) for plan in self.plans for one in plan.guesses if one.drafted)

    def step(self) -> None:
        plan = self.scheduler.plan(self.now_ns)
        if plan.is_idle:
            self.now_ms += plan.wait_ms or 1.0
            return
        if plan.drafts:
            assert self.draft_ms is not None
            done = self.draft(plan.drafts, self.draft_ms)
            self.now_ms += done.ms
            assert self.scheduler.speculator is not None
            plan = self.scheduler.speculator.with_drafted(plan, done)
        self.plans.append(plan)
        n_prefill = plan.n_rows - len(plan.decode) - plan.n_guesses
        device_ms = TOKEN_MS * n_prefill
        if plan.decode:
            device_ms += STEP_MS + self.row_ms * (len(plan.decode) + plan.n_guesses - 1)
        self.now_ms += device_ms
        sampled = [Sampled(row.rid, self.texts[row.rid][row.position + 1]) for row in plan.decode]
        sampled += [
            Sampled(piece.rid, self.texts[piece.rid][piece.start + piece.n_tokens])
            for piece in plan.prefill
            if piece.wants_logits
        ]
        verified = []
        for one in plan.guesses:
            text, n_held = self.texts[one.rid], 0
            while n_held < len(one.tokens) and one.tokens[n_held] == text[one.start + n_held]:
                n_held += 1
                sampled.append(Sampled(one.rid, text[one.start + n_held]))
            verified.append(Verified(one.rid, n_held))
        result = StepResult(
            outcome="done",
            sampled=tuple(sampled),
            verified=tuple(verified),
            device_ms=device_ms,
            felt_ms=device_ms + plan.draft_ms,
        )
        for finished in self.scheduler.apply(plan, result, self.now_ns):
            self.ended_ms[finished.rid] = self.now_ms

    def draft(self, orders: tuple[DraftOrder, ...], draft_ms: float) -> DraftDone:
        self.orders += orders
        drafted, calls = [], []
        # A decode of the draft has a row of each stream.
        sizes = [order.n_guesses for order in orders]
        for at in range(max(sizes)):
            n_rows = sum(size > at for size in sizes)
            calls.append(DraftCall(n_rows, 100 * n_rows, 0, 0, draft_ms))
        for order in orders:
            n, held = order.tokens.size, self.n_held.get(order.rid, 0)
            assert order.tokens.tolist() == self.texts[order.rid][:n]
            held = min(held, n - 1)
            guesses: list[int] = []
            if order.n_guesses and n - held <= order.most_read:
                ahead = range(n, n + order.n_guesses)
                guesses += [self.guess(order.rid, at) for at in ahead]
                held = n + order.n_guesses - 1
            elif not order.n_guesses and order.most_read:
                n_read = min(order.most_read, n - 1 - held)
                ms = draft_ms + 0.2 * draft_ms * n_read
                calls.append(DraftCall(0, 0, n_read, slice_cells(n_read, held), ms))
                self.read_ms += ms
                held += n_read
            # What was guessed wrongly is found out when the text is asked for again.
            right = n
            while right < held and guesses[right - n] == self.texts[order.rid][right]:
                right += 1
            self.n_held[order.rid] = right
            has_room = held <= self.n_held_most
            drafted.append(Drafted(order.rid, held if has_room else -1, tuple(guesses)))
        took_ms = sum(call.ms for call in calls)
        self.draft_took_ms += took_ms
        return DraftDone(drafted=tuple(drafted), calls=tuple(calls), ms=took_ms)

    def guess(self, rid: int, at: int) -> int:
        text = self.texts[rid]
        lucky = (rid * 7919 + at) * 2654435761 % 2**32 < self.right * 2**32
        return text[at] if lucky and at < len(text) else WRONG


def both(
    n_prompt: int, n_answer: int, *, lane: str = "interactive", **more: Any
) -> tuple[DraftedDevice, DraftedDevice]:
    """The same text without a draft, and with one."""
    devices = []
    for draft_ms in (None, more.pop("draft_ms")):
        device = DraftedDevice(draft_ms=draft_ms, **more)
        device.arrive(1, words(1, n_prompt + n_answer), n_prompt, lane=lane)
        devices.append(device.run())
    return devices[0], devices[1]
