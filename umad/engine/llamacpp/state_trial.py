"""Finds out by trying whether states of an opened model can be saved and put back.

A state is what a model keeps of a sequence that is true at the sequence's present end only: what
recurrent layers have seen, and the cells of layers with a small window. llama.cpp has a dozen kinds
of memory, and a state that is put back wrongly answers wrongly without an error. So no list of
architectures is believed. The trial saves the state of a short sequence, lets the sequence go on,
puts the state into another sequence that shares the cells, and compares all bytes. It runs on an
empty pool and leaves it empty.

The order matters. Cells come first and the state last: a copy of cells brings the present state of
its source along. The other order succeeds and answers wrongly.
Not: the checkpoints themselves (`saved_states`). Owner: the main thread.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from umad.clock import MonotonicClock
from umad.engine.llamacpp.llama import Batch, Context
from umad.units import NS_PER_MS

# So many tokens have a state saved, and so many follow.
_TOKENS, _MORE = 5, 4
# The shortest of so many saves counts: the others were disturbed.
_SAVES = 3
# llama.cpp saves the number of the sequence behind a mark, four bytes each.
SEQ_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLayout:
    """The bytes that llama.cpp saves of one sequence."""

    # The most bytes of a state.
    most_bytes: int
    # Some layers are recurrent. Then a sequence begins, as llama.cpp says, where it ends.
    is_recurrent: bool
    # A state is as large as any other, and its bytes are the same wherever it lies. So it is with
    # recurrent layers alone. The cells of a window have no fixed order.
    is_fixed: bool
    # Beside a state: bytes of each token's cells, and of a sequence without any. 0 for a model that
    # keeps no cells.
    cell_bytes: int
    head_bytes: int
    # Milliseconds to save a state of the most bytes, where a step can be undone with it. None where
    # it cannot, and without recurrent layers, which need no such save.
    cut_save_ms: float | None = None

    @property
    def has_cells(self) -> bool:
        """Whether the model keeps cells beside its states."""
        return self.cell_bytes > 0

    def cells_bytes(self, n_tokens: int) -> int:
        """The bytes saved of a sequence of `n_tokens` beside its state."""
        return self.head_bytes + n_tokens * self.cell_bytes


def try_states(
    context: Context,
    *,
    n_seqs: int,
    batch: int,
    token: int,
    window_tokens: int = 0,
) -> StateLayout | None:
    """Try whether states can be saved and put back; None where they cannot.

    n_seqs: sequences of the context. A model with cells needs two. batch: the most tokens of a
    decode. token: any token of the model. window_tokens: how far layers with a window look back.

    Not for a model that is neither recurrent nor has small windows. llama.cpp ends the process
    where the beginning of a sequence cannot be copied (DeepSeek V4), and calls that model neither.
    """
    try:
        layout = _tried(context, n_seqs, batch, token, window_tokens)
        if layout is None or not layout.is_recurrent:
            return layout
        return replace(layout, cut_save_ms=_cut_save_ms(context, layout, batch, token))
    finally:
        context.clear()


def _tried(
    context: Context, n_seqs: int, batch: int, token: int, window_tokens: int
) -> StateLayout | None:
    context.clear()
    if not _feed(context, token, 0, _TOKENS, batch):
        return None
    whole, state = context.whole(0), _state(context)
    if state is None or not _feed(context, token, _TOKENS, _MORE, batch):
        return None
    later, later_state = context.whole(0), _state(context)
    if later_state is None:
        return None
    whole_bytes, state_bytes = len(whole), state.size
    grown_bytes = later_state.size - state_bytes
    cell_bytes, rest = divmod(len(later) - whole_bytes - grown_bytes, _MORE)
    window_cell_bytes, rest_of_window = divmod(grown_bytes, _MORE)
    if rest or rest_of_window:
        return None
    layout = StateLayout(
        most_bytes=state_bytes + max(0, window_tokens - _TOKENS) * window_cell_bytes,
        is_recurrent=context.begin(0) == context.length(0) - 1,
        is_fixed=grown_bytes == 0,
        cell_bytes=cell_bytes,
        head_bytes=whole_bytes - state_bytes - _TOKENS * cell_bytes,
    )
    if n_seqs < 2 and layout.has_cells:
        return None
    other = min(1, n_seqs - 1)
    if other:
        context.copy(0, other, _TOKENS)
    else:
        context.trim(0, 0)
    # The other sequence shares a window that is the right one. So a wrong one is put in before.
    for one in (later_state, state):
        if not context.load_state(other, one, one.size) or context.state_size(other) != one.size:
            return None
    if context.length(other) != _TOKENS:
        return None
    if other:
        if context.whole(0) != later:
            return None  # the source has changed
        # Back into the first sequence: the bytes name the sequence that they were saved of.
        context.trim(0, 0)
        context.copy(other, 0, _TOKENS)
    return layout if context.whole(0) == whole else None


def _cut_save_ms(context: Context, layout: StateLayout, batch: int, token: int) -> float | None:
    """Try to undo a step of the first sequence with its state from before. Returns the
    milliseconds to save a state; None where the step cannot be undone.
    """
    now_ns = MonotonicClock().now_ns
    context.clear()
    if not _feed(context, token, 0, _TOKENS, batch):
        return None
    whole, state = context.whole(0), _state(context)
    if state is None:
        return None
    took_ns = []
    for _ in range(_SAVES):
        began_ns = now_ns()
        context.save_state(0, state)
        took_ns.append(now_ns() - began_ns)
    if not _feed(context, token, _TOKENS, _MORE, batch):
        return None
    # The cells are taken back last: llama.cpp refuses to take a recurrent state back.
    if not (context.load_state(0, state, state.size) and context.trim(0, _TOKENS)):
        return None
    if context.whole(0) != whole:
        return None
    return min(took_ns) / NS_PER_MS * max(1.0, layout.most_bytes / state.size)


def _state(context: Context) -> NDArray[np.uint8] | None:
    """The state of the first sequence; None where it has none, or it cannot be saved."""
    memory = np.empty(context.state_size(0), np.uint8)
    return memory if memory.size and context.save_state(0, memory) == memory.size else None


def _feed(context: Context, token: int, start: int, n_tokens: int, most: int) -> bool:
    batch = Batch(min(n_tokens, most))
    for at in range(start, start + n_tokens, batch.capacity):
        n = min(batch.capacity, start + n_tokens - at)
        batch.token[:n] = token
        batch.pos[:n] = np.arange(at, at + n)
        batch.wants_logits[:n] = 0
        batch.wants_logits[n - 1] = 1
        batch.set_rows(n)
        if context.decode(batch):
            return False
    return True
