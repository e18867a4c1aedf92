"""Makes the toy model's vectors, which follow from a text's tokens alone.

Owner: the step thread.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from umad.engine.embedding.work import Embedded, Wanted
from umad.protocol.link import EngineReply
from umad.step import EmbedSlice

EMBED_WIDTH = 8


class ToyEmbedder:
    """Makes vectors that follow from a text's tokens and from nothing else."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._wanted: dict[int, Wanted] = {}
        self._tokens: dict[tuple[int, int], list[int]] = {}
        self._left: dict[int, int] = {}

    def expect(self, wanted: Wanted) -> None:
        """Prepare for the slices of this request."""
        self._wanted[wanted.call] = wanted
        self._left[wanted.call] = len(wanted.sizes)

    def forget(self, call: int) -> None:
        """Drop a request: no more of its slices will come."""
        if self._wanted.pop(call, None) is not None:
            del self._left[call]
            self._tokens = {at: one for at, one in self._tokens.items() if at[0] != call}

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        """Take one slice. Tokens are kept until their text is complete."""
        began_ns = self._now_ns()
        told = Embedded()
        for piece in work.pieces:
            if piece.call not in self._wanted:
                continue
            tokens = self._tokens.setdefault((piece.call, piece.index), [])
            tokens += piece.tokens.tolist()
            if piece.ends:
                self._left[piece.call] -= 1
                if not self._left[piece.call]:
                    told.replies.append(self._reply(piece.call))
        told.ns = self._now_ns() - began_ns
        return told

    def _reply(self, call: int) -> EngineReply:
        wanted = self._wanted[call]
        texts = [self._tokens[call, index] for index in range(len(wanted.sizes))]
        vectors = np.array([_vector(text) for text in texts], np.float32)
        self.forget(call)
        value = {
            "dimensions": EMBED_WIDTH,
            "vectors": vectors.tobytes(),
            "prompt_tokens": sum(wanted.sizes),
        }
        return EngineReply(call=call, value=value)

    def rest(self, now_ns: int) -> bool:
        """Returns False: there is no memory to give back."""
        return False

    def close(self) -> None:
        """Does nothing: there is nothing to close."""


def _vector(tokens: list[int]) -> NDArray[np.float32]:
    """float32 (EMBED_WIDTH,) of length 1."""
    counts = np.bincount(np.array(tokens) % EMBED_WIDTH, minlength=EMBED_WIDTH) + 0.5
    return (counts / np.linalg.norm(counts)).astype(np.float32)
