"""Which beginnings are shared, where layers look back over a window only."""

import numpy as np
import pytest

from tests.scheduler.fake_cells import N_CELLS, FakeCells
from umad.config import SchedulerSettings, Settings
from umad.request import INTERACTIVE
from umad.scheduler import SchedulerSpec, Submission, assemble
from umad.scheduler.memory.windows import Beginnings, Window
from umad.step import Sampled, SeqCopy, StepPlan, StepResult


class Pool:
    """A scheduler on `FakeCells`; every token it draws is a 7."""

    def __init__(self, window: Window, max_seqs: int = 4) -> None:
        self.cells = FakeCells(window=window)
        self.scheduler = assemble(
            SchedulerSpec(
                n_cells=N_CELLS,
                max_seqs=max_seqs,
                batch_tokens=64,
                settings=SchedulerSettings(),
                latency_cap=1.2,
                lanes=Settings().qos,
                beginnings=Beginnings(window, self.cells.begin_of),
            )
        )

    def submit(self, rid: int, *tokens: int, max_tokens: int = 1) -> None:
        prompt = np.array(tokens, np.int32)
        self.scheduler.submit(
            Submission(
                rid=rid,
                tokens=prompt,
                n_prompt=prompt.size,
                max_new_tokens=max_tokens,
                lane=INTERACTIVE,
                app="app",
            ),
            0,
        )

    def step(self) -> StepPlan:
        plan = self.scheduler.plan(0)
        house = self.cells.carry_out(plan)
        sampled = []
        for row in plan.decode:
            self.cells.compute(row.seq, row.position, [row.token])
            sampled.append(Sampled(rid=row.rid, token=7))
        for piece in plan.prefill:
            self.cells.compute(piece.seq, piece.start, piece.tokens.tolist())
            if piece.wants_logits:
                sampled.append(Sampled(rid=piece.rid, token=7))
        done = StepResult(outcome="done", sampled=tuple(sampled), device_ms=1.0, house=house)
        self.scheduler.apply(plan, done, 0)
        return plan

    def settle(self) -> None:
        while not self.step().is_idle:
            pass


KNOWN = tuple(range(50))


@pytest.mark.parametrize(
    ("window", "position", "first"),
    [
        (Window(n_tokens=8), 3, 0),
        (Window(n_tokens=8), 7, 0),
        (Window(n_tokens=8), 8, 1),
        (Window(n_tokens=8), 50, 43),
        (Window(n_tokens=8, in_chunks=True), 7, 0),
        (Window(n_tokens=8, in_chunks=True), 8, 8),
        (Window(n_tokens=8, in_chunks=True), 23, 16),
    ],
)
def test_a_token_looks_at_its_window_itself_included(
    window: Window, position: int, first: int
) -> None:
    assert window.first_seen(position) == first


@pytest.mark.parametrize(
    ("begin", "shared", "is_shared"), [(0, 20, True), (13, 20, True), (14, 20, False)]
)
def test_a_beginning_is_shared_while_the_next_token_finds_all_it_looks_at(
    begin: int, shared: int, is_shared: bool
) -> None:
    pool = Pool(Window(n_tokens=8))
    pool.submit(1, *KNOWN)
    pool.settle()
    pool.cells.begins[0] = begin

    pool.submit(2, *KNOWN[:shared], 99, 98)
    plan = pool.step()

    assert plan.prefill[0].start == (shared if is_shared else 0)


def test_a_conversation_goes_on_whatever_lies_behind_its_window() -> None:
    pool = Pool(Window(n_tokens=8))
    pool.submit(1, *KNOWN)
    pool.settle()
    pool.cells.lose_beginnings(1.0)

    pool.submit(2, *KNOWN, 7, 99)

    assert pool.step().prefill[0].start == 50


def test_one_that_still_has_its_beginning_is_found_behind_a_longer_one_that_has_not() -> None:
    pool = Pool(Window(n_tokens=8))
    pool.submit(1, *KNOWN)
    pool.settle()
    pool.submit(2, *KNOWN[:30], *range(100, 120))
    pool.settle()
    pool.cells.begins[0] = 40

    pool.submit(3, *KNOWN[:32], 99)
    plan = pool.step()

    # The first has 32 tokens of it, the second 30.
    assert plan.memory == (SeqCopy(source=1, target=2, n_tokens=30),)
    assert plan.prefill[0].start == 30


def test_two_that_come_together_share_one_beginning() -> None:
    pool = Pool(Window(n_tokens=8))
    pool.submit(1, *KNOWN)
    pool.settle()
    pool.cells.begins[0] = 20

    pool.submit(2, *KNOWN[:40], 99, max_tokens=5)
    pool.submit(3, *KNOWN[:40], 98, max_tokens=5)
    plan = pool.step()

    assert [op.n_tokens for op in plan.memory if isinstance(op, SeqCopy)] == [40, 40]


def test_a_number_used_again_is_not_taken_for_who_had_it_before() -> None:
    pool = Pool(Window(n_tokens=8), max_seqs=3)
    pool.submit(1, *KNOWN)
    pool.settle()
    pool.submit(2, *range(60, 90))
    pool.settle()
    pool.cells.begins[0] = 40

    # The second one's number goes to a copy that begins at 40; its own beginning was whole.
    pool.submit(3, *KNOWN[:48], 99, max_tokens=40)
    pool.submit(4, *KNOWN[:48], 98, max_tokens=40)
    pool.submit(5, *KNOWN[:47], 97, max_tokens=5)
    pool.submit(6, *KNOWN[:20], 96, max_tokens=5)

    pool.settle()  # `FakeCells` sees to it that every row finds what it looks at
    assert pool.scheduler.snapshot().running == 0


def test_a_shorter_sequence_is_kept_beside_a_longer_one_that_cannot_stand_for_it() -> None:
    pool = Pool(Window(n_tokens=8))
    pool.submit(1, *KNOWN[:30], max_tokens=1)
    pool.submit(2, *KNOWN, max_tokens=3)
    while len(pool.cells.sequences.get(1, ())) < len(KNOWN):
        pool.step()
    pool.cells.begins[1] = 40
    pool.settle()

    pool.submit(3, *KNOWN[:30], 99)

    assert pool.step().prefill[0].start == 30
