"""Stand-ins for tokens: equal media have equal ones, and no run of rows is cut in two."""

import numpy as np

from umad.engine.llamacpp.positions import Positions
from umad.scheduler.media.cells import (
    has_one_position_a_cell,
    is_text,
    stand_ins,
    whole_match,
    whole_runs,
)

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

    assert has_one_position_a_cell(plain)
    assert not has_one_position_a_cell(folded)
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
