"""Divides a request's texts into those whose vectors are known and those that are computed.

A text that stands twice in a request is computed once. Pure but for the cache, which is safe from
any thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.engine.embedding.cache import Vector, VectorCache, text_key

TokenArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextVectors:
    """Where the vector of each text of a request comes from.

    The known vectors and those that are computed form one table, the known ones first.
    """

    owner: str = ""
    known: tuple[Vector, ...] = ()
    # The keys of the texts that are computed, in the order in which they are handed in.
    keys: tuple[bytes, ...]
    # The row of the table for each text of the request.
    rows: tuple[int, ...]
    # Tokens of all texts, and of those that are not computed for this request.
    n_tokens: int
    n_known_tokens: int = 0
    # As `VectorCache.epoch` was.
    epoch: int = 0

    @property
    def n_known(self) -> int:
        """How many texts of the request are not computed."""
        return len(self.rows) - len(self.keys)


def look_up(
    cache: VectorCache, owner: str, texts: Sequence[TokenArray]
) -> tuple[TextVectors, tuple[TokenArray, ...]]:
    """Where the vectors of `texts` come from, and the texts that have to be computed."""
    epoch = cache.epoch
    keys = [text_key(one) for one in texts]
    distinct: dict[bytes, TokenArray] = {}
    for key, one in zip(keys, texts, strict=True):
        distinct.setdefault(key, one)
    known: dict[bytes, Vector] = {}
    missing: dict[bytes, TokenArray] = {}
    for key, one in distinct.items():
        vector = cache.find(owner, key)
        if vector is None:
            missing[key] = one
        else:
            known[key] = vector
    row_of = {key: row for row, key in enumerate([*known, *missing])}
    n_tokens = sum([one.size for one in texts])
    sources = TextVectors(
        owner=owner,
        known=tuple(known.values()),
        keys=tuple(missing),
        rows=tuple([row_of[key] for key in keys]),
        n_tokens=n_tokens,
        n_known_tokens=n_tokens - sum([one.size for one in missing.values()]),
        epoch=epoch,
    )
    return sources, tuple(missing.values())
