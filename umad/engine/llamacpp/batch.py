"""Writes a `StepPlan` into llama.cpp's batch arrays. No Python object per prompt token.

Owner: the step thread.
"""

import numpy as np

from umad.engine.execution import ScoredRows, scored_rows
from umad.engine.llamacpp.llama import Batch
from umad.engine.llamacpp.positions import Positions
from umad.step import StepPlan


class PlanWriter:
    """Fills one preallocated `Batch`.

    scratch: the sequence for padding rows. wants_output: every batch must have an output row, since
    llama.cpp ends the process at one without. positions: of cells, where they are not their
    numbers.
    """

    def __init__(
        self,
        capacity: int,
        *,
        scratch: int,
        wants_output: bool = False,
        positions: Positions | None = None,
    ) -> None:
        self._scratch = scratch
        self._wants_output = wants_output
        self._positions = Positions() if positions is None else positions
        self.batch = Batch(capacity)
        self._ramp = np.arange(capacity, dtype=np.int32)
        # The rows of the slices that score their prompts; a plan has them last.
        self.scored: tuple[ScoredRows, ...] = ()

    @property
    def n_scored(self) -> int:
        """How many rows of logits `scored` has."""
        return sum([one.n_rows for one in self.scored])

    def write(self, plan: StepPlan) -> list[int]:
        """Lay the plan out, decode rows first. Returns the request of each output row from which a
        token is drawn, in row order. Behind those come the rows of the guesses, or of `scored`.
        """
        self.scored = ()
        batch, positions = self.batch, self._positions
        decode = plan.decode
        at = len(decode)
        rids = [piece.rid for piece in decode]
        if at:
            # A list assigned to a view is converted in C: a microsecond for eight rows.
            batch.token[:at] = [piece.token for piece in decode]
            if positions:
                batch.pos[:at] = [positions.of(one.seq, one.position) for one in decode]
            else:
                batch.pos[:at] = [piece.position for piece in decode]
            batch.seq[:at] = [piece.seq for piece in decode]
            batch.wants_logits[:at] = 1
        for piece in plan.prefill:
            n = piece.tokens.size
            end = at + n
            batch.token[at:end] = piece.tokens
            start = positions.of(piece.seq, piece.start) if positions else piece.start
            np.add(self._ramp[:n], start, out=batch.pos[at:end])
            batch.seq[at:end] = piece.seq
            if piece.scores:
                batch.wants_logits[at:end] = 1
                self.scored = (*self.scored, scored_rows(piece, self.scored, len(rids)))
                at = end
                continue
            batch.wants_logits[at:end] = 0
            if piece.wants_logits:
                batch.wants_logits[end - 1] = 1
                rids.append(piece.rid)
            at = end
        for guesses in plan.guesses:
            end = at + len(guesses.tokens)
            batch.token[at:end] = guesses.tokens
            start = positions.of(guesses.seq, guesses.start) if positions else guesses.start
            np.add(self._ramp[: end - at], start, out=batch.pos[at:end])
            batch.seq[at:end] = guesses.seq
            batch.wants_logits[at:end] = 1
            at = end
        if plan.n_padding:
            end = at + plan.n_padding
            # Any tokens will do: padding rows attend only to each other.
            batch.token[at:end] = batch.token[0]
            batch.pos[at:end] = self._ramp[: plan.n_padding]
            batch.seq[at:end] = self._scratch
            batch.wants_logits[at:end] = 0
            at = end
        if self._wants_output and not rids and not self.scored:
            # Nobody reads this row.
            batch.wants_logits[at - 1] = 1
        batch.set_rows(at)
        return rids
