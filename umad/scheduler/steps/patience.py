"""Weighs a first token that comes sooner against the tokens of running streams that come later.

A slice of a prompt beside streams makes their readers wait longer for one token. Many small slices
make nobody wait long, but each of them costs a step of the streams, which the first token waits
for, and rows in small numbers are dear. So there is a best size, and it depends on the machine.

Both waits are added up. Of first tokens every millisecond counts. A reader who waits `x` instead of
`s` milliseconds for a token counts as `(x² - s²) / GAP_MS`: whoever looks at a moment between two
tokens waits for the rest of that gap, which on average is half of it, so a gap counts by its length
and by how much of the time it is.

Besides, no gap is longer than `newcomer_ms` for newcomers' sake. A reader who reads along does not
feel a gap that is as short as the time in which he reads a token. Where the streams' own steps are
so slow that this leaves nothing, the best size of a long prompt holds.

Not: which prompts a step reads, and in which order (`newcomers`).
Pure; owner: the step thread.
"""

import math
from collections.abc import Callable, Sequence

from umad.scheduler.costs.tiles import in_whole_tiles

# A gap of about this length counts as much as a first token that comes as much later. Chosen in
# a simulation of one machine (decision 11).
GAP_MS = 450.0
# More newcomers than so many make a long prompt's slices no longer.
MOST_SEEN = 8
# Of so many numbers of slices each is looked at, from the fewest on. A long prompt is cut into more
# by the size that is best for many of them.
MOST_SLICES = 8
# A slice is made longer by this factor at most so that it fills whole tiles.
MOST_LONGER = 1.125
# Sizes that are worse by less than this factor are taken for as good as the best, and the largest
# of them is chosen. So a prompt that was begun in three slices is not ended in two more unequal
# ones because costs are not known so exactly.
NEARLY = 1.03


class Patience:
    """The patience of running streams with newcomers."""

    def __init__(self, newcomer_ms: float) -> None:
        self._newcomer_ms = newcomer_ms

    def most_ms(self, n_rows: int, solo_ms: float) -> float:
        """The longest slice beside `n_rows` streams, whose step takes `solo_ms`."""
        return max(self._newcomer_ms - solo_ms, self.piece_ms(n_rows, solo_ms))

    def piece_ms(self, n_rows: int, solo_ms: float, n_waiting: int = 1) -> float:
        """The best length of each of many pieces beside `n_rows` streams, whose step takes
        `solo_ms`, where all milliseconds of the work cost the same. n_waiting: how many first
        tokens wait."""
        return math.sqrt(n_waiting * solo_ms * GAP_MS / max(1, n_rows))

    def slice_tokens(
        self,
        pending: Sequence[int],
        *,
        n_rows: int,
        solo_ms: float,
        n_most: int,
        extra_ms: Callable[[int], float],
    ) -> int:
        """The best number of tokens of the first prompt for each step, 1 to `n_most`, in whole
        tiles; `n_most` where all that is left of it should be read at once.

        pending: the tokens that are left of each newcomer's prompt, in the order of their turns.
        extra_ms: how much longer a step takes with so many tokens beside the rows.
        """
        first = pending[0]
        piece_ms = self.piece_ms(n_rows, solo_ms, min(len(pending), MOST_SEEN))
        costs: dict[int, float] = {}
        for n_tokens in _sizes(first, n_rows, piece_ms, n_most, extra_ms):
            n_steps = -(-first // n_tokens)
            x_ms, last_ms = extra_ms(n_tokens), extra_ms(first - (n_steps - 1) * n_tokens)
            # All that wait for a first token wait for this prompt.
            waits_ms = len(pending) * (n_steps * solo_ms + (n_steps - 1) * x_ms + last_ms)
            gaps_ms = (n_steps - 1) * _felt_ms(x_ms, solo_ms) + _felt_ms(last_ms, solo_ms)
            costs[n_tokens] = waits_ms + n_rows * gaps_ms
        enough = NEARLY * min(costs.values())
        best = max([n_tokens for n_tokens, cost in costs.items() if cost <= enough])
        return n_most if best >= first else best


def _felt_ms(extra_ms: float, solo_ms: float) -> float:
    """What a reader's wait for a token counts that is so much longer than the streams' step."""
    return extra_ms * (extra_ms + 2 * solo_ms) / GAP_MS


def _sizes(
    n_pending: int,
    n_rows: int,
    piece_ms: float,
    n_most: int,
    extra_ms: Callable[[int], float],
) -> set[int]:
    """The sizes that are worth a look: those at which the prompt ends with a slice that is nearly
    whole."""
    fewest = -(-n_pending // n_most)
    sizes = {-(-n_pending // n) for n in range(fewest, fewest + MOST_SLICES)}
    if extra_ms(min(sizes)) > piece_ms:
        # Of a long prompt even the smallest of these is too large.
        low, high = 1, n_most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if extra_ms(middle) <= piece_ms else (low, middle - 1)
        sizes.add(-(-n_pending // -(-n_pending // low)))
    whole = {n: in_whole_tiles(n, beside=n_rows, fits=n_most.__ge__) for n in sizes}
    return {tiles if n <= tiles <= MOST_LONGER * n else n for n, tiles in whole.items()}
