"""Selects tokens from a whole row exactly, without sorting it, in scratch memory of one thread.

A row of 152k logits is folded into 64 lines. The maximum of each column (2,374 of them) shows where
the best tokens can be: the k-th best column is a lower bound for the k-th best token, so only the
columns above it are opened. That takes 16 microseconds for the 40 best tokens, where a partition of
the row takes 100 to 1,000. No memory of the vocabulary's size is allocated for a token.

Owner: its thread (`Workspace.of_thread`). Call `look` first; the other methods answer about the row
that it was given.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from umad.sampling.allowed import Allowed

Ids = NDArray[np.intp]
LogitsArray = NDArray[np.float32]
Keep = NDArray[np.bool_]

# Fewer lines make the partition of the maxima slow; more lines make the opened columns slow.
_LINES = 64
# A smaller vocabulary gains nothing from a fold.
_FOLDED = 4096
# With an eighth of the columns above a floor, scanning the row is as fast as opening them.
_CROWDED = 8
# How many more than the k best tokens are looked at where some of them may not be allowed.
_SPARE = 32
# `mass` is within this of the exact sum, relatively: 63 float32 additions round by at most
# 63 * 2**-24 = 3.8e-6, exp by 3 units in the last place (4e-7) and its argument by 2**-20 at -16.
MASS_ERROR = 1e-5

_LOWEST = float(np.finfo(np.float32).min)
_INFINITE = np.float32(np.inf)
# It replaces -inf where a product with 0 must be 0 and a difference must be finite.
_ABYSS = -1e300


class _OfThread(threading.local):
    workspace: "Workspace | None" = None


_OF_THREAD = _OfThread()


class Workspace:
    """Scratch for rows of float32 (n_vocab,), contiguous."""

    __slots__ = (
        "_columns",
        "_exact",
        "_folded",
        "_keep",
        "_lines",
        "_masked",
        "_maxima",
        "_powers",
        "_row",
        "_split",
        "n_vocab",
    )

    def __init__(self, n_vocab: int) -> None:
        self.n_vocab = n_vocab
        self._lines = _LINES if n_vocab >= _FOLDED else 1
        self._columns = n_vocab // self._lines
        # Tokens from `_split` on are left over by the fold and looked at one by one.
        self._split = self._lines * self._columns
        self._maxima = np.empty(self._columns, dtype=np.float32)
        self._keep: Keep = np.empty(n_vocab, dtype=np.bool_)
        self._powers: LogitsArray | None = None
        self._masked: LogitsArray | None = None
        self._exact: NDArray[np.float64] | None = None
        self._row: LogitsArray = self._maxima
        self._folded: LogitsArray = self._maxima.reshape(1, -1)

    @staticmethod
    def of_thread(n_vocab: int) -> "Workspace":
        """Return the calling thread's workspace. A thread keeps one, for its last `n_vocab`."""
        found = _OF_THREAD.workspace
        if found is None or found.n_vocab != n_vocab:
            found = _OF_THREAD.workspace = Workspace(n_vocab)
        return found

    def masked(self, row: LogitsArray, bars: LogitsArray) -> LogitsArray:
        """Return `row` + `bars` (0 or -inf for each token), in scratch memory. It takes 30
        microseconds for 152k tokens, where copying by a mask of booleans took up to 1,600."""
        if self._masked is None:
            self._masked = np.empty(self.n_vocab, dtype=np.float32)
        return np.add(row, bars, out=self._masked)

    def look(self, row: LogitsArray) -> float:
        """Take up a row; return its highest logit, or NaN if the row holds one anywhere."""
        self._row = row
        self._folded = row[: self._split].reshape(self._lines, self._columns)
        np.maximum.reduce(self._folded, axis=0, out=self._maxima)
        peak = self._maxima.max()
        if self._split < row.size:
            peak = np.maximum(peak, row[self._split :].max())
        return float(peak)

    def is_crowded(self, floor: float) -> bool:
        """Whether so many tokens are >= `floor` that `keep` serves better than `at_least`."""
        above = int(np.count_nonzero(self._maxima >= _float32_at_least(floor)))
        return above * _CROWDED > self._columns

    def keep(self, floor: float) -> Keep:
        """Mark each token of the row that is >= `floor` and more than -inf, in scratch memory."""
        return np.greater_equal(self._row, _float32_at_least(floor), out=self._keep)

    def at_least(self, floor: float) -> tuple[Ids, LogitsArray]:
        """Return the tokens, ascending, that are >= `floor` and more than -inf, and their
        logits."""
        limit = _float32_at_least(floor)
        columns = np.flatnonzero(self._maxima >= limit)
        if columns.size * _CROWDED > self._columns:
            ids = np.flatnonzero(self.keep(floor))
            return ids, self._row[ids]
        opened = self._folded[:, columns]
        lines, at = np.nonzero(opened >= limit)
        ids = lines * self._columns + columns[at]
        logits = opened[lines, at]
        if self._split < self._row.size:
            rest = np.flatnonzero(self._row[self._split :] >= limit) + self._split
            if rest.size:
                ids = np.concatenate([ids, rest])
                logits = np.concatenate([logits, self._row[rest]])
        return ids, logits

    def top_k(self, k: int) -> tuple[Ids, LogitsArray]:
        """Return the k highest tokens, ascending, and their logits; of equal ones the lower token
        wins.

        There are fewer than k only where the others are -inf.
        """
        if k >= self.n_vocab:
            return self.at_least(-np.inf)
        among = self._maxima if k * 2 <= self._columns else self._row
        bound = np.partition(among, among.size - k)[among.size - k]
        return _highest(*self.at_least(float(bound)), k)

    def top_k_allowed(
        self, row: LogitsArray, allowed: Allowed, k: int
    ) -> tuple[Ids, LogitsArray] | None:
        """Return the k highest of the allowed tokens of `row`, like `top_k`.

        The row is taken up where that is needed. None where looking at few tokens is not enough,
        and for k 0, which means all tokens.
        """
        if not 0 < k < self.n_vocab:
            return None
        if allowed.few is not None:
            ids, logits = allowed.few, row[allowed.few]
            stays = logits > -np.inf
            return _highest(ids[stays], logits[stays], k)
        if k + _SPARE >= self.n_vocab:
            return None
        self.look(row)
        ids, logits = self.top_k(k + _SPARE)
        stays = allowed.among(ids)
        ids, logits = ids[stays], logits[stays]
        return _highest(ids, logits, k) if ids.size >= k else None

    def mass(self, peak: float) -> float:
        """Return the sum of exp(logit - peak), within MASS_ERROR relatively. `peak` is the row's
        highest logit."""
        powers, sums = self._exp_sums(peak, 1.0)
        return float(sums.sum(dtype=np.float64)) + float(powers[self._split :].sum())

    def exact(self, peak: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return logit - peak and its exp for the whole row, in float64, in scratch memory. It
        takes about 0.4 ms.

        It is for rows where float32 or a few tokens cannot decide. -inf becomes a very low finite
        value, so that its product with a weight of 0 is 0.
        """
        if self._exact is None:
            self._exact = np.empty((2, self.n_vocab), dtype=np.float64)
        depth, weights = self._exact
        np.subtract(self._row, np.float64(peak), out=depth)
        np.maximum(depth, _ABYSS, out=depth)
        return depth, np.exp(depth, out=weights)

    def draw(self, peak: float, temperature: float, number: float, keep: Keep | None = None) -> int:
        """Draw one token with probability ~ exp(logit / temperature), from `number` in [0, 1).

        keep: the tokens that may be drawn; None for all. The best token is always among them.
        The column is drawn first, then the token in it, so the vocabulary is summed once and never
        accumulated.
        """
        powers, sums = self._exp_sums(peak, temperature, keep)
        rest = powers[self._split :]
        totals = np.append(sums, rest.sum()).astype(np.float64).cumsum()
        wanted = number * float(totals[-1])
        column = first_above(totals, wanted)
        wanted -= float(totals[column - 1]) if column else 0.0
        if column == self._columns:
            return self._split + first_above(rest.astype(np.float64).cumsum(), wanted)
        line = powers[column : self._split : self._columns]
        return first_above(line.astype(np.float64).cumsum(), wanted) * self._columns + column

    def _exp_sums(
        self, peak: float, temperature: float, keep: Keep | None = None
    ) -> tuple[LogitsArray, LogitsArray]:
        """Return exp((logit - peak) / temperature) of the kept tokens, and each column's sum, in
        scratch memory."""
        powers = self._powers
        if powers is None:
            powers = self._powers = np.empty(self.n_vocab, dtype=np.float32)
        with np.errstate(over="ignore"):  # an overflow gives -inf, whose exp is 0 as wanted
            np.subtract(self._row, np.float32(peak), out=powers)
            if temperature != 1.0:
                np.multiply(powers, np.float32(1.0 / temperature), out=powers)
        np.exp(powers, out=powers)
        if keep is not None:
            np.multiply(powers, keep, out=powers)
        folded = powers[: self._split].reshape(self._lines, self._columns)
        return powers, np.add.reduce(folded, axis=0)


def _highest(ids: Ids, logits: LogitsArray, k: int) -> tuple[Ids, LogitsArray]:
    """Return the k highest of these tokens; of equal ones the lower token wins."""
    surplus = ids.size - k
    if surplus <= 0:
        return ids, logits
    last = np.partition(logits, surplus)[surplus]
    above = logits > last
    level = np.flatnonzero(logits == last)
    above[level[: k - np.count_nonzero(above)]] = True
    return ids[above], logits[above]


def first_above(sums: NDArray[np.float64], wanted: float) -> int:
    """Return the first index whose running sum is above `wanted`. Where rounding has made `wanted`
    as large as the total, return the first index that holds the total, so that no item of weight 0
    is ever drawn."""
    at = int(sums.searchsorted(wanted, side="right"))
    return at if at < sums.size else int(sums.searchsorted(sums[-1]))


def _float32_at_least(floor: float) -> np.float32:
    """Return the lowest finite float32 that is >= `floor`; a float32 logit is compared with it."""
    limit = np.float32(max(floor, _LOWEST))
    # float(): numpy would round `floor` to float32 to compare it with one.
    return limit if float(limit) >= floor else np.nextafter(limit, _INFINITE)
