"""Saves the state of a step's sequence, and puts it back when the step was cut.

Half a step leaves the states of recurrent layers at no position at all, and llama.cpp does not
take the step's cells back either. So the state goes back first and the cells are trimmed after
that; before, llama.cpp refuses to trim them. Then the sequence is looked at, as after every load.
One that is not exactly where it was is emptied, and its tokens are computed again.

Only steps of one sequence: for several, llama.cpp brings their states side by side while it
computes, and moves those of other sequences out of the way. A cut could lose these.
Not: which steps may be cut (`umad.scheduler.steps.cut_cost`), or checkpoints (`saved_states`).
Owner: the step thread.
"""

import logging

import numpy as np

from umad.engine.llamacpp.llama import Context
from umad.engine.llamacpp.saved_states import StateCheck
from umad.engine.llamacpp.state_trial import StateLayout
from umad.step import StepPlan

log = logging.getLogger("umad.engine")


class CutState:
    """The state from before the running step. Its memory is used again for each step."""

    def __init__(self, context: Context, layout: StateLayout) -> None:
        self._context = context
        self._check = StateCheck(context, layout)
        self._memory = np.empty(0, np.uint8)
        # The sequence of the step, its tokens before the step, and the bytes of its state.
        self._seq = -1
        self._n_tokens = 0
        self._n_bytes = 0

    def save(self, plan: StepPlan) -> bool:
        """Save the state that `plan` goes on from. Returns False when that failed: then the step
        must not be cut.
        """
        if plan.decode or plan.n_padding or len(plan.prefill) != 1:
            return False
        context, piece = self._context, plan.prefill[0]
        self._seq, self._n_tokens, self._n_bytes = piece.seq, piece.start, 0
        if context.length(piece.seq) != piece.start:
            return False
        if not piece.start:
            return True
        n_bytes = context.state_size(piece.seq)
        if self._memory.size < n_bytes:
            try:
                self._memory = np.empty(n_bytes, np.uint8)
            except MemoryError:
                log.warning("no memory to save a state before a step bytes=%d", n_bytes)
                return False
        self._n_bytes = context.save_state(piece.seq, self._memory)
        return self._n_bytes == n_bytes > 0

    def put_back(self) -> bool:
        """Undo what a cut step did to its sequence. Returns False when that failed: then the
        sequence is empty.
        """
        context, seq, n_tokens = self._context, self._seq, self._n_tokens
        if n_tokens:
            memory, n_bytes = self._memory, self._n_bytes
            if (
                context.load_state(seq, memory, n_bytes)
                and context.trim(seq, n_tokens)
                and self._check.is_there(seq, n_tokens, memory, n_bytes)
            ):
                return True
            log.error("a cut step cannot be undone; its sequence is computed again seq=%d", seq)
        context.trim(seq, 0)
        return not n_tokens
