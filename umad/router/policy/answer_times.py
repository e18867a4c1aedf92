"""Tells how long a node's latest answers took to begin, from HAProxy's running figures. Pure.

HAProxy has two numbers for each server: its answers so far, and the average time from a request to
the first byte of its answer, over the last `WINDOW` of them. An average that reaches back so far
would tell of a node that became slow much too late. So both are remembered, and once `LOOK` answers
more have come, the mean of those alone is what they differ by. The average is in whole
milliseconds, so that of 16 answers behind 512 older ones is right within about 20.

The first byte of a stream comes with its first token, of umad and of engines that send their heads
with it. Where heads are sent at once, all nodes are quick, and nobody is doubted for it.
Not: what follows from it (`umad.router.policy.node`). Owner: the router's service.
"""

from collections.abc import Mapping

# HAProxy's TIME_STATS_SAMPLES.
WINDOW = 512
# Fewer answers say little: prompts differ.
LOOK = 16


class AnswerTimes:
    """One node's, over all pools that it is in."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        # By pool: answers and their average when the last look began.
        self._since: dict[str, tuple[int, float]] = {}

    def seen(self, now: Mapping[str, tuple[int, float]]) -> float | None:
        """The mean milliseconds of the answers since the last look; None while they are too few.

        now: by pool, the answers so far, and their average as HAProxy tells it.
        """
        since = self._since
        if any(answers < since.get(pool, (0, 0.0))[0] for pool, (answers, _) in now.items()):
            since = {}  # HAProxy was started again
        if not since:
            self._since = dict(now)
            return None
        new = {pool: answers - since.get(pool, (0, 0.0))[0] for pool, (answers, _) in now.items()}
        count = sum(new.values())
        if count < LOOK:
            return None
        total = sum(
            new[pool] * _mean(since.get(pool, (0, 0.0)), figures)
            for pool, figures in now.items()
            if new[pool]
        )
        self._since = dict(now)
        return total / count


def _mean(old: tuple[int, float], now: tuple[int, float]) -> float:
    """Of the answers between two looks at a sliding average."""
    count = now[0] - old[0]
    if now[0] <= WINDOW:
        return max(0.0, (now[0] * now[1] - old[0] * old[1]) / count)
    left = (1 - 1 / WINDOW) ** count
    return max(0.0, (now[1] - left * old[1]) / (1 - left))
