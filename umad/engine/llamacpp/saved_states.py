"""Keeps checkpoints: copies of sequences' states in host memory, and puts them back.

llama.cpp returns success where a state was put back before the cells, or beside the wrong cells, or
not at all, and answers wrongly ever after. So every state is looked at after it was put back: where
the sequence ends, how many cells it has, and the state's own bytes. A sequence that is not exactly
what was asked for is emptied.
Not: what is saved, and when (`umad.scheduler.memory`), or the cells (`parked_cells`). Owner: the
step thread.
"""

import logging

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp.host_memory import HostMemory
from umad.engine.llamacpp.llama import Context
from umad.engine.llamacpp.state_trial import SEQ_HEAD_BYTES, StateLayout
from umad.engine.sessions.file import Slab
from umad.scheduler.memory.windows import Window
from umad.step import StateLoad, StateSave

log = logging.getLogger("umad.engine")


class StateCheck:
    """Looks at states that were put back."""

    def __init__(self, context: Context, layout: StateLayout) -> None:
        self._context = context
        self._layout = layout
        # A state that was put back is read again into this memory.
        self._read = np.empty(0, np.uint8)

    def is_there(self, seq: int, n_tokens: int, memory: NDArray[np.uint8], n_bytes: int) -> bool:
        """Whether `seq` has exactly `n_tokens`, and the state of `n_bytes` in `memory`."""
        context, layout = self._context, self._layout
        if context.length(seq) != n_tokens or context.state_size(seq) != n_bytes:
            return False
        if layout.is_recurrent and context.begin(seq) != n_tokens - 1:
            return False
        cells_bytes = context.whole_size(seq) - n_bytes
        if cells_bytes != layout.cells_bytes(n_tokens):
            return False
        if not layout.is_fixed:
            # The cells of a window may lie in another order. There are as many as were saved, and
            # the last one is the last token's.
            return True
        if self._read.size != n_bytes:
            self._read = np.empty(n_bytes, np.uint8)
        context.save_state(seq, self._read)
        return np.array_equal(self._read[SEQ_HEAD_BYTES:], memory[SEQ_HEAD_BYTES:n_bytes])


class SavedStates:
    """The checkpoints of one context.

    window, scratch: of a model whose states are those of windows alone, and a sequence number that
    nothing else uses. What a window held some tokens ago is saved from there.
    """

    def __init__(
        self,
        context: Context,
        layout: StateLayout,
        *,
        memory: HostMemory,
        window: Window | None = None,
        scratch: int | None = None,
    ) -> None:
        self._context = context
        self._window = window
        self._scratch = scratch
        self._memory = memory
        # By key: the checkpoint's memory, and how many of its bytes are used.
        self._states: dict[int, Slab] = {}
        # By address, memory that another thread reads: True while its checkpoint is still in use.
        self._lent: dict[int, bool] = {}
        self._check = StateCheck(context, layout)

    def save(self, operation: StateSave) -> int:
        """Copy a state out. Returns the bytes copied; 0 where it failed, and then there is no such
        checkpoint.
        """
        self.drop(operation.key)
        source = self._ends_there(operation)
        if source is None:
            log.log(
                # Cells of a window may be taken again at any time.
                logging.ERROR if self._window is None else logging.INFO,
                "a state of %d tokens cannot be saved: sequence %d has %d from %d on",
                operation.n_tokens,
                operation.seq,
                self._context.length(operation.seq),
                self._context.begin(operation.seq),
            )
            return 0
        n_bytes = self._copy_out(source, operation.key)
        if source != operation.seq:
            self._context.trim(source, 0)
        return n_bytes

    def _ends_there(self, operation: StateSave) -> int | None:
        """A sequence that ends where the state is wanted; None where there is none."""
        context, seq, n_tokens = self._context, operation.seq, operation.n_tokens
        held = context.length(seq)
        if held == n_tokens:
            return seq
        if self._window is None or self._scratch is None or held < n_tokens:
            return None
        if not 0 <= context.begin(seq) <= self._window.first_seen(n_tokens):
            return None
        # llama.cpp saves what the next token of a sequence looks at.
        context.copy(seq, self._scratch, n_tokens)
        return self._scratch

    def _copy_out(self, seq: int, key: int) -> int:
        context = self._context
        n_bytes = context.state_size(seq)
        try:
            memory = self._memory.take(n_bytes)
        except MemoryError:
            log.warning("no memory to save a state in bytes=%d", n_bytes)
            return 0
        if not n_bytes or context.save_state(seq, memory) != n_bytes:
            log.warning("a state cannot be saved reason=%s", context.last_words())
            self._memory.give(memory)
            return 0
        self._states[key] = (memory, n_bytes)
        return n_bytes

    def load(self, operation: StateLoad) -> int:
        """Put a state back. Returns the bytes copied; 0 where it failed, and then the sequence is
        empty.
        """
        context, seq = self._context, operation.seq
        memory, n_bytes = self._states.get(operation.key, (None, 0))
        if memory is None:
            log.warning("a state cannot be put back: there is no checkpoint %d", operation.key)
        elif not context.load_state(seq, memory, n_bytes):
            log.warning("a state cannot be put back reason=%s", context.last_words())
        elif not self._check.is_there(seq, operation.n_tokens, memory, n_bytes):
            log.error("a state that was put back is not what was saved seq=%d", seq)
        else:
            return n_bytes
        context.trim(seq, 0)
        return 0

    def drop(self, key: int) -> None:
        """Forget a checkpoint; an unknown key does nothing."""
        memory, _ = self._states.pop(key, (None, 0))
        if memory is None:
            return
        if id(memory) in self._lent:
            self._lent[id(memory)] = False
        else:
            self._memory.give(memory)

    def lend(self, key: int) -> Slab | None:
        """Lend a checkpoint to another thread for reading, until `take_back`; None where there is
        no such one. Nothing is written over it meanwhile, whatever happens to the key.
        """
        state = self._states.get(key)
        if state is not None:
            self._lent[id(state[0])] = True
        return state

    def take_back(self, state: Slab) -> None:
        """The other thread reads this checkpoint no longer."""
        if not self._lent.pop(id(state[0])):
            self._memory.give(state[0])

    def put(self, key: int, state: Slab) -> None:
        """Keep a checkpoint that another engine made as that of `key`."""
        self.drop(key)
        self._states[key] = state

    def memory(self, n_bytes: int) -> NDArray[np.uint8]:
        """Memory for one checkpoint: uint8 (n_bytes,). Raises `MemoryError`."""
        return self._memory.take(n_bytes)


class OwnWindows:
    """Gives sequences windows of their own where windows are small.

    llama.cpp uses a cell of a window again when its sequence has gone on, but not one that two
    sequences hold. Two conversations that go on from one beginning would keep such cells for ever,
    and the small cache of the windows has none to spare. So the window is saved and put back for
    the sequence that shares it, which takes it cells of its own.
    """

    def __init__(self, context: Context, layout: StateLayout) -> None:
        self._context = context
        self._memory = np.empty(layout.most_bytes, np.uint8)

    def give(self, seq: int) -> int:
        """Give `seq` a window of its own. Returns the bytes copied, there and back; 0 where that
        failed.
        """
        context = self._context
        n_bytes = context.save_state(seq, self._memory)
        if not n_bytes or not context.load_state(seq, self._memory, n_bytes):
            return 0
        return 2 * n_bytes
