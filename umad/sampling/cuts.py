"""From a row to a token: which tokens stay in, and which of them is drawn.

The order is llama.cpp's default (`common_params_sampling::samplers`): top-k, typical, top-p,
min-p, temperature, draw. So every cut but the first looks at the probabilities of what the one
before has left, and none at the temperature. `min_keep` is llama.cpp's default too: at least one
token stays. Where equal logits straddle a cut, llama.cpp's choice is that of its sort; here the
lower token stays.

Every cut is exact. Thresholds find a superset, at first a small one; float64 decides on it; and
where the superset cannot settle the matter (a flat distribution) the whole row is taken.
The token is drawn by inverting the cumulated probabilities in an order of token ids, not of
probability: two nearly equal logits that change places (as after a restart) change no draw.
Pure but for the workspace.
"""

import math

import numpy as np
from numpy.typing import NDArray

from umad.request import SamplingParams
from umad.sampling.nucleus import nucleus
from umad.sampling.workspace import MASS_ERROR, Ids, Keep, LogitsArray, Workspace, first_above

# First guess at the depth below the best token that a nucleus reaches; exp(-8) = 0.0003.
_GUESS = 8.0
# exp((logit - best) / temperature) must not overflow on its way to 0.
_COLDEST = 1e-30

# A set of tokens, ascending, and logit - (the row's best) of each, finite.
_Few = tuple[Ids, NDArray[np.float64]]


def draw(space: Workspace, peak: float, params: SamplingParams, number: float) -> int:
    """The token for `number` in [0, 1) from the row `space` looks at, whose best logit is `peak`.

    `params.temperature` is above 0, and `peak` finite.
    """
    temperature = max(params.temperature, _COLDEST)
    typical, top_p, min_p = params.typical_p, params.top_p, params.min_p
    left: _Few | Keep
    if 0 < params.top_k < space.n_vocab:
        ids, logits = space.top_k(params.top_k)
        left = ids, logits.astype(np.float64) - peak
    elif typical < 1.0:
        left, typical = _typical_of_row(space, peak, typical), 1.0
    elif top_p < 1.0:
        left, top_p = _top_p_of_row(space, peak, top_p, min_p), 1.0
    elif min_p > 0.0:
        left = _min_p_of_row(space, peak, min_p)
    else:
        return space.draw(peak, temperature, number)
    if not isinstance(left, tuple):
        return space.draw(peak, temperature, number, left)
    return _draw_among(left, typical, top_p, min_p, temperature, number)


def draw_among(
    ids: Ids, logits: LogitsArray, peak: float, params: SamplingParams, number: float
) -> int:
    """The same where top-k has been seen to: from these tokens, ascending, `peak` the best of
    their logits."""
    temperature = max(params.temperature, _COLDEST)
    left = ids, logits.astype(np.float64) - peak
    return _draw_among(left, params.typical_p, params.top_p, params.min_p, temperature, number)


def _draw_among(
    left: _Few, typical: float, top_p: float, min_p: float, temperature: float, number: float
) -> int:
    if typical < 1.0:
        left = _typical(left, typical)
    if top_p < 1.0:
        left = _top_p(left, top_p)
    ids, depth = left
    best = float(depth.max())
    if min_p > 0.0:
        stays = depth >= best + math.log(min_p)
        ids, depth = ids[stays], depth[stays]
    sums = np.exp((depth - best) / temperature).cumsum()
    return int(ids[first_above(sums, number * float(sums[-1]))])


def _top_p(left: _Few, top_p: float) -> _Few:
    """The fewest best tokens that hold `top_p` of the probability (arXiv 1904.09751)."""
    ids, depth = left
    weights = np.exp(depth - depth.max())
    stays = nucleus(depth, weights, top_p * float(weights.sum()))
    return ids[stays], depth[stays]


def _typical(left: _Few, typical: float) -> _Few:
    """The fewest tokens nearest to the expected surprise that hold more than `typical` of the
    probability (arXiv 2202.00666).

    |surprise - entropy| = |depth - mean depth|: the normalising constant cancels out.
    """
    ids, depth = left
    weights = np.exp(depth)
    total = float(weights.sum())
    mean = float((weights * depth).sum()) / total
    stays = nucleus(-np.abs(depth - mean), weights, typical * total, strict=True)
    return ids[stays], depth[stays]


def _few_at_least(space: Workspace, peak: float, depth: float) -> _Few | None:
    """All tokens at `depth` below the best or above it, and perhaps one more at the edge; None
    when they are not few."""
    floor = _floor(peak, depth)
    if space.is_crowded(floor):
        return None
    ids, logits = space.at_least(floor)
    return ids, logits.astype(np.float64) - peak


def _floor(peak: float, depth: float) -> float:
    # One step down, so that rounding never leaves out whom the exact comparison lets in.
    return math.nextafter(peak + depth, -math.inf)


def _min_p_of_row(space: Workspace, peak: float, min_p: float) -> _Few | Keep:
    depth = math.log(min_p)
    few = _few_at_least(space, peak, depth)
    return space.keep(_floor(peak, depth)) if few is None else few


def _typical_of_row(space: Workspace, peak: float, typical: float) -> _Few:
    depth, weights = space.exact(peak)
    total = float(weights.sum())
    # Not a dot product: that is BLAS, whose threads would fight with the decoding ones.
    mean = float(np.einsum("i,i->", weights, depth)) / total
    # All that are as near to the mean as the best token is, and then some: whoever is left out
    # is further off than anybody let in, so when these hold enough, they hold the answer.
    few = _few_at_least(space, peak, mean - max(-mean, 0.5 * _GUESS))
    if few is not None:
        ids, near = few
        held = np.exp(near)
        if float(held.sum()) > typical * total:
            stays = nucleus(-np.abs(near - mean), held, typical * total, strict=True)
            return ids[stays], near[stays]
    stays = nucleus(-np.abs(depth - mean), weights, typical * total, strict=True)
    ids = np.flatnonzero(stays)
    return ids, depth[ids]


def _top_p_of_row(space: Workspace, peak: float, top_p: float, min_p: float) -> _Few | Keep:
    """Top-p of the whole vocabulary, of which min-p may leave no more than it keeps anyway.

    Both keep the best tokens down to some depth, so where min-p cuts as well, what lies below its
    depth need not be looked at, only weighed.
    """
    lowest = math.log(min_p) if min_p > 0.0 else -_GUESS
    few = _few_at_least(space, peak, lowest)
    if few is not None:
        ids, depth = few
        order = np.argsort(-depth, kind="stable")
        sums = np.exp(depth[order]).cumsum()
        if min_p > 0.0 and _reach(sums, top_p * float(sums[-1])) >= ids.size:
            return few  # it takes all of these alone, so all the more of the whole row
        mass = space.mass(peak)
        low = _reach(sums, top_p * mass * (1.0 - MASS_ERROR))
        high = _reach(sums, top_p * mass * (1.0 + MASS_ERROR))
        if low == high and (min_p > 0.0 or high <= ids.size):
            kept = np.sort(order[:high])
            return ids[kept], depth[kept]
    depth, weights = space.exact(peak)
    stays = nucleus(depth, weights, top_p * float(weights.sum()))
    if min_p > 0.0:
        stays &= depth >= lowest
    return stays


def _reach(sums: NDArray[np.float64], target: float) -> int:
    """How many terms it takes to reach `target`; one more than there are when they do not."""
    return int(sums.searchsorted(target)) + 1
