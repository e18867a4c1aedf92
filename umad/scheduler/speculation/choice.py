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
# A step may become longer than `MOST_LONGER` plain ones only while it is shorter than `SHORT_MS`. A
# newcomer waits for its end, and tokens in large bursts read worse than they count. Below a fifth
# of a second neither is noticed, and a small model on a CPU gains by it: 16 rows cost five steps.
MOST_LONGER = 3.0
SHORT_MS = 200.0
# Where an arrival cuts it, a step of a stream that is alone may take so long: nobody else waits for
# it, and its own reader has as many tokens at once as he reads in several seconds. A whole tile of
# 64 rows behind 3,000 tokens takes a 0.5B 0.7 s on two cores.
LONG_MS = 1_000.0
# A guess with a smaller chance is worth no row on any device.
LEAST_CHANCE = 1 / 64


def is_too_long(took_ms: float, plain_ms: float, longest_ms: float = SHORT_MS) -> bool:
    """Whether a step would keep newcomers and readers waiting. longest_ms: what such a step may
    take, whatever a plain one takes."""
    return took_ms > MOST_LONGER * plain_ms and took_ms > longest_ms


def chosen(
    survivals: Sequence[Sequence[float]],
    step_ms: Callable[[int], float],
    *,
    most: int,
    each: bool,
) -> list[int]:
    """Return the number of guesses to verify for each stream of a step; zeros where none pay. As
    `weighed`, for guesses that are for nothing."""
    return weighed(survivals, step_ms, most=most, each=each)[0]


def free_of_charge(counts: Sequence[int]) -> float:
    """Milliseconds to find guesses that stand in the text already."""
    return 0.0


def weighed(
    survivals: Sequence[Sequence[float]],
    step_ms: Callable[[int], float],
    *,
    most: int,
    each: bool,
    find_ms: Callable[[Sequence[int]], float] = free_of_charge,
    longest_ms: float = SHORT_MS,
) -> tuple[list[int], float]:
    """Return the number of guesses to verify for each stream of a step, zeros where none pay; and
    how many times as fast the step is then expected to be.

    survivals: for each stream, the probabilities that its first guess is right, that its first two
    are, and so on; empty for a stream without guesses.
    step_ms: how long the step takes with so many guesses in all.
    most: the most guesses of the step.
    each: every stream has a reader, and none of them may become slower.
    find_ms: how long it takes to find so many guesses of each stream.
    longest_ms: as `is_too_long` takes it.
    """
    counts = [0] * len(survivals)
    expected = [1.0] * len(survivals)
    plain_ms = step_ms(0)
    best, best_gain = list(counts), LEAST_GAIN
    if plain_ms <= 0:
        return best, 1.0
    for n in range(1, most + 1):
        likeliest, chance = -1, LEAST_CHANCE
        for at, survival in enumerate(survivals):
            if counts[at] < len(survival) and survival[counts[at]] > chance:
                likeliest, chance = at, survival[counts[at]]
        if likeliest < 0:
            break
        counts[likeliest] += 1
        expected[likeliest] += chance
        took_ms = step_ms(n) + find_ms(counts)
        # A whole tile of the attention kernel may take less than half a tile, so larger numbers are
        # looked at nevertheless.
        if is_too_long(took_ms, plain_ms, longest_ms):
            continue
        longer = took_ms / plain_ms
        if each and min(expected) < LEAST_PACE * longer:
            continue
        gain = sum(expected) / (len(expected) * longer)
        if gain >= best_gain:
            best, best_gain = list(counts), gain
    return best, best_gain if any(best) else 1.0
