"""Makes the sessions that a fleet serves: when they begin, how many turns, how long. Pure numpy.

A day is as long as the scenario's traffic takes to load the fleet as it says. Sessions come as
people do, few at night and many by day, and now and then a crowd comes within seconds. The same
seed gives the same traffic, so that all contenders serve the same.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TURNS, OUT_TOKENS, THINK_S = 4.0, 250.0, 40.0
FIRST_PROMPT_TOKENS, LATER_PROMPT_TOKENS = 900.0, 120.0
# Streams that the largest machine computes together before each of them feels the others, and the
# tokens a second of one that is alone.
MOST_STREAMS, TOKENS_PER_S = 16, 30.0
# A turn takes about so long.
_TURN_S = OUT_TOKENS / TOKENS_PER_S + 1.5
_DAY_SWING = 0.6
_CROWD_S = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One fleet with its traffic and its troubles. Shares are of 1."""

    nodes: int = 1000
    sessions: int = 1_000_000
    # Of all streams that the fleet computes without anybody feeling the others, so many run on
    # average.
    load: float = 0.33
    seed: int = 1
    report_s: int = 5
    # Of all nodes, so many fail in an hour, and are away for some minutes.
    failing_an_hour: float = 0.05
    # So many of the nodes are heard of only every half minute, and what they say is as old.
    stale: float = 0.10
    # So many say that they are idle, whatever they do.
    lying: float = 0.02
    # Crowds in a day, each of so many of all sessions.
    crowds: int = 4
    crowd: float = 0.004

    @property
    def day_s(self) -> int:
        """How long the traffic takes."""
        streams = float(sizes(self).sum()) * MOST_STREAMS
        return max(60, int(self.sessions * TURNS * _TURN_S / (self.load * streams)))


def sizes(scenario: Scenario) -> Floats:
    """How much each node can do, of the largest: a Studio, two minis, two mini-PCs of half that."""
    kinds = np.array([1.0, 0.5, 0.5, 0.25, 0.25])
    return np.resize(kinds, scenario.nodes)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Sessions, and their turns one after another: those of session s stand from first[s] on."""

    begin_s: Ints
    turns: Ints
    first: Ints
    prompt_tokens: Floats
    out_tokens: Floats
    think_s: Ints


def traffic(scenario: Scenario) -> Traffic:
    """All of a day."""
    rng: Any = np.random.default_rng(scenario.seed)
    n, day_s = scenario.sessions, scenario.day_s
    seconds = np.arange(day_s)
    by_day = 1 - _DAY_SWING * np.cos(2 * np.pi * seconds / day_s)
    begin_s = np.searchsorted(np.cumsum(by_day) / by_day.sum(), rng.random(n))
    crowd = int(n * scenario.crowd)
    for one in range(scenario.crowds if crowd else 0):
        at_s = int(day_s * (one + 1) / (scenario.crowds + 1))
        chosen = rng.integers(0, n, crowd)
        begin_s[chosen] = at_s + rng.integers(0, _CROWD_S, crowd)
    turns = rng.geometric(1 / TURNS, n)
    first = np.concatenate(([0], np.cumsum(turns)[:-1]))
    total = int(turns.sum())
    prompt = rng.exponential(LATER_PROMPT_TOKENS, total) + 20
    prompt[first] = rng.lognormal(np.log(FIRST_PROMPT_TOKENS), 0.8, n)
    return Traffic(
        begin_s=np.minimum(begin_s, day_s - 1).astype(np.int64),
        turns=turns.astype(np.int64),
        first=first.astype(np.int64),
        prompt_tokens=np.minimum(prompt, 30_000),
        out_tokens=rng.exponential(OUT_TOKENS, total) + 5,
        think_s=(rng.exponential(THINK_S, total) + 1).astype(np.int64),
    )
