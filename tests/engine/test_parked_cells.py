"""Cells in host memory and back, on the real library with the model that ships."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.nano_context import TOKENS, feed, new_context, step
from umad import nano
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.park_trial import saved_bytes, try_parking
from umad.engine.llamacpp.parked_cells import ParkedCells, can_park, park_shape
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import SeqPark, SeqRestore

SCRATCH = 7
SHAPE = ParkShape(capacity_bytes=1 << 24, slice_cells=64, slab_bytes=1 << 20)
PIECES = ((0, 0, 64), (1, 64, 64), (2, 128, TOKENS.size - 1 - 128))


@pytest.fixture(scope="module")
def model() -> Iterator[llama.Model]:
    llama.start()
    opened = llama.Model(str(nano.path()), gpu_layers=0)
    yield opened
    opened.close()


@pytest.fixture
def context(model: llama.Model) -> Iterator[llama.Context]:
    made = new_context(model)
    yield made
    made.close()


def park_all(parked: ParkedCells, *, seq: int, key: int) -> list[int]:
    return [
        parked.park(SeqPark(seq=seq, key=key, slab=slab, start=start, n_tokens=n))
        for slab, start, n in PIECES
    ]


def restore_all(parked: ParkedCells, *, seq: int, key: int) -> list[int]:
    return [
        parked.restore(SeqRestore(key=key, slab=slab, seq=seq, start=start, n_tokens=n))
        for slab, start, n in PIECES
    ]


def test_a_sequence_that_was_parked_goes_on_with_the_very_same_bits(
    context: llama.Context,
) -> None:
    undisturbed = feed(context, 0, 256)
    parked = ParkedCells(context, SHAPE, scratch=SCRATCH)
    context.trim(0, TOKENS.size - 1)

    assert all(park_all(parked, seq=0, key=5))
    context.trim(0, 0)
    step(context, (1, 0, TOKENS[20:90], False))  # other cells than before
    assert all(restore_all(parked, seq=3, key=5))
    _, rows = step(context, (3, TOKENS.size - 1, TOKENS[-1:], True))

    assert rows[0].tobytes() == undisturbed.tobytes()
    assert context.length(SCRATCH) == 0


def test_part_of_a_slab_can_be_put_back(context: llama.Context) -> None:
    feed(context, 0, 256)
    parked = ParkedCells(context, SHAPE, scratch=SCRATCH)
    park_all(parked, seq=0, key=1)

    assert parked.restore(SeqRestore(key=1, slab=0, seq=2, start=0, n_tokens=10))

    assert context.length(2) == 10


def test_a_slab_that_is_not_there_or_finds_no_cells_leaves_all_as_it_was(
    model: llama.Model,
) -> None:
    context = new_context(model, n_cells=256)
    parked = ParkedCells(context, SHAPE, scratch=SCRATCH)
    feed(context, 0, 128)
    assert all(park_all(parked, seq=0, key=1))
    before = context.whole(0)
    step(context, (1, 0, TOKENS[:70], False))  # 36 cells are left

    assert not parked.restore(SeqRestore(key=1, slab=0, seq=2, start=0, n_tokens=64))
    assert not parked.restore(SeqRestore(key=9, slab=0, seq=2, start=0, n_tokens=64))
    assert not parked.restore(SeqRestore(key=1, slab=1, seq=2, start=0, n_tokens=64))

    assert context.length(2) == context.length(SCRATCH) == 0
    assert context.whole(0) == before
    context.close()


def test_slabs_that_are_too_small_park_nothing(context: llama.Context) -> None:
    feed(context, 0, 256)
    tight = ParkShape(capacity_bytes=1 << 20, slice_cells=64, slab_bytes=1000)
    parked = ParkedCells(context, tight, scratch=SCRATCH)

    assert not parked.park(SeqPark(seq=0, key=1, slab=0, start=0, n_tokens=64))
    assert not can_park(context, tight, scratch=SCRATCH, token=1)


def test_whether_parking_works_is_found_out_by_doing_it(context: llama.Context) -> None:
    assert can_park(context, SHAPE, scratch=SCRATCH, token=1)
    assert context.length(0) == 0


def test_slabs_that_were_reckoned_too_small_are_made_as_large_as_what_llama_cpp_saves(
    context: llama.Context,
) -> None:
    reckoned = ParkShape(capacity_bytes=1 << 24, slice_cells=64, slab_bytes=1000)
    about: dict[str, Any] = {"scratch": SCRATCH, "empty": None, "token": 1}

    shape = try_parking(context, reckoned, **about, states=None, window=None)

    assert shape is not None
    assert shape.slab_bytes == saved_bytes(context, 64, scratch=SCRATCH, token=1)
    feed(context, 0, 256)
    parked = ParkedCells(context, shape, scratch=SCRATCH)
    assert parked.park(SeqPark(seq=0, key=1, slab=0, start=0, n_tokens=64)) == shape.slab_bytes


def test_nothing_is_parked_in_less_memory_than_one_slab_needs(context: llama.Context) -> None:
    reckoned = ParkShape(capacity_bytes=2000, slice_cells=64, slab_bytes=1000)

    assert (
        try_parking(
            context, reckoned, scratch=SCRATCH, empty=None, token=1, states=None, window=None
        )
        is None
    )


def test_slabs_are_small_enough_to_copy_one_at_a_time() -> None:
    for cell_bytes in (1_000, 12_288, 131_072, 2_000_000):
        shape = park_shape(capacity_bytes=1 << 32, cell_bytes=cell_bytes, n_layer=32)
        assert shape is not None
        assert shape.slab_bytes >= shape.slice_cells * cell_bytes
        assert shape.slab_bytes <= max(5 * 2**20, 17 * cell_bytes)
    assert park_shape(capacity_bytes=1_000, cell_bytes=1_000, n_layer=32) is None
