"""Makes the toy model's vectors, which follow from a text's tokens alone.

Owner: the step thread.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umad.engine.embedding.work import Embedded, TextVector
from umad.step import EmbedSlice

EMBED_WIDTH = 8


class ToyEmbedder:
    """Makes vectors that follow from a text's tokens and from nothing else."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        # The tokens of the text of each request that is begun, by call.
        self._tokens: dict[int, list[int]] = {}

    def forget(self, call: int) -> None:
        """Drop a request: no more of its slices will come."""
        self._tokens.pop(call, None)

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        """Take one slice. Tokens are kept until their text is complete."""
        began_ns = self._now_ns()
        told = Embedded()
        for piece in work.pieces:
            if not piece.start:
                self._tokens[piece.call] = []
            tokens = self._tokens.setdefault(piece.call, [])
            tokens += piece.tokens.tolist()
            if piece.ends:
                vector = _vector(self._tokens.pop(piece.call))
                told.vectors.append(TextVector(call=piece.call, index=piece.index, vector=vector))
        told.ns = self._now_ns() - began_ns
        return told

    def rest(self, now_ns: int) -> bool:
        """Returns False: there is no memory to give back."""
        return False

    def close(self) -> None:
        """Does nothing: there is nothing to close."""


def _vector(tokens: list[int]) -> NDArray[np.float32]:
    """float32 (EMBED_WIDTH,) of length 1."""
    counts = np.bincount(np.array(tokens) % EMBED_WIDTH, minlength=EMBED_WIDTH) + 0.5
    return (counts / np.linalg.norm(counts)).astype(np.float32)
