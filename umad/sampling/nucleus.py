"""Finds the fewest best items whose weights together reach a given mass, exactly.

The best item has the highest key; of equal keys the lower index is better. Few items are sorted.
Many items are dealt into buckets by key, and only the bucket in which the mass is reached is
divided again, until it is small. So a flat distribution over 150,000 tokens costs a few passes,
never a sort.

Pure.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Sorting this many takes 0.1 ms, about as long as a round of buckets for ten times as many.
SORTABLE = 2048
_BUCKETS = 1024
# Weights are exp(key - a constant). So far below the best key they are 0 in float64.
_DEPTH = 800.0


def nucleus(
    keys: NDArray[np.float64],
    weights: NDArray[np.float64],
    target: float,
    *,
    strict: bool = False,
) -> NDArray[np.bool_]:
    """Mark the fewest best items with a sum of weights >= target.

    All items are marked when even all of them do not reach the target. At least one is marked.
    keys, weights: float64 (n,), finite, n >= 1.
    strict: the sum must be > target.
    """
    side: Literal["left", "right"] = "right" if strict else "left"
    keep = np.zeros(keys.size, dtype=np.bool_)
    undecided: NDArray[np.intp] | None = None
    mass = 0.0
    while keys.size > SORTABLE:
        best = float(keys.max())
        span = min(best - float(keys.min()), _DEPTH)
        if span == 0.0:
            break
        # Rounding keeps the order of the keys, so no bucket holds a better item than the bucket
        # before it. The best and the worst key never share a bucket, so every round gains.
        depth = np.subtract(best, keys)
        depth *= _BUCKETS / span
        bucket = np.minimum(depth, _BUCKETS - 1, out=depth).astype(np.intp)
        sums = np.bincount(bucket, weights, minlength=_BUCKETS).cumsum()
        sums += mass
        reached = int(np.searchsorted(sums, target, side=side))
        _put(keep, undecided, bucket < reached)
        if reached == _BUCKETS:
            return keep
        mass = float(sums[reached - 1]) if reached else mass
        inside = np.flatnonzero(bucket == reached)
        undecided = inside if undecided is None else undecided[inside]
        keys, weights = keys[inside], weights[inside]
    order = np.argsort(-keys, kind="stable")
    sums = weights[order].cumsum()
    sums += mass
    inside = order[: int(np.searchsorted(sums, target, side=side)) + 1]
    keep[inside if undecided is None else undecided[inside]] = True
    return keep


def _put(
    keep: NDArray[np.bool_], undecided: NDArray[np.intp] | None, taken: NDArray[np.bool_]
) -> None:
    if undecided is None:
        keep[:] = taken
    else:
        keep[undecided[taken]] = True
