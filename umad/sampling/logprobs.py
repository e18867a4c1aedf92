"""Computes natural-log probabilities of a row as the model made it.

Bias, penalties, cuts and temperature do not count.
Owner: the calling thread, whose workspace is used.
"""

import math

import numpy as np

from umad.sampling.workspace import LogitsArray, Workspace
from umad.service import TokenLogprob


def token_logprob(
    space: Workspace, row: LogitsArray, peak: float, token: int, n_top: int
) -> TokenLogprob:
    """Return the log-probabilities of `token` and of the `n_top` most probable tokens, within 1e-5.

    `space` looks at `row`, float32 (n_vocab,), whose best logit is `peak`. Equal probabilities
    are listed in the order of token ids. A token of probability 0 is never among the top.
    """
    norm = peak + math.log(space.mass(peak))
    top: tuple[tuple[int, float], ...] = ()
    if n_top:
        ids, logits = space.top_k(n_top)
        order = np.argsort(-logits, kind="stable")
        top = tuple(
            zip(
                ids[order].tolist(), (logits[order].astype(np.float64) - norm).tolist(), strict=True
            )
        )
    return TokenLogprob(id=token, logprob=float(row[token]) - norm, top=top)
