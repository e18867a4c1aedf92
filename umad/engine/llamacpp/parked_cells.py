"""Copies cells of sequences to host memory and back, a slab at a time.

llama.cpp saves and loads whole sequences, and loading empties the sequence it loads into. So a slab
is first shared with a scratch sequence, which costs nothing, and the scratch sequence is saved. To
restore it, the slab is loaded into the scratch sequence and shared from there.

llama.cpp takes cells by their positions (`positions`). A slab has whole images, so it begins and
ends at a position.

Sharing cells also shares the states of recurrent layers, which are as large as many slabs. So the
scratch sequence is made to share the state of a sequence that is always empty: it keeps the cells
and has no state. A sequence that gets a slab back has none, either, until one is put into it
(`saved_states`).
Not: what is parked, and when (`umad.scheduler.memory.parking`). Owner: the step thread.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp.host_memory import HostMemory
from umad.engine.llamacpp.llama import Batch, Context
from umad.engine.llamacpp.positions import Positions
from umad.engine.llamacpp.saved_states import SavedStates
from umad.engine.llamacpp.state_trial import StateLayout
from umad.engine.sessions.file import Slab
from umad.scheduler.memory.parked_store import ParkShape
from umad.step import SeqPark, SeqRestore, StateLoad, StateSave

log = logging.getLogger("umad.engine")

# A slab is about this large: it is copied in well below a millisecond, and a sequence has few.
_SLAB_BYTES = 4 * 2**20
_FEWEST_CELLS, _MOST_CELLS = 16, 256
# Beside keys and values, llama.cpp saves for a cell its position, its sequences, and for some
# models its place in a picture; for a layer its types and sizes; for a sequence a few counts.
_CELL_HEAD_BYTES, _LAYER_HEAD_BYTES, _HEAD_BYTES = 24, 64, 256


def park_shape(*, capacity_bytes: int, cell_bytes: int, n_layer: int) -> ParkShape | None:
    """The shape of slabs for cells of this size; None when not even one slab fits."""
    slice_cells = max(_FEWEST_CELLS, min(_MOST_CELLS, _SLAB_BYTES // max(1, cell_bytes)))
    slab_bytes = (
        slice_cells * (cell_bytes + _CELL_HEAD_BYTES) + n_layer * _LAYER_HEAD_BYTES + _HEAD_BYTES
    )
    if capacity_bytes < slab_bytes:
        return None
    return ParkShape(capacity_bytes=capacity_bytes, slice_cells=slice_cells, slab_bytes=slab_bytes)


class ParkedCells:
    """The slabs of one context."""

    def __init__(
        self,
        context: Context,
        shape: ParkShape,
        *,
        scratch: int,
        empty: int | None = None,
        memory: HostMemory | None = None,
        positions: Positions | None = None,
    ) -> None:
        """scratch: a sequence number that nothing else uses. empty: another one, which stays empty,
        for a model with recurrent layers. memory: where slabs lie. positions: of cells, where they
        are not their numbers.
        """
        self._context = context
        self._shape = shape
        self._scratch = scratch
        self._empty = empty
        self._memory = memory or HostMemory(shape.capacity_bytes)
        self._positions = Positions() if positions is None else positions
        # By key and slab number: the slab's memory, and how many of its bytes are used.
        self._slabs: dict[int, dict[int, Slab]] = {}
        # By address, memory that another thread reads: True while its slab is still in use here.
        self._lent: dict[int, bool] = {}

    def park(self, operation: SeqPark) -> int:
        """Copy cells out. Returns the bytes copied; 0 when it failed, and then
        nothing has changed.
        """
        context, scratch, slabs = self._context, self._scratch, self._slabs
        held = slabs.get(operation.key, {}).get(operation.slab)
        is_lent = held is not None and id(held[0]) in self._lent
        rooms = -(-operation.n_tokens // self._shape.slice_cells)
        is_reused = held is not None and not is_lent and held[0].size >= self._room_bytes(rooms)
        try:
            memory = held[0] if held and is_reused else self.memory(rooms)
        except MemoryError:
            log.warning("no memory to park in bytes=%d", self._room_bytes(rooms))
            return 0
        start = self._positions.of(operation.seq, operation.start)
        end = self._positions.of(operation.seq, operation.start + operation.n_tokens)
        context.copy(operation.seq, scratch, end, start=start)
        if self._empty is not None:
            context.copy(self._empty, scratch, end, start=start)
        n_bytes = context.save(scratch, memory)
        context.trim(scratch, 0)
        if n_bytes:
            slabs.setdefault(operation.key, {})[operation.slab] = (memory, n_bytes)
            if held and is_lent:
                self._lent[id(held[0])] = False
            elif held and not is_reused:
                self._memory.give(held[0])
        else:
            log.warning("a sequence cannot be parked reason=%s", context.last_words())
            if not is_reused:
                self._memory.give(memory)
        return n_bytes

    def restore(self, operation: SeqRestore) -> int:
        """Copy cells back. Returns the bytes copied; 0 when it failed, and then the sequence is as
        it was.
        """
        context, scratch = self._context, self._scratch
        memory, n_bytes = self._slabs.get(operation.key, {}).get(operation.slab, (None, 0))
        start, images = self._positions.of(operation.seq, operation.start), operation.images
        end = start + operation.n_tokens - sum(one.n_without for one in images)
        reaches = end
        if images and images[-1].end == operation.start + operation.n_tokens:
            # All of an image lies at its first position, as llama.cpp counts a sequence's end.
            last = images[-1]
            reaches = end - (last.end - last.start - last.n_without) + 1
        if memory is None or not context.load(scratch, memory, n_bytes):
            log.warning("a sequence cannot be restored reason=%s", context.last_words())
            return 0
        if self._shape.state_bytes:
            # llama.cpp's positions are those of the state, and a slab has none.
            is_there = context.whole_size(scratch) == n_bytes
        else:
            is_there = context.begin(scratch) == start and context.length(scratch) >= reaches
        if is_there:
            context.copy(scratch, operation.seq, end, start=start)
            self._positions.restored(operation.seq, images)
        else:
            log.error("a restored slab is not what was parked positions=%d", operation.n_tokens)
        context.trim(scratch, 0)
        return n_bytes if is_there else 0

    def drop(self, key: int) -> None:
        """Forget a key; an unknown key does nothing."""
        for memory, _ in self._slabs.pop(key, {}).values():
            if id(memory) in self._lent:
                self._lent[id(memory)] = False
            else:
                self._memory.give(memory)

    def lend(self, key: int) -> list[Slab]:
        """Lend the slabs of a key to another thread for reading. Nothing is written over them until
        `take_back`, whatever happens to the key.
        """
        slabs = [slab for _, slab in sorted(self._slabs.get(key, {}).items())]
        self._lent.update((id(memory), True) for memory, _ in slabs)
        return slabs

    def take_back(self, slabs: list[Slab]) -> None:
        """The other thread reads these slabs no longer."""
        for memory, _ in slabs:
            if not self._lent.pop(id(memory)):
                self._memory.give(memory)

    def put(self, key: int, slabs: list[Slab]) -> None:
        """Keep slabs that another engine made as those of `key`."""
        self._slabs[key] = dict(enumerate(slabs))

    def memory(self, rooms: int = 1) -> NDArray[np.uint8]:
        """Memory for one slab: uint8 (rooms * slab_bytes,)."""
        return self._memory.take(self._room_bytes(rooms))

    def _room_bytes(self, rooms: int) -> int:
        return rooms * self._shape.slab_bytes


def can_park(
    context: Context,
    shape: ParkShape,
    *,
    scratch: int,
    token: int,
    empty: int | None = None,
    layout: StateLayout | None = None,
) -> bool:
    """True if restored cells equal the parked ones, byte for byte. It tries that on an empty pool,
    and leaves the pool empty.

    layout: of a model with states. Its cells are parked without the state, and get it back last.
    """
    n_tokens = min(4, shape.slice_cells)
    batch = Batch(n_tokens)
    batch.token[:] = token
    batch.pos[:] = np.arange(n_tokens)
    batch.wants_logits[-1] = 1
    batch.set_rows(n_tokens)
    if context.decode(batch):
        return False
    memory = HostMemory(shape.capacity_bytes)
    parked = ParkedCells(context, shape, scratch=scratch, empty=empty, memory=memory)
    states = None if layout is None else SavedStates(context, layout, memory=memory)
    before = context.whole(0)
    works = states is None or states.save(StateSave(seq=0, key=0, n_tokens=n_tokens)) > 0
    works = works and parked.park(SeqPark(seq=0, key=0, slab=0, start=0, n_tokens=n_tokens)) > 0
    context.trim(0, 0)
    works = works and bool(
        parked.restore(SeqRestore(key=0, slab=0, seq=0, start=0, n_tokens=n_tokens))
    )
    if works and states is not None:
        works = states.load(StateLoad(key=0, seq=0, n_tokens=n_tokens)) > 0
    works = works and context.whole(0) == before
    context.clear()
    return works
