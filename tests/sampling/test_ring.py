"""Rows in a ring: what a reader sees, and that it notices what it can no longer see."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from umad.errors import ProtocolViolation
from umad.sampling.ring import RingLayout, RingReader, RingWriter, RowOverwritten

N_VOCAB = 37


def row_of(position: int, n_vocab: int = N_VOCAB) -> NDArray[np.float32]:
    return np.arange(n_vocab, dtype=np.float32) - position


def ring(slots: int = 4, n_vocab: int = N_VOCAB) -> tuple[RingWriter, RingReader, bytearray]:
    layout = RingLayout(n_vocab=n_vocab, slots=slots)
    memory = bytearray(layout.n_bytes)
    return RingWriter(layout, memory), RingReader(layout, memory), memory


@given(
    slots=st.integers(2, 9),
    n_vocab=st.integers(1, 200),
    first=st.integers(0, 10**9),
    n_rows=st.integers(1, 40),
)
def test_the_last_rows_are_there_and_no_others(
    slots: int, n_vocab: int, first: int, n_rows: int
) -> None:
    writer, reader, _ = ring(slots, n_vocab)
    positions = range(first, first + n_rows)
    for position in positions:
        writer.write(position, row_of(position, n_vocab))

    there = set(positions[-(slots - 1) :])
    for position in range(max(0, first - slots), first + n_rows + slots):
        assert reader.holds(position) == (position in there)
        if position in there:
            assert reader.row(position).tolist() == row_of(position, n_vocab).tolist()


def test_a_reader_sees_the_memory_itself() -> None:
    writer, reader, memory = ring()
    writer.write(0, row_of(0))

    values = reader.row(0)

    assert values.shape == (N_VOCAB,)
    assert np.shares_memory(values, np.frombuffer(memory, np.uint8))


def test_a_row_that_was_never_there_or_has_gone_is_refused_with_a_reason() -> None:
    writer, reader, _ = ring()
    with pytest.raises(RowOverwritten):
        reader.row(0)
    for position in range(4):
        writer.write(position, row_of(position))

    with pytest.raises(RowOverwritten, match=r"position 0 .* 3 rows") as refused:
        reader.row(0)

    assert (refused.value.code, refused.value.field) == ("limit_exceeded", "logits")


def test_a_slot_is_marked_empty_a_whole_row_before_its_numbers_change() -> None:
    writer, reader, _ = ring(slots=4)
    writer.write(0, row_of(0))
    held = reader.row(0)
    for position in range(1, 4):
        writer.write(position, row_of(position))

    with pytest.raises(RowOverwritten):
        reader.check(0)
    assert held.tolist() == row_of(0).tolist()


def test_a_layout_is_what_its_map_says() -> None:
    layout = RingLayout(n_vocab=151_936)
    facts = layout.as_map()

    assert RingLayout.of_map({**facts, "later": "versions may say more"}) == layout
    assert facts["rows_at"] >= facts["marks_at"] + 8 * facts["slots"]
    assert facts["row_bytes"] % 64 == 0
    assert facts["row_bytes"] >= 4 * 151_936
    assert facts["n_bytes"] == facts["rows_at"] + facts["slots"] * facts["row_bytes"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_vocab": 0},
        {"n_vocab": -5},
        {"n_vocab": 10**9},
        {"n_vocab": 40.0},
        {"slots": 1},
        {"slots": 10**6},
        {"slots": None},
        {"rows_at": 0},
        {"row_bytes": 4},
        {"n_bytes": 2**40},
        {"marks_at": 8},
    ],
)
def test_a_ring_that_is_laid_out_otherwise_is_not_mapped(wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolViolation, match="unknown way"):
        RingLayout.of_map({**RingLayout(n_vocab=40).as_map(), **wrong})


def test_a_layout_with_a_part_missing_is_not_mapped() -> None:
    facts = RingLayout(n_vocab=40).as_map()

    for name in facts:
        with pytest.raises(ProtocolViolation):
            RingLayout.of_map({key: value for key, value in facts.items() if key != name})
