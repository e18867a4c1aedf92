"""Vectors that are kept: by owner and by what a text says, within their room, until forgotten."""

import math

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from umad.engine.embedding.answer import Answer
from umad.engine.embedding.cache import VectorCache, text_key
from umad.engine.embedding.lookup import look_up
from umad.engine.embedding.work import AnswerForm

WIDTH = 4
ENTRY_BYTES = 4 * WIDTH + 256


def tokens(*ids: int) -> NDArray[np.int32]:
    return np.array(ids, np.int32)


def vector(number: float) -> NDArray[np.float32]:
    return np.array([number, 2, 3, 4], np.float32)


def room(n_vectors: int) -> VectorCache:
    return VectorCache(n_vectors * ENTRY_BYTES)


def keep(cache: VectorCache, owner: str, *numbers: int) -> None:
    for number in numbers:
        cache.keep(owner, text_key(tokens(number)), vector(number), epoch=cache.epoch)


def kept(cache: VectorCache, owner: str, *numbers: int) -> list[bool]:
    return [cache.find(owner, text_key(tokens(number))) is not None for number in numbers]


def test_a_vector_is_found_by_the_tokens_of_its_text() -> None:
    cache = room(3)

    keep(cache, "ada", 1)

    found = cache.find("ada", text_key(tokens(1)))
    assert found is not None
    assert found.tolist() == vector(1).tolist()
    assert kept(cache, "ada", 2) == [False]


def test_nobody_finds_what_another_has_asked() -> None:
    cache = room(3)

    keep(cache, "ada", 1)

    assert kept(cache, "bob", 1) == [False]


def test_the_vector_used_longest_ago_goes_first() -> None:
    cache = room(3)
    keep(cache, "ada", 1, 2, 3)
    kept(cache, "ada", 1)

    keep(cache, "ada", 4)

    assert kept(cache, "ada", 1, 2, 3, 4) == [True, False, True, True]


def test_a_library_does_not_push_out_another_owners_questions() -> None:
    cache = room(10)
    keep(cache, "ada", 1, 2)

    keep(cache, "indexer", *range(1000))

    assert kept(cache, "ada", 1, 2) == [True, True]
    assert cache.used_bytes <= 10 * ENTRY_BYTES


def test_what_is_forgotten_is_gone_and_what_was_asked_before_does_not_come_back() -> None:
    cache = room(10)
    keep(cache, "ada", 1)
    keep(cache, "bob", 2)
    before = cache.epoch

    cache.forget("ada")
    cache.keep("ada", text_key(tokens(3)), vector(3), epoch=before)

    assert kept(cache, "ada", 1, 3) == [False, False]
    assert kept(cache, "bob", 2) == [True]
    cache.forget(None)
    assert (kept(cache, "bob", 2), cache.used_bytes) == ([False], 0)


def test_while_memory_is_short_vectors_go_and_have_less_room() -> None:
    cache = room(4)
    keep(cache, "ada", 1, 2, 3)

    assert cache.spare(0.5) == 3 * ENTRY_BYTES

    keep(cache, "ada", 1, 2, 3)
    assert kept(cache, "ada", 1, 2, 3) == [False, True, True]
    assert cache.spare(1) == 0
    keep(cache, "ada", 4, 5)
    assert kept(cache, "ada", 2, 3, 4, 5) == [True] * 4


def test_without_room_nothing_is_kept() -> None:
    cache = VectorCache(0)

    keep(cache, "ada", 1)

    assert kept(cache, "ada", 1) == [False]


class AnyUse(RuleBasedStateMachine):
    """Whatever happens, what is found is right, and the room is not exceeded."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = room(5)
        self.capacity_bytes = 5 * ENTRY_BYTES
        self.seen: dict[tuple[str, int], bool] = {}

    owners = st.sampled_from(["", "ada", "bob"])
    numbers = st.integers(0, 8)

    @rule(owner=owners, number=numbers)
    def keep(self, owner: str, number: int) -> None:
        keep(self.cache, owner, number)
        self.seen[owner, number] = True

    @rule(owner=owners, number=numbers)
    def find(self, owner: str, number: int) -> None:
        found = self.cache.find(owner, text_key(tokens(number)))
        if found is not None:
            assert self.seen.get((owner, number))
            assert found.tolist() == vector(number).tolist()

    @rule(owner=st.one_of(st.none(), owners))
    def forget(self, owner: str | None) -> None:
        self.cache.forget(owner)
        self.seen = {} if owner is None else {k: v for k, v in self.seen.items() if k[0] != owner}

    @rule(share=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    def spare(self, share: float) -> None:
        before = self.cache.used_bytes
        freed = self.cache.spare(share)
        self.capacity_bytes = round(share * 5 * ENTRY_BYTES)
        assert freed == before - self.cache.used_bytes
        if share < 1:
            self.seen = {}

    @invariant()
    def fits(self) -> None:
        assert 0 <= self.cache.used_bytes <= self.capacity_bytes
        assert self.cache.used_bytes % ENTRY_BYTES == 0


TestAnyUse = AnyUse.TestCase


# -- the texts of one request ----------------------------------------------------------------------


def test_a_text_that_stands_twice_is_computed_once_and_answered_twice() -> None:
    cache = room(5)
    texts = [tokens(1), tokens(2, 2), tokens(1)]

    sources, to_compute = look_up(cache, "ada", texts)
    answer = Answer(7, sources, AnswerForm(width=WIDTH, normalize=False))
    for index, one in enumerate(to_compute):
        assert not answer.is_whole
        answer.take(index, vector(one.size))

    assert [one.tolist() for one in to_compute] == [[1], [2, 2]]
    assert answer.is_whole
    reply = answer.reply()
    assert reply.call == 7
    rows = np.frombuffer(reply.value["vectors"], "<f4").reshape(3, WIDTH)
    assert rows[:, 0].tolist() == [1, 2, 1]
    assert (reply.value["prompt_tokens"], reply.value["cached_tokens"]) == (4, 1)
    assert reply.value["cached_inputs"] == 1


def test_known_texts_need_no_computing_and_are_cut_and_scaled_as_this_request_asks() -> None:
    cache = room(5)
    keep(cache, "ada", 3)
    texts = [tokens(9), tokens(3)]

    sources, to_compute = look_up(cache, "ada", texts)
    answer = Answer(1, sources, AnswerForm(width=2))
    answer.take(0, vector(0))

    assert [one.tolist() for one in to_compute] == [[9]]
    rows = np.frombuffer(answer.reply().value["vectors"], "<f4").reshape(2, 2)
    assert np.allclose(rows, np.array([[0, 1], [3 / math.sqrt(13), 2 / math.sqrt(13)]]))


def test_scores_are_put_in_order_wherever_they_come_from() -> None:
    cache = room(5)
    for number, score in ((1, 0.5), (2, 2.0)):
        key = text_key(tokens(number))
        cache.keep("ada", key, np.array([score], np.float32), epoch=cache.epoch)

    sources, to_compute = look_up(cache, "ada", [tokens(1), tokens(5), tokens(2)])
    answer = Answer(1, sources, AnswerForm(width=1, normalize=False, ranks=True, top=2))
    answer.take(0, np.array([1.0], np.float32))

    assert len(to_compute) == 1
    assert answer.reply().value["ranked"] == [(2, 2.0), (1, 1.0)]
