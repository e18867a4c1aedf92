"""Computes embedding slices in a context of its own: one decode a slice, vectors out of its rows.

The context is made when the first slice comes, as large as that slice needs, and given back when no
work has come for a while, so an engine that never embeds pays nothing. Not: which texts are
embedded and when (`umad.scheduler.embeds.queue`), or what a client asked (`embedding.intake`).
Owner: the step thread.
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umad.engine.board.watch import BoardWatch
from umad.engine.embedding.facts import EmbedFacts
from umad.engine.embedding.work import Embedded, TextVector
from umad.engine.llamacpp.cuttable import ABORTED, decode_cuttable
from umad.engine.llamacpp.llama import Batch, Context, LlamaError
from umad.engine.steps.cutter import Cutter
from umad.errors import EngineFailed, UmadError
from umad.step import EmbedPiece, EmbedSlice

log = logging.getLogger("umad.engine")

# A slice of texts that may be cut takes about so long at most (`umad.config.SchedulerSettings`).
_SLICE_MS = 250.0
_DONE = 0  # llama_decode's result
# An editor that looks something up every few seconds keeps its context; a minute later it is gone.
KEPT_NS = 20_000_000_000


class Embedder:
    """Runs the embedding context, and keeps the sums of texts that are begun."""

    def __init__(
        self,
        facts: EmbedFacts,
        make: Callable[[int], Context],
        *,
        cutter: Cutter,
        can_cut: bool,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
    ) -> None:
        """make: makes a context of so many cells. can_cut: as in `DecodeRunner`."""
        self._facts = facts
        self._make = make
        self._cutter = cutter
        self._can_cut = can_cut
        self._now_ns = now_ns
        self._watch = watch
        # By call, the sum over the text that is begun, where a mean is computed. A request has one
        # such text at most.
        self._sums: dict[int, NDArray[np.float32]] = {}
        self._context: Context | None = None
        self._batch = Batch(1)
        self._n_cells = 0
        self._used_ns = 0

    def forget(self, call: int) -> None:
        """Drop a request: no more of its slices will come."""
        self._sums.pop(call, None)

    def rest(self, now_ns: int) -> bool:
        """Give the context back if it was not used for a while; call it only while there is no
        work. Returns whether it was given back.
        """
        if self._context is None or now_ns - self._used_ns < KEPT_NS:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Give the context back. Call it before the model is closed."""
        if self._context is not None:
            self._context.close()
            self._context, self._n_cells = None, 0

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        """Run one decode. Raises `EngineFailed` when llama.cpp cannot go on."""
        try:
            context = self._context_for(work.cells)
        except LlamaError as error:
            log.warning("no embedding context cells=%d error=%s", work.cells, error)
            return self._give_up(
                work, EngineFailed(f"there is no memory for texts of {work.cells} tokens")
            )
        for seq in work.drop:
            context.trim(seq, 0)
        self._write(work)
        arms = cuttable and self._can_cut
        if arms:
            self._cutter.arm()
            if self._watch is not None:
                self._watch.began()
        began_ns = self._now_ns()
        if arms:
            code = decode_cuttable(context, self._batch, _SLICE_MS)
        else:
            code = context.decode(self._batch)
        if code == _DONE:
            pooled = self._pooled(context, work)
        self._used_ns = self._now_ns()
        if arms:
            if self._watch is not None:
                self._watch.ended()
            self._cutter.disarm()
        told = Embedded(ns=self._used_ns - began_ns, was_cut=code == ABORTED)
        if code not in (_DONE, ABORTED):
            raise EngineFailed(f"llama_decode of texts returned {code}: {context.last_words()}")
        if context.has_memory:
            self._tidy(context, work, was_cut=told.was_cut)
        if not told.was_cut:
            for piece, vector in zip(work.pieces, pooled, strict=True):
                self._take(piece, vector, told)
        return told

    # -- inside ---------------------------------------------------------------------------------

    def _context_for(self, n_cells: int) -> Context:
        if self._context is None or self._n_cells != n_cells:
            self.close()
            rows = n_cells if self._facts.whole else self._facts.shape.rows
            self._context = self._make(n_cells)
            self._batch = Batch(rows)
            self._batch.wants_logits[:] = 1
            self._n_cells = n_cells
            log.info("embedding context cells=%d rows=%d", n_cells, rows)
        return self._context

    def _write(self, work: EmbedSlice) -> None:
        batch, at = self._batch, 0
        for piece in work.pieces:
            end = at + piece.tokens.size
            batch.token[at:end] = piece.tokens
            batch.pos[at:end] = np.arange(piece.start, piece.start + piece.tokens.size)
            batch.seq[at:end] = piece.seq
            at = end
        batch.set_rows(at)

    def _pooled(self, context: Context, work: EmbedSlice) -> list[NDArray[np.float32]]:
        """The vector of each piece, or its part of a sum. Waits for the device."""
        width = self._facts.width
        if self._facts.context_pooling != "none":
            return [context.seq_vector(piece.seq, width) for piece in work.pieces]
        rows = context.row_vectors(work.n_rows, width)
        ends = np.cumsum([piece.tokens.size for piece in work.pieces])
        parts = np.split(rows, ends[:-1])
        if self._facts.pooling == "cls":
            return [part[0] for part in parts]
        return [part.sum(axis=0) for part in parts]

    def _tidy(self, context: Context, work: EmbedSlice, *, was_cut: bool) -> None:
        for piece in work.pieces:
            if was_cut or piece.ends or self._facts.whole:
                context.trim(piece.seq, piece.start if was_cut else 0)

    def _take(self, piece: EmbedPiece, vector: NDArray[np.float32], told: Embedded) -> None:
        if not self._facts.whole and self._facts.pooling in ("mean", "cls"):
            vector = self._over_slices(piece, vector)
        if piece.ends:
            self._sums.pop(piece.call, None)
            # A copy: llama.cpp writes the next vectors into the same memory.
            told.vectors.append(
                TextVector(call=piece.call, index=piece.index, vector=vector.copy())
            )

    def _over_slices(self, piece: EmbedPiece, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vector of a text's slices so far."""
        before = self._sums.get(piece.call) if piece.start else None
        if self._facts.pooling == "cls":
            # A copy, as above: this one is used again after the next slices.
            self._sums[piece.call] = first = part.copy() if before is None else before
            return first
        self._sums[piece.call] = total = part if before is None else before + part
        return total / np.float32(piece.start + piece.tokens.size)

    def _give_up(self, work: EmbedSlice, error: UmadError) -> Embedded:
        failed = {piece.call: error for piece in work.pieces}
        for call in failed:
            self.forget(call)
        return Embedded(was_cut=True, failed=failed)
