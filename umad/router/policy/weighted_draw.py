"""Draws one of many slots by weight, in a time that grows with the logarithm of their number. Pure.

A Fenwick tree (P. M. Fenwick, 1994) of whole numbers, so that sums stay exact however often weights
change. With 1,000 slots, a change and a draw are ten steps each.
"""


class WeightedDraw:
    """Weights by slot. Slots begin at 0 and grow as they are used; their weights begin at 0."""

    __slots__ = ("_size", "_sums", "_weights", "total")

    def __init__(self) -> None:
        self._size = 1
        # Entry i, from 1, holds the sum of the weights of as many slots up to i as the lowest bit
        # of i says.
        self._sums = [0, 0]
        self._weights = [0]
        self.total = 0

    def weight(self, slot: int) -> int:
        """The weight of `slot`; 0 for one that was never given any."""
        return self._weights[slot] if slot < self._size else 0

    def put(self, slot: int, weight: int) -> None:
        """Give `slot` a weight of at least 0."""
        while slot >= self._size:
            self._double()
        change = weight - self._weights[slot]
        if not change:
            return
        self._weights[slot] = weight
        self.total += change
        sums, at = self._sums, slot + 1
        while at <= self._size:
            sums[at] += change
            at += at & -at

    def draw(self, at: int) -> int:
        """The slot within whose weight `at` falls, where the weights lie side by side.

        at: from 0 to below `total`. A slot without weight is never drawn.
        """
        # The entry of the whole size is the total, which is more than `at`.
        sums, slot, step = self._sums, 0, self._size >> 1
        while step:
            below = sums[slot + step]
            if below <= at:
                at -= below
                slot += step
            step >>= 1
        return slot

    def _double(self) -> None:
        self._weights += [0] * self._size
        self._sums += [0] * self._size
        self._size *= 2
        # All slots that there were lie in the first half.
        self._sums[self._size] = self.total
