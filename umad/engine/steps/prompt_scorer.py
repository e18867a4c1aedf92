"""Computes how probable a prompt's tokens are, from the logits of the positions before them.

Not: which positions have logits (`umad.scheduler.steps.scoring`). Owner: the step thread.
"""

import math

import numpy as np
from numpy.typing import NDArray

from umad.errors import InternalError
from umad.sampling.logprobs import token_logprob
from umad.sampling.workspace import Workspace
from umad.service import TokenLogprob


class PromptScorer:
    """The prompt of one completion. Its first token has nothing before it, and no probability."""

    __slots__ = ("_n_top", "_n_vocab", "_tokens", "next")

    def __init__(self, tokens: NDArray[np.int32], *, n_top: int, n_vocab: int) -> None:
        """n_top: how many of the most probable tokens are told of beside each."""
        self._tokens = tokens
        self._n_top = n_top
        self._n_vocab = n_vocab
        # The first token whose probability is not told yet. Positions before it may be computed
        # again, because the request was preempted.
        self.next = 1

    def scored(
        self, logits: NDArray[np.float32], start: int
    ) -> tuple[int, int, tuple[TokenLogprob, ...]]:
        """(place of the first token told of, the token before it, what is told), from the rows of
        the positions from `start` on. Raises `InternalError` for logits that are no distribution.
        """
        first = self.next
        end = min(self._tokens.size, start + len(logits) + 1)
        told: list[TokenLogprob] = []
        space = Workspace.of_thread(self._n_vocab)
        for place in range(first, end):
            row = logits[place - 1 - start]
            peak = space.look(row)
            if not math.isfinite(peak):
                raise InternalError("the model's logits are not finite; its file may be damaged")
            token = int(self._tokens[place])
            told.append(token_logprob(space, row, peak, token, self._n_top))
        self.next = max(first, end)
        return first, int(self._tokens[first - 1]), tuple(told)
