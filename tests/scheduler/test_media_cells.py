"""Stand-ins for tokens: equal media have equal ones, and no run of rows is cut in two."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from umad.engine.llamacpp.positions import Positions
from umad.media_slices import FoldedRun
from umad.scheduler.media.cells import (
    folded_runs,
    has_folded,
    is_text,
    stand_ins,
    whole_match,
    whole_runs,
)
from umad.scheduler.memory.slab_cuts import SlabCuts

TEXT = np.arange(5, dtype=np.int32)


def test_equal_media_have_equal_cells_and_others_differ_in_the_first() -> None:
    one, same, other = stand_ins("a", 20), stand_ins("a", 20), stand_ins("b", 20)

    assert one.tolist() == same.tolist()
    assert one[0] != other[0]
    assert (one < 0).all()
    assert len(set(one.tolist())) == 20
    assert stand_ins("a", 8).tolist() == one[:8].tolist()


def test_no_part_of_a_run_is_shared() -> None:
    tokens = np.concatenate([TEXT, stand_ins("a", 6), stand_ins("b", 4), TEXT])

    found = [whole_runs(tokens, n) for n in range(tokens.size + 1)]

    assert found[:6] == [0, 1, 2, 3, 4, 5]
    assert found[6:12] == [5, 5, 5, 5, 5, 11]
    assert found[12:16] == [11, 11, 11, 15]
    assert found[16:] == [16, 17, 18, 19, 20]
    assert whole_match(tokens, (3, 8)) == (3, 5)
    assert whole_match(tokens[5:], (3, 4)) == (-1, 0)


def test_only_images_under_m_rope_have_fewer_positions_than_cells() -> None:
    plain = np.concatenate([TEXT, stand_ins("a", 6)])
    folded = np.concatenate([TEXT, stand_ins("a", 6, 3)])

    assert not has_folded(plain)
    assert has_folded(folded)
    assert is_text(folded).tolist() == [True] * 5 + [False] * 6


def test_positions_follow_copies_and_trims() -> None:
    book = Positions()
    book.laid(0, 5, 15, 5)
    book.laid(0, 30, 12, 4)

    book.copied(0, 1, 25)
    book.trimmed(0, 20)

    assert [book.of(1, n) for n in (5, 20, 25)] == [5, 10, 15]
    assert [book.of(0, n) for n in (5, 20, 42)] == [5, 10, 32]
    assert [book.cells(0, n) for n in (5, 10, 15)] == [5, 20, 25]
    book.trimmed(0, 0)
    book.trimmed(1, 5)
    assert not book


def test_images_are_found_by_their_cells() -> None:
    tokens = np.concatenate(
        [TEXT, stand_ins("a", 15, 5), stand_ins("b", 4), stand_ins("c", 3, 3), TEXT]
    )

    found = folded_runs(tokens, start=100)

    assert found == (
        FoldedRun(start=105, end=120, n_without=10),
        FoldedRun(start=124, end=127, n_without=0),
    )
    assert not folded_runs(TEXT)


def test_a_slab_has_whole_images_and_a_large_one_the_room_of_several() -> None:
    image = stand_ins("a", 50, 8)
    tokens = np.concatenate([np.arange(10), image, np.arange(30), stand_ins("b", 10, 4), TEXT])

    cuts = SlabCuts(tokens.astype(np.int32), 16)

    slabs = [(cuts.start(at), cuts.end(at)) for at in range(cuts.n_slabs)]
    assert slabs == [(0, 10), (10, 60), (60, 76), (76, 90), (90, 105)]
    assert [cuts.slab_at(n) for n in (0, 9, 10, 59, 60, 104)] == [0, 0, 1, 1, 2, 4]
    assert [cuts.rooms(at) for at in range(5)] == [1, 4, 1, 1, 1]
    assert (cuts.n_rooms, cuts.most_cells) == (8, 50)


def test_slabs_of_texts_and_of_media_with_a_position_a_cell_are_all_of_one_size() -> None:
    tokens = np.concatenate([np.arange(10), stand_ins("a", 50), np.arange(13)]).astype(np.int32)

    cuts = SlabCuts(tokens, 16)

    slabs = [(cuts.start(at), cuts.end(at)) for at in range(cuts.n_slabs)]
    assert slabs == [(0, 16), (16, 32), (32, 48), (48, 64), (64, 73)]
    assert [cuts.slab_at(n) for n in (0, 15, 16, 72)] == [0, 0, 1, 4]
    assert (cuts.n_rooms, cuts.most_cells) == (5, 16)


@given(
    pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=8),
    cut_at=st.integers(1, 8),
)
def test_sequences_that_begin_alike_are_cut_alike(
    pieces: list[tuple[bool, int]], cut_at: int
) -> None:
    runs = [
        stand_ins(str(at), n, max(1, n // 3)) if is_image else np.arange(n, dtype=np.int32)
        for at, (is_image, n) in enumerate(pieces)
    ]
    whole, part = np.concatenate(runs), np.concatenate(runs[:cut_at])

    cuts, before = SlabCuts(whole, 16), SlabCuts(part, 16)

    # The last slab may go on.
    begun = range(before.n_slabs)
    assert [before.start(at) for at in begun] == [cuts.start(at) for at in begun]
    ends = [cuts.end(at) for at in range(cuts.n_slabs)]
    assert ends == [*[cuts.start(at) for at in range(1, cuts.n_slabs)], whole.size]
    assert all(whole_runs(whole, end) == end for end in ends)
