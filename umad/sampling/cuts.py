"""Cuts a row down to its likely tokens, and draws one of them.

The order is llama.cpp's default (`common_params_sampling::samplers`): top-k, typical, top-p,
min-p, temperature, draw. So every cut but the first looks at the probabilities of the tokens that
the cut before has left, and no cut looks at the temperature. `min_keep` is llama.cpp's default too:
at least one token stays. Where equal logits straddle a cut, llama.cpp's sort decides which stay;
here the lower token stays.

Every cut is exact. Thresholds find a superset of the tokens that stay, at first a small one. Then
float64 decides within the superset. Where the superset is too small to decide (a flat
distribution), the whole row is taken.

The token is drawn by inverting the cumulated probabilities in the order of token ids, not of
probability. So two nearly equal logits that change places (as after a restart) change no draw.

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
    """Draw the token for `number` in [0, 1) from the row that `space` looks at.

    `peak`, the row's best logit, is finite, and `params.temperature` is above 0.
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
    """Draw like `draw`, but from the tokens `ids`, ascending, that top-k has already left.

    `peak` is the best of their logits.
    """
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
    """Return all tokens whose logit is at least `peak + depth`, and perhaps one more at the edge;
    None when there are many."""
    floor = _floor(peak, depth)
    if space.is_crowded(floor):
        return None
    ids, logits = space.at_least(floor)
    return ids, logits.astype(np.float64) - peak


def _floor(peak: float, depth: float) -> float:
    # One step down, so that rounding never leaves out a token that the exact comparison lets in.
    return math.nextafter(peak + depth, -math.inf)


def _min_p_of_row(space: Workspace, peak: float, min_p: float) -> _Few | Keep:
    depth = math.log(min_p)
    few = _few_at_least(space, peak, depth)
    return space.keep(_floor(peak, depth)) if few is None else few


def _typical_of_row(space: Workspace, peak: float, typical: float) -> _Few:
    depth, weights = space.exact(peak)
    total = float(weights.sum())
    # A dot product would call BLAS, whose threads would compete with the decoding threads.
    mean = float(np.einsum("i,i->", weights, depth)) / total
    # These are all tokens that are as near to the mean as the best token is, and some more. Every
    # token left out is further from the mean than any token let in. So when these hold enough of
    # the probability, the answer is among them.
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
    """Apply top-p to the whole vocabulary, and min-p along with it.

    Both keep the best tokens down to some depth. So where min-p cuts as well, the tokens below its
    depth need not be looked at one by one; only their sum of probabilities counts.
    """
    lowest = math.log(min_p) if min_p > 0.0 else -_GUESS
    few = _few_at_least(space, peak, lowest)
    if few is not None:
        ids, depth = few
        order = np.argsort(-depth, kind="stable")
        sums = np.exp(depth[order]).cumsum()
        if min_p > 0.0 and _reach(sums, top_p * float(sums[-1])) >= ids.size:
            return few  # top-p keeps all of these by themselves, so also within the whole row
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
    """How many terms it takes to reach `target`; one more than there are when all do not."""
    return int(sums.searchsorted(target)) + 1
