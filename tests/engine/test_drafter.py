"""What a draft model is asked, carried out: the texts it holds, and the tokens it guesses."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.engine.draft_pool import N_VOCAB, FakePool, guessed
from umad.draft_slices import Drafted, DraftOrder
from umad.engine.drafts.drafter import Drafter
from umad.engine.drafts.held_texts import LEAST_SHARED, HeldTexts, Share
from umad.engine.facts import StepTraffic
from umad.models.sizes import WeightBytes

TRAFFIC = StepTraffic(weights=WeightBytes(dense=1000), kv_cell_bytes=1, n_vocab=10, ubatch=32)


def drafter(pool: FakePool, *, n_target: int = N_VOCAB) -> Drafter:
    now_ns = iter(range(0, 10**15, 1_000_000)).__next__
    return Drafter(pool, traffic=TRAFFIC, n_target=n_target, now_ns=now_ns)


def order(
    text: Sequence[int], *, rid: int = 1, salt: str = "me", read: int = 0, guesses: int = 0
) -> DraftOrder:
    return DraftOrder(rid, np.array(text, np.int32), salt, read, guesses)


def always() -> bool:
    return True


def run(
    drafts: Drafter, *orders: DraftOrder, is_wanted: Callable[[], bool] = always
) -> tuple[Drafted, ...]:
    return drafts.run(orders, is_wanted).drafted


def test_a_text_that_was_read_is_guessed_on() -> None:
    pool = FakePool()
    drafts, text = drafter(pool), list(range(30))

    (read,) = run(drafts, order(text, read=100))
    (found,) = run(drafts, order([*text, 7], read=4, guesses=3))

    assert read == Drafted(1, 29)
    assert found == Drafted(1, 33, guessed([*text, 7], 3))
    # The text, then two tokens of it and one guess after the other.
    assert pool.decodes == [29, 2, 1, 1]


def test_guesses_that_failed_are_taken_back() -> None:
    drafts, text = drafter(FakePool()), [1, 2, 3]
    run(drafts, order(text, read=4, guesses=5))

    right = guessed(text, 2)
    longer = [*text, *right, (guessed(text, 3)[2] + 1) % N_VOCAB]
    (found,) = run(drafts, order(longer, read=4, guesses=5))

    assert found == Drafted(1, 10, guessed(longer, 5))


def test_a_text_of_which_too_much_is_unread_is_not_guessed_on() -> None:
    pool = FakePool()

    (found,) = run(drafter(pool), order(list(range(30)), read=4, guesses=3))

    assert found == Drafted(1, 0)
    assert not pool.decodes


def test_a_question_costs_no_decode_and_tells_what_is_read() -> None:
    pool = FakePool()
    drafts, text = drafter(pool), list(range(30))
    run(drafts, order(text, read=20))

    (found,) = run(drafts, order([*text, 1, 2]))

    assert found == Drafted(1, 20)
    assert pool.decodes == [20]


def test_streams_are_guessed_for_together() -> None:
    pool = FakePool()
    texts = [[1, 2, 3], [4, 5, 6], [7, 8]]

    found = run(drafter(pool), *[order(t, rid=r, read=4, guesses=3) for r, t in enumerate(texts)])

    assert [one.tokens for one in found] == [guessed(text, 3) for text in texts]
    assert pool.decodes == [8, 3, 3]


def test_mail_ends_the_guessing() -> None:
    pool = FakePool()
    wanted = iter([True, False])

    (found,) = run(drafter(pool), order([1, 2], read=4, guesses=9), is_wanted=lambda: next(wanted))

    assert found.tokens == guessed([1, 2], 2)


def test_the_next_turn_of_a_chat_finds_its_text_read() -> None:
    drafts, text = drafter(FakePool()), list(range(40))
    run(drafts, order(text, rid=1, read=100))

    (found,) = run(drafts, order([*text, 9, 8, 7], rid=2))

    assert found == Drafted(2, 39)


def test_a_beginning_that_runs_elsewhere_is_shared() -> None:
    pool = FakePool()
    drafts, text = drafter(pool), list(range(40))
    run(drafts, order(text, rid=1, read=100))

    both = (order([*text, 5], rid=1, read=4, guesses=2), order([*text[:30], 9], rid=2))
    first, second = run(drafts, *both)

    assert first.tokens == guessed([*text, 5], 2)
    assert second == Drafted(2, 30)


def test_what_was_read_for_one_owner_is_never_used_for_another() -> None:
    pool = FakePool()
    drafts, text = drafter(pool), list(range(40))
    run(drafts, order(text, rid=1, salt="me", read=100))

    (found,) = run(drafts, order(text, rid=2, salt="you"))
    (still,) = run(drafts, order(text, rid=3, salt="me"))

    assert found.n_held == 0
    assert still.n_held == 39


def test_what_was_used_longest_ago_makes_room() -> None:
    drafts = drafter(FakePool(n_cells=100))
    texts = {rid: [rid, *range(40)] for rid in (1, 2, 3)}
    for rid, text in texts.items():
        run(drafts, order(text, rid=rid, read=100))

    held = {rid: run(drafts, order(text, rid=rid))[0].n_held for rid, text in texts.items()}

    assert held == {1: 0, 2: 40, 3: 40}


def test_a_text_that_the_pool_cannot_hold_is_not_read() -> None:
    pool = FakePool(n_cells=20)

    (found,) = run(drafter(pool), order([t % N_VOCAB for t in range(60)], read=100))

    assert found == Drafted(1, -1)
    assert not pool.decodes


@pytest.mark.parametrize("n_target", [N_VOCAB, 20])
def test_a_token_that_one_of_both_does_not_know_is_neither_read_nor_guessed(n_target: int) -> None:
    drafts = drafter(FakePool(), n_target=n_target)

    (unknown,) = run(drafts, order([1, n_target, 2], read=9, guesses=1))
    (found,) = run(drafts, order([1, 2, 3], rid=2, read=9, guesses=20))

    assert unknown == Drafted(1, -1)
    assert all(token < n_target for token in found.tokens)


def test_a_draft_that_fails_guesses_nothing_any_more_and_harms_nobody() -> None:
    pool = FakePool()
    drafts = drafter(pool)
    pool.fails = True

    first = run(drafts, order([1, 2, 3], read=9, guesses=2))
    pool.fails = False
    again = run(drafts, order([1, 2, 3], read=9, guesses=2))

    assert first == again == (Drafted(1, -1),)


def test_the_time_and_the_bytes_of_a_draft_are_told() -> None:
    drafts = drafter(FakePool())

    done = drafts.run([order([1, 2, 3], read=9, guesses=2)], always)

    assert [(call.n_rows, call.n_tokens) for call in done.calls] == [(3, 0), (1, 0)]
    assert done.ms >= sum(call.ms for call in done.calls) > 0
    assert done.bytes_moved > 2 * 1000


def test_forgetting_leaves_nothing() -> None:
    pool = FakePool()
    drafts, text = drafter(pool), list(range(40))
    run(drafts, order(text, read=100))

    drafts.clear()

    assert not any(pool.cells)
    assert run(drafts, order(text))[0].n_held == 0


def test_a_short_beginning_is_not_shared() -> None:
    texts = HeldTexts(4, 100)
    seq, _ = texts.place(1, np.arange(30, dtype=np.int32), "me")
    texts.grew(seq, np.arange(LEAST_SHARED - 1, dtype=np.int32))

    other = texts.place(2, np.arange(30, dtype=np.int32), "me")

    assert other.seq != seq
    assert not any(isinstance(one, Share) for one in texts.take_operations())


class DraftingMachine(RuleBasedStateMachine):
    """Streams come, grow as guessed or otherwise, stop and go on, in a small pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = FakePool(n_seqs=3, n_cells=90, batch_tokens=16)
        self.drafts = drafter(self.pool)
        self.texts: dict[int, tuple[str, list[int]]] = {}
        self.next_rid = 0

    @rule(
        salt=st.sampled_from(["me", "you"]),
        like=st.integers(0, 10),
        tail=st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=30),
    )
    def arrives(self, salt: str, like: int, tail: list[int]) -> None:
        self.next_rid += 1
        known = [text for one, text in self.texts.values() if one == salt] or [[]]
        self.texts[self.next_rid] = (salt, [*known[like % len(known)][:40], *tail])

    @rule(
        seed=st.integers(0, 10**6),
        n=st.integers(1, 3),
        read=st.integers(0, 40),
        guesses=st.integers(0, 6),
        held=st.integers(0, 6),
    )
    def is_asked(self, seed: int, n: int, read: int, guesses: int, held: int) -> None:
        rids = sorted(self.texts, key=lambda rid: hash((seed, rid)))[:n]
        orders = [
            order(self.texts[rid][1], rid=rid, salt=self.texts[rid][0], read=read, guesses=guesses)
            for rid in rids
        ]
        if not orders:
            return
        for rid, one in zip(rids, run(self.drafts, *orders), strict=True):
            text = self.texts[rid][1]
            assert one.rid == rid
            assert one.tokens in ((), guessed(text, guesses)), "a cell was wrong"
            assert one.n_held <= len(text) - 1 + max(1, len(one.tokens))
            # Some of the guesses hold, and another token follows.
            text += [*one.tokens[:held], (seed + rid) % N_VOCAB]

    @rule(which=st.integers(0, 10))
    def ends(self, which: int) -> None:
        if self.texts:
            del self.texts[sorted(self.texts)[which % len(self.texts)]]

    @rule()
    def is_forgotten(self) -> None:
        self.drafts.clear()
        assert not any(self.pool.cells)


TestDrafting: Any = DraftingMachine.TestCase
TestDrafting.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
