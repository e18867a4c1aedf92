"""Samples one completion's next token from its row of logits and its history.

token = f(logits, params, seed, position, history). There is no state besides the history, so a
completion goes on anywhere as if it had never been interrupted.

Not: choosing the row or the moment, or using the token.
Owner: one completion; any one thread at a time.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from umad.errors import BadRequest, InternalError
from umad.request import SamplingParams
from umad.sampling.allowed import Allowed
from umad.sampling.cuts import draw, draw_among
from umad.sampling.edits import LogitEdits
from umad.sampling.logprobs import token_logprob
from umad.sampling.uniform import stream_key, uniform
from umad.sampling.workspace import Workspace
from umad.service import TokenLogprob


class Drawn(NamedTuple):
    """A token, and its log-probability if the request asked for it.

    It is a NamedTuple because one is made for each token, in a third of a frozen dataclass's time.
    """

    token: int
    logprob: TokenLogprob | None


class Sampler:
    """Samples the tokens of one completion. Not thread-safe; any one thread at a time.

    copied_rows: how many rows had to be copied so that tokens could be barred in them.
    """

    __slots__ = ("_edits", "_key", "_n_vocab", "_params", "_plain_bans", "copied_rows")

    def __init__(
        self,
        params: SamplingParams,
        *,
        seed: int,
        n_vocab: int,
        eog: frozenset[int],
        history: Sequence[int] | NDArray[np.int32],
        n_prompt: int | None = None,
    ) -> None:
        """Raises `BadRequest` for a bias on a token that the model does not have.

        eog: the end-of-generation tokens, which are banned when `params.ignore_eos`.
        history: the prompt and, for a resumed completion, the tokens that it has already.
        n_prompt: how many tokens of the history are the prompt; None for all. Frequency and
        presence penalties need it.
        """
        self._params = params
        self._n_vocab = n_vocab
        self._key = stream_key(seed)
        self.copied_rows = 0
        self._edits = LogitEdits(
            params,
            n_vocab=n_vocab,
            eog=eog,
            history=history,
            n_prompt=len(history) if n_prompt is None else n_prompt,
        )
        # If sampling is greedy and only bans change a row, one argmax is enough. Then these are the
        # banned tokens; otherwise None.
        self._plain_bans = (
            self._edits.bans if params.temperature == 0.0 and params.logprobs is None else None
        )

    def sample(
        self,
        logits: NDArray[np.float32],
        position: int,
        allowed: Allowed | None = None,
    ) -> Drawn:
        """Draw the token at `position` from `logits`, float32 (n_vocab,), contiguous.

        allowed: the tokens that may be drawn; None for all. Log-probabilities are the model's in
        either case.

        The row is written to meanwhile, and left as it was found. Raises `InternalError` when the
        row is not a distribution (a NaN, +inf, or -inf throughout), and `BadRequest` when bias and
        bans leave no token. Either error concerns this completion alone.
        """
        is_few = allowed is not None and allowed.few is not None
        if self._plain_bans is not None and not is_few:
            best = int(logits.argmax())  # the index of a NaN, where there is one
            if best not in self._plain_bans and (allowed is None or best in allowed):
                self._check_peak(float(logits[best]))
                return Drawn(best, None)
        if self._edits.active:
            changed = self._edits.apply(logits)
            try:
                token = self._choose(logits, position, allowed)
            finally:
                self._edits.undo(logits, changed)
        else:
            token = self._choose(logits, position, allowed)
        n_top = self._params.logprobs
        if n_top is None:
            return Drawn(token, None)
        space = Workspace.of_thread(self._n_vocab)
        return Drawn(token, token_logprob(space, logits, space.look(logits), token, n_top))

    def accept(self, token: int) -> None:
        """Add `token`, which was taken, to the end of the history."""
        if self._edits.active:
            self._edits.accept(token)

    def _choose(self, logits: NDArray[np.float32], position: int, allowed: Allowed | None) -> int:
        if allowed is not None:
            return self._choose_allowed(logits, position, allowed)
        if self._params.temperature == 0.0:
            best = int(logits.argmax())
            self._check_peak(float(logits[best]))
            return best
        space = Workspace.of_thread(self._n_vocab)
        peak = space.look(logits)
        self._check_peak(peak)
        return draw(space, peak, self._params, uniform(self._key, position))

    def _choose_allowed(self, logits: NDArray[np.float32], position: int, allowed: Allowed) -> int:
        space, params = Workspace.of_thread(self._n_vocab), self._params
        is_greedy = params.temperature == 0.0
        found = space.top_k_allowed(logits, allowed, 1 if is_greedy else params.top_k)
        if found is None:
            self.copied_rows += 1
            return self._choose(space.masked(logits, allowed.bars), position, None)
        ids, best = found
        peak = float(best.max(initial=-np.inf))
        self._check_peak(peak)
        if is_greedy:
            return int(ids[best.argmax()])
        return draw_among(ids, best, peak, params, uniform(self._key, position))

    def _check_peak(self, peak: float) -> None:
        if math.isfinite(peak):
            return
        if peak == -math.inf and self._edits.active:
            raise BadRequest("logit_bias and ignore_eos leave no token to draw", field="logit_bias")
        raise InternalError(
            "the model's logits are not finite; its file may be damaged, or its KV type too small"
        )
