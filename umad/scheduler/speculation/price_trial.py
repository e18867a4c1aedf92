"""Tries numbers of guesses that seem too dear, so that what they cost is known.

Which guesses pay is reckoned from what rows cost. But where guesses never run, no step has as many
rows, and their cost stays what a rehearsal or another day took it for (15.7 ms for two rows that
took 1.9, on a machine that was crowded while it loaded). So now and then some steps have guesses
that are nearly sure to hold, whatever they seem to cost. Where each of them holds, `k` guesses
bring `k + 1` tokens, and no device takes longer for `k + 1` rows than for as many steps. So a trial
loses next to nothing where it does not pay. Larger numbers follow only where the last one paid. So
they need not be as sure: in an edit that changes a word in thirty, most of 16 guesses hold, and
hardly ever all of them.

Pure; owner: the step thread.
"""

from collections.abc import Callable, Sequence

from umad.scheduler.speculation.choice import SHORT_MS, is_too_long

# Guesses of each stream that are tried, one number after the other. With them one stream has the
# numbers of rows at which the cost curve has its points.
SIZES = (1, 2, 3, 5, 7, 11, 15, 23, 31, 63)
# The first numbers, up to `FEW`, are tried where all guesses hold with at least this chance.
FEW = 3
LEAST_CHANCE = 0.9
# A larger number is tried where it brings at least this share of the tokens that it can bring.
LEAST_SHARE = 0.7
# So many steps try one number. The cost of the host is a median of the last nine.
TRIALS = 10
# Between two rounds, so many steps that could have guesses.
TRY_EVERY = 512


class PriceTrial:
    """The trials of one engine."""

    __slots__ = ("_left", "_rests", "_size")

    def __init__(self) -> None:
        # The number that is tried in this round, and how many steps are still to try it.
        self._size = self._left = 0
        self._rests = 0

    def counts(
        self,
        survivals: Sequence[Sequence[float]],
        step_ms: Callable[[int], float],
        *,
        most: int,
        used: int,
        longest_ms: float = SHORT_MS,
    ) -> list[int]:
        """Return the number of guesses of each stream that this step tries; zeros for no trial.

        survivals, step_ms, most, longest_ms: as `choice.weighed` takes them. used: the most guesses
        of a stream that the step has anyway.
        """
        n = len(survivals)
        nothing = [0] * n
        if self._rests:
            self._rests -= 1
            return nothing
        if used >= self._size:
            self._left = 0
        if not self._left:
            last = max(self._size, used)
            larger = [size for size in SIZES if size > last]
            if not larger or (last and not _pays(survivals, step_ms, last)):
                self._size, self._rests = 0, TRY_EVERY
                return nothing
            self._size, self._left = larger[0], TRIALS
        size = self._size
        if size * n > most or not all(_is_likely(one, size) for one in survivals):
            return nothing
        if size > FEW and is_too_long(step_ms(size * n), step_ms(0), longest_ms):
            return nothing
        self._left -= 1
        return [size] * n


def _is_likely(survival: Sequence[float], size: int) -> bool:
    if len(survival) < size:
        return False
    if size <= FEW:
        return survival[size - 1] >= LEAST_CHANCE
    return 1 + sum(survival[:size]) >= LEAST_SHARE * (1 + size)


def _pays(survivals: Sequence[Sequence[float]], step_ms: Callable[[int], float], size: int) -> bool:
    """Whether so many guesses bring a stream as many tokens a millisecond as none, at what they are
    known to cost now."""
    plain_ms = step_ms(0)
    tokens = 1 + min(sum(one[:size]) for one in survivals)
    return plain_ms > 0 and tokens * plain_ms >= step_ms(size * len(survivals))
