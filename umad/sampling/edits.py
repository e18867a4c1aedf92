"""Applies logit bias, bans and penalties to a row before it is cut, and undoes them after the draw.

The row is llama.cpp's own memory. Only entries that change are read and written, and they are put
back. So log-probabilities see the row as the model made it, and a row may be sampled twice.
The order is that of llama.cpp's `common_sampler`: bias and bans, repetition, frequency and
presence.

Owner: one `Sampler`.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from umad.errors import BadRequest
from umad.request import SamplingParams
from umad.sampling.counts import TokenCounts

# A bias of infinity is replaced by this: the token is as good as certain, and the logit is still
# safe to add and compare.
_CERTAIN = 1e30

Undo = list[tuple[NDArray[np.intp], NDArray[np.float32]]]


class LogitEdits:
    """The bias, bans and penalties of one completion.

    The repetition penalty (CTRL, arXiv 1909.05858; it multiplies where the logit is negative) looks
    at the last `penalty_last_n` tokens of prompt and completion; 0 turns it off. Frequency and
    presence penalties (OpenAI's definition: logit - count * frequency - presence) look at every
    token of the completion and at none of the prompt.
    """

    __slots__ = (
        "_biased",
        "_biases",
        "_completion",
        "_frequency",
        "_last_n",
        "_presence",
        "_recent",
        "_recent_counts",
        "_repetition",
        "active",
        "bans",
    )

    def __init__(
        self,
        params: SamplingParams,
        *,
        n_vocab: int,
        eog: frozenset[int],
        history: Sequence[int] | NDArray[np.int32],
        n_prompt: int,
    ) -> None:
        biases = _biases(params, n_vocab=n_vocab, eog=eog)
        self._biased = np.array(list(biases), dtype=np.intp)
        self._biases = np.array(list(biases.values()), dtype=np.float32)
        self._repetition = params.repetition_penalty
        self._frequency = params.frequency_penalty
        self._presence = params.presence_penalty
        self._last_n = params.penalty_last_n
        self._recent: deque[int] = deque()
        self._recent_counts: TokenCounts | None = None
        if self._repetition != 1.0 and self._last_n > 0:
            self._recent_counts = TokenCounts()
            for token in history[-self._last_n :]:
                self._remember(self._recent_counts, int(token))
        self._completion: TokenCounts | None = None
        if self._frequency != 0.0 or self._presence != 0.0:
            self._completion = TokenCounts()
            for token in history[n_prompt:]:
                self._completion.add(int(token))
        # When False, `apply` would never change anything, so the sampler need not call it.
        self.active = bool(biases) or (self._recent_counts or self._completion) is not None

        # The banned tokens, if `apply` makes no other change; otherwise None. If the best token of
        # a row is not banned, it is the best token of the changed row too.
        self.bans: frozenset[int] | None = None
        if all(bias == -np.inf for bias in biases.values()) and (
            self._recent_counts is self._completion is None
        ):
            self.bans = frozenset(biases)

    def accept(self, token: int) -> None:
        """Add `token` to the end of the history."""
        if self._recent_counts is not None:
            self._remember(self._recent_counts, token)
        if self._completion is not None:
            self._completion.add(token)

    def apply(self, row: NDArray[np.float32]) -> Undo:
        """Change `row`, float32 (n_vocab,), in place; return what `undo` needs to put it back."""
        changed: Undo = []
        # The sampler looks for values that are not finite, in one place, after the edits.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._biased.size:
                was = row[self._biased]
                changed.append((self._biased, was))
                row[self._biased] = was + self._biases
            if self._recent_counts is not None:
                ids = self._recent_counts.ids
                was = row[ids]
                changed.append((ids, was))
                row[ids] = np.where(was <= 0, was * self._repetition, was / self._repetition)
            if self._completion is not None:
                ids = self._completion.ids
                was = row[ids]
                changed.append((ids, was))
                row[ids] = was - (self._completion.counts * self._frequency + self._presence)
        return changed

    @staticmethod
    def undo(row: NDArray[np.float32], changed: Undo) -> None:
        """Put back what `apply` changed, the last change first."""
        for ids, was in reversed(changed):
            row[ids] = was

    def _remember(self, counts: TokenCounts, token: int) -> None:
        if len(self._recent) == self._last_n:
            counts.remove(self._recent.popleft())
        self._recent.append(token)
        counts.add(token)


def _biases(params: SamplingParams, *, n_vocab: int, eog: frozenset[int]) -> dict[int, float]:
    """Return the bias of each token. Several biases of one token add up, as in llama.cpp."""
    biases: dict[int, float] = {}
    for token, bias in params.logit_bias:
        if not 0 <= token < n_vocab:
            raise BadRequest(
                f"logit_bias names token {token}; this model has {n_vocab}", field="logit_bias"
            )
        biases[token] = biases.get(token, 0.0) + min(bias, _CERTAIN)
    if params.ignore_eos:
        biases.update((token, -np.inf) for token in eog if 0 <= token < n_vocab)
    return {token: _bounded(bias) for token, bias in biases.items() if bias != 0.0}


def _bounded(bias: float) -> float:
    return -np.inf if bias == -np.inf else max(-_CERTAIN, min(bias, _CERTAIN))
