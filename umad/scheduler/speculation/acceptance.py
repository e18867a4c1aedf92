"""Learns how often a guess is right, by how many tokens before it agree with its source.

A guess behind three tokens that agree is a coincidence more often than not; behind thirty it is a
copy. So there is a share for each class of lengths. A stream begins with the shares of its app and
learns quickly; the app learns slowly from all its streams. Every drawn token for which there was a
guess teaches, verified or not.

Pure; owner: the step thread.
"""

from collections import OrderedDict
from collections.abc import Hashable

from umad.scheduler.speculation.grams import GRAM, MOST_RUN
from umad.scheduler.speculation.lookup import COPY, longer

# The lengths at which a new class begins, and what is taken to be the share of right guesses while
# nothing is known. These first shares are low: an app has to show that it repeats itself, and
# showing it costs nothing.
# The first class is that of a copy that goes on behind a change.
_CLASSES = ((0, 0.5), (GRAM, 0.2), (6, 0.4), (COPY, 0.6), (24, 0.8))
_CLASS_OF = tuple(
    max(at for at, (least, _) in enumerate(_CLASSES) if run >= least) for run in range(MOST_RUN + 1)
)
# A stream follows about its last 24 guesses of a class, an app its last 400.
STREAM_RATE, APP_RATE = 1 / 24, 1 / 400
# What an app has learnt counts for a new stream as so many guesses.
APP_WEIGHT = 6
# Apps that are remembered, those used last.
MOST_APPS = 64


class Acceptance:
    """The shares of right guesses of one stream, or of one app."""

    __slots__ = ("_rate", "_seen", "_shares")

    def __init__(self, rate: float, like: "Acceptance | None" = None) -> None:
        """like: what is known of the app; None for nothing."""
        self._rate = rate
        self._seen = [APP_WEIGHT] * len(_CLASSES)
        first = [share for _, share in _CLASSES]
        self._shares: list[float] = first if like is None else list(like._shares)

    def learn(self, run: int, *, was_right: bool) -> None:
        """Learn that a guess behind `run` tokens that agree was right, or was not."""
        at = _CLASS_OF[min(run, MOST_RUN)]
        self._seen[at] += 1
        rate = max(self._rate, 1 / self._seen[at])
        self._shares[at] += rate * (was_right - self._shares[at])

    def chance(self, run: int) -> float:
        """The probability that a guess behind `run` tokens that agree is right; 0 for no guess."""
        return self._shares[_CLASS_OF[min(run, MOST_RUN)]] if run else 0.0

    def survival(self, run: int, n: int) -> list[float]:
        """For each of `n` guesses behind `run` tokens that agree, the probability that it and all
        before it are right."""
        chances: list[float] = []
        chance = 1.0
        for _ in range(n):
            chance *= self._shares[_CLASS_OF[min(run, MOST_RUN)]]
            chances.append(chance)
            run = longer(run)
        return chances


class AppAcceptances:
    """The shares of apps, by a name that no two owners share."""

    def __init__(self) -> None:
        self._apps: OrderedDict[Hashable, Acceptance] = OrderedDict()

    def of(self, app: Hashable) -> Acceptance:
        """The shares of `app`."""
        found = self._apps.get(app)
        if found is None:
            found = self._apps[app] = Acceptance(APP_RATE)
            if len(self._apps) > MOST_APPS:
                self._apps.popitem(last=False)
        self._apps.move_to_end(app)
        return found
