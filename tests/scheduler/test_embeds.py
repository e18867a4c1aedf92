"""The queue of texts to be embedded: order, slices, what is held, what is computed again."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umad.errors import BadRequest
from umad.request import BACKGROUND, INTERACTIVE
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.embeds.queue import (
    LEAST_CELLS,
    SHORT_TOKENS,
    EmbedAdmission,
    EmbedQueue,
    EmbedShape,
)
from umad.scheduler.queue.app_queue import AGING_NS
from umad.step import EmbedSlice

PRIORITY = {INTERACTIVE: 10, BACKGROUND: 1}
LONG_MS = 1e9


def queue(*, rows: int = 32, seqs: int = 4, whole: bool = False) -> EmbedQueue:
    return EmbedQueue(
        EmbedShape(rows=rows, seqs=seqs, whole=whole),
        priority=PRIORITY,
        guarded=frozenset({INTERACTIVE}),
        like=CostModel().prefill,
    )


def texts(call: int, *sizes: int, lane: str = INTERACTIVE, app: str = "app") -> EmbedAdmission:
    """Inputs of these lengths; a token says which input it is of."""
    return EmbedAdmission(
        call=call,
        lane=lane,
        app=app,
        inputs=tuple(np.full(size, at, np.int32) for at, size in enumerate(sizes)),
    )


def run(works: EmbedQueue, now_ns: int = 1, *, cut: bool = False) -> EmbedSlice:
    """The next slice, run."""
    one = works.next(LONG_MS, now_ns, careful=False)
    works.settle(one, 1.0, now_ns, was_cut=cut)
    return one


def calls(one: EmbedSlice) -> list[int]:
    return [piece.call for piece in one.pieces]


def test_texts_of_several_requests_share_one_decode() -> None:
    works = queue()
    works.submit(texts(1, 5, 6), 0)
    works.submit(texts(2, 7), 0)

    one = run(works)

    assert calls(one) == [1, 1, 2]
    assert one.n_rows == 18
    assert len({piece.seq for piece in one.pieces}) == 3
    assert len(works) == 0


@pytest.mark.parametrize("whole", [True, False])
def test_short_texts_share_a_slice_by_what_they_cost_and_not_as_one_long_text(whole: bool) -> None:
    works = queue(rows=512, seqs=16, whole=whole)
    works.cost.rows.learn(512, 100.0)
    # One text of 500 tokens would read 125,000 cells, for 250 ms. These five read 25,000.
    works.cost.cells.ms_each = 0.002
    works.submit(texts(1, *[100] * 5, lane=BACKGROUND), 0)

    shared = works.next(200.0, 1, careful=False)
    hurried = works.next(80.0, 1, careful=False)

    assert [piece.tokens.size for piece in shared.pieces] == [100] * 5
    assert 100 <= hurried.n_rows < 500


def test_a_long_text_of_a_causal_model_is_computed_in_slices() -> None:
    works = queue(rows=32)
    works.submit(texts(1, 100), 0)

    slices = [run(works) for _ in range(4)]

    pieces = [one.pieces[0] for one in slices]
    assert [(piece.start, piece.tokens.size, piece.ends) for piece in pieces] == [
        (0, 32, False),
        (32, 32, False),
        (64, 32, False),
        (96, 4, True),
    ]
    assert len({piece.seq for piece in pieces}) == 1


def test_a_text_of_an_encoder_is_never_cut_into_pieces() -> None:
    works = queue(rows=32, whole=True)
    works.submit(texts(1, 20, 100, 20), 0)

    slices = [run(works) for _ in range(2)]

    assert [[piece.tokens.size for piece in one.pieces] for one in slices] == [[20], [100, 20]]
    assert all(one.cells >= one.n_rows for one in slices)


def test_a_question_goes_before_a_library_and_no_piece_of_that_is_lost() -> None:
    works = queue(rows=32)
    works.submit(texts(1, 400, 400), 0)
    first = run(works)
    works.submit(texts(2, 10), 0)

    question, after = run(works), run(works)

    assert (calls(first), calls(question), calls(after)) == ([1], [2], [1])
    assert first.bulk
    assert not question.bulk
    assert after.pieces[0].start == 32
    assert question.pieces[0].seq != after.pieces[0].seq


def test_bulk_gets_a_turn_though_questions_never_end() -> None:
    works = queue()
    works.submit(texts(1, SHORT_TOKENS + 1), 0)
    works.submit(texts(2, *[8] * 60), 0)

    early = run(works, now_ns=1)
    late = run(works, now_ns=AGING_NS)

    assert calls(early)[0] == 2
    assert calls(late)[0] == 1


def test_apps_share_what_bulk_work_gets() -> None:
    works = queue(rows=32)
    works.submit(texts(1, *[32] * 40, app="many"), 0)
    works.submit(texts(2, *[32] * 40, app="few"), 0)
    works.submit(texts(3, *[32] * 40, app="many"), 0)

    served = Counter(calls(run(works))[0] for _ in range(20))

    assert served[2] == 10


def test_a_slice_that_was_cut_is_computed_again_and_the_third_time_let_through() -> None:
    works = queue()
    works.submit(texts(1, SHORT_TOKENS + 1), 0)

    cuts = [run(works, cut=True) for _ in range(3)]
    after = run(works)

    assert [one.pieces[0].start for one in (*cuts, after)] == [0, 0, 0, 0]
    assert [one.cuttable for one in (*cuts, after)] == [True, True, True, False]


def test_what_was_begun_of_a_dropped_request_is_told_to_go() -> None:
    works = queue(rows=32)
    works.submit(texts(1, 100), 0)
    begun = run(works).pieces[0].seq
    works.submit(texts(2, 10), 0)

    assert works.drop(1)
    after = run(works)

    assert after.drop == (begun,)
    assert calls(after) == [2]
    assert not works.drop(1)


def test_a_longer_text_makes_the_context_larger_and_what_was_begun_begins_again() -> None:
    works = queue(rows=32)
    works.submit(texts(1, LEAST_CELLS - 40, lane=BACKGROUND), 0)
    small = run(works)
    works.submit(texts(2, LEAST_CELLS), 0)

    large = run(works)
    after = [run(works) for _ in range(LEAST_CELLS // 32 + 1)]

    assert small.cells == LEAST_CELLS
    assert (calls(large), large.cells) == ([2], 2 * LEAST_CELLS)
    assert [one.pieces[0].start for one in after if calls(one)[0] == 1][:2] == [0, 32]
    assert {one.cells for one in after} == {large.cells}


def test_a_lane_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadRequest, match="no lane is called 'fast'"):
        queue().submit(texts(1, 3, lane="fast"), 0)


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.lists(st.integers(1, 90), min_size=1, max_size=6),
            st.sampled_from([INTERACTIVE, BACKGROUND]),
        ),
        min_size=1,
        max_size=8,
    ),
    whole=st.booleans(),
    cut=st.sets(st.integers(0, 40)),
    dropped=st.sets(st.integers(1, 8), max_size=3),
    budget_ms=st.floats(0.0, 300.0),
)
def test_every_token_is_computed_once_in_order_with_room_for_it(
    requests: list[tuple[list[int], str]],
    whole: bool,
    cut: set[int],
    dropped: set[int],
    budget_ms: float,
) -> None:
    works = queue(rows=24, seqs=3, whole=whole)
    for call, (sizes, lane) in enumerate(requests, 1):
        works.submit(texts(call, *sizes, lane=lane), 0)
    held: dict[int, int] = {}  # cells by sequence, as the context has them
    cells = 0
    for step in range(3000):
        if step == 5:
            for call in dropped:
                works.drop(call)
        if not len(works):
            break
        one = works.next(budget_ms, step, careful=bool(step % 2))
        if one.cells != cells:
            cells = one.cells
            held.clear()
        for seq in one.drop:
            held.pop(seq, None)
        was_cut = step in cut
        for piece in one.pieces:
            held[piece.seq] = held.get(piece.seq, 0) + piece.tokens.size
            assert held[piece.seq] == piece.start + piece.tokens.size
            assert set(piece.tokens.tolist()) == {piece.index}
        assert sum(held.values()) <= cells
        for piece in one.pieces:
            if was_cut:
                held[piece.seq] = piece.start
            elif piece.ends or whole:
                held[piece.seq] = 0
        assert not whole or all(piece.ends and piece.start == 0 for piece in one.pieces)
        works.settle(one, 1.0, step, was_cut=was_cut)

    assert len(works) == 0
