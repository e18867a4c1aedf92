"""Checks that answers under load left the quiet daemon's only where two tokens nearly tied.

In a pool with holes, sums are made in another order and their last bits differ. Where two tokens
nearly tie, that chooses the other one (docs/benchmarks.md, "Same seed, same output"). Nothing else
may do so: a lost, repeated or mixed up token would show as one that the model finds less likely
there. So the quiet daemon is asked about every such place, and tells how likely both tokens are.
Not: who got too few tokens (`bench.soak_clients`).
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

from bench.umad_daemon import greedy
from umad.client import AsyncClient
from umad.request import MAX_LOGPROBS
from umad.service import Tokens

# In nats. Another order of summation moved 0.005 on the shipped model and up to 0.22 on random
# weights, whose activations lie on the edges of Q8_0's steps; a token out of place is nats behind.
NEAR_TIE = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """context: prompt and answer up to the place; told: the token that came there under load."""

    context: tuple[int, ...]
    told: int


def fork_of(prompt: Sequence[int], answer: Sequence[int], ids: Sequence[int]) -> Fork | None:
    """Where `ids` leave `answer`; None where they do not."""
    for place, (told, reference) in enumerate(zip(ids, answer, strict=False)):
        if told != reference:
            return Fork(context=(*prompt, *answer[:place]), told=told)
    return None


@dataclasses.dataclass(slots=True)
class Ties:
    """What the quiet daemon says of all forks. widest: of the near ties, in nats."""

    answers: int = 0
    places: int = 0
    widest: float = 0.0
    wrong: list[str] = dataclasses.field(default_factory=list)


async def ask_about(client: AsyncClient, forks: Counter[Fork]) -> Ties:
    """One request for each place. Raises UmadError."""
    ties = Ties(answers=forks.total(), places=len(forks))
    for fork, times in forks.items():
        behind = await _behind(client, fork)
        if behind <= NEAR_TIE:
            ties.widest = max(ties.widest, behind)
        else:
            ties.wrong.append(
                f"{times} answers went on with a token {behind:.2f} nats behind the likeliest"
            )
    return ties


async def _behind(client: AsyncClient, fork: Fork) -> float:
    """Nats by which the told token is less likely than the likeliest; inf for one of no rank."""
    request = greedy(fork.context, 1)
    sampling = dataclasses.replace(request.sampling, logprobs=MAX_LOGPROBS)
    request = dataclasses.replace(request, sampling=sampling)
    async with aclosing(client.events(request)) as events:
        async for event in events:
            if isinstance(event, Tokens) and event.logprobs:
                top = event.logprobs[0].top
                return top[0][1] - dict(top).get(fork.told, -math.inf)
    return math.inf
