"""Chooses how many guesses of each stream a step verifies: as many as are worth their rows.

A stream that has `k` guesses verified draws 1 + (the guesses that hold) tokens in one step, and the
step takes longer by `k` rows, for all its streams. The guesses are taken one by one, the likeliest
first, and the number at which the step yields the most tokens a millisecond is chosen.

Pure.
"""

from collections.abc import Callable, Sequence

# The expected gain has to be at least this: less is within the error of its estimate.
LEAST_GAIN = 1.05
# Where `each` counts, no stream may fall below this share of its pace.
LEAST_PACE = 0.99
# No step becomes longer than so many plain ones: a newcomer waits for its end, and tokens in large
# bursts read worse than they count.
MOST_LONGER = 3.0


def chosen(
    survivals: Sequence[Sequence[float]],
    step_ms: Callable[[int], float],
    *,
    most: int,
    each: bool,
) -> list[int]:
    """Return the number of guesses to verify for each stream of a step; zeros where none pay.

    survivals: for each stream, the probabilities that its first guess is right, that its first two
    are, and so on; empty for a stream without guesses.
    step_ms: how long the step takes with so many guesses in all.
    most: the most guesses of the step.
    each: every stream has a reader, and none of them may become slower.
    """
    counts = [0] * len(survivals)
    expected = [1.0] * len(survivals)
    plain_ms = step_ms(0)
    best, best_gain = list(counts), LEAST_GAIN
    if plain_ms <= 0:
        return best
    for n in range(1, most + 1):
        likeliest, chance = -1, 0.0
        for at, survival in enumerate(survivals):
            if counts[at] < len(survival) and survival[counts[at]] > chance:
                likeliest, chance = at, survival[counts[at]]
        if likeliest < 0:
            break
        counts[likeliest] += 1
        expected[likeliest] += chance
        longer = step_ms(n) / plain_ms
        if longer > MOST_LONGER:
            break
        if each and min(expected) < LEAST_PACE * longer:
            continue
        gain = sum(expected) / (len(expected) * longer)
        if gain >= best_gain:
            best, best_gain = list(counts), gain
    return best
