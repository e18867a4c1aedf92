"""Plays the clients of the soak: each asks, disturbs its request midway, and checks its answer.

A request that is not disturbed must end with all its tokens, without a failure or a broken
connection. Whatever a request brought is compared with the reference, the same prompt's answer on
the quiet daemon. The place where the two differ is kept, and checked later (`bench.soak_forks`).
Not: the daemon, the killing of engines, the verdict (`bench.soak`).
Owner: one task of the soaking loop for each client.
"""

import asyncio
import contextlib
import dataclasses
import enum
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from bench.soak_forks import Fork, fork_of
from bench.umad_daemon import greedy
from umad.client import AsyncClient, ClientOptions
from umad.errors import UmadError, UnknownRequest
from umad.request import BACKGROUND, INTERACTIVE
from umad.service import Accepted, Done, Failed, Tokens

APPS = 8
_REQUEST_S = 180.0  # two restarts and a queue of 64, many times over
_THINK_S = 1.0
_LANES = (INTERACTIVE, BACKGROUND)


class Midway(enum.Enum):
    """What happens to a request that runs."""

    NOTHING = "let be"
    CANCEL = "cancelled"
    DISCONNECT = "connection closed"
    FLIP = "moved to the other lane"


# Most requests are to end: those are what can be lost.
_CHANCES = {Midway.NOTHING: 60, Midway.CANCEL: 15, Midway.DISCONNECT: 10, Midway.FLIP: 15}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt and its whole answer on the quiet daemon."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclasses.dataclass(slots=True)
class Tally:
    """What all clients did and saw. lost: one line each, no text of prompts or answers."""

    done: Counter[Midway] = dataclasses.field(default_factory=Counter)
    tokens: int = 0
    forks: Counter[Fork] = dataclasses.field(default_factory=Counter)  # where answers left theirs
    too_late: int = 0  # flips of a request that had just ended
    lost: list[str] = dataclasses.field(default_factory=list)


async def ask(
    client: AsyncClient, prompt: Sequence[int], tokens: int, *, timeout_s: float
) -> tuple[int, ...]:
    """All tokens of one undisturbed answer; raises UmadError, TimeoutError."""
    ids: list[int] = []
    async with (
        asyncio.timeout(timeout_s),
        aclosing(client.events(greedy(prompt, tokens))) as events,
    ):
        async for event in events:
            if isinstance(event, Tokens):
                ids += event.ids
    return tuple(ids)


async def live(
    socket_path: Path, number: int, questions: Sequence[Question], *, ends_s: float, tally: Tally
) -> None:
    """One client's requests, one after another, until `time.monotonic()` reaches `ends_s`."""
    chance = random.Random(number)
    lane = _LANES[number % 4 != 0]  # a quarter is interactive
    options = ClientOptions(name=f"soak-{number % APPS}")
    while time.perf_counter() < ends_s:
        async with AsyncClient(socket_path, options=options) as client:
            connected = True
            while connected and time.perf_counter() < ends_s:
                connected = await _one(client, chance, chance.choice(questions), lane, tally)
                if lane == INTERACTIVE:
                    await asyncio.sleep(chance.uniform(0, _THINK_S))


async def _one(
    client: AsyncClient, chance: random.Random, question: Question, lane: str, tally: Tally
) -> bool:
    """One request; whatever should not have happened goes into `tally.lost`.

    False when the client is of no more use: a closed connection was what it had in mind.
    """
    wanted = len(question.answer)
    (midway,) = chance.choices(list(_CHANCES), list(_CHANCES.values()))
    after = chance.randrange(1, wanted)
    request = dataclasses.replace(greedy(question.prompt, wanted), lane=lane)
    ids: list[int] = []
    name, reason, connected = "", None, True
    try:
        async with asyncio.timeout(_REQUEST_S), aclosing(client.events(request)) as events:
            async for event in events:
                if isinstance(event, Accepted):
                    name = event.request
                elif isinstance(event, Failed):
                    tally.lost.append(f"{midway.value}: failed with {event.code}: {event.message}")
                    return True
                elif isinstance(event, Done):
                    reason = event.finish_reason
                elif isinstance(event, Tokens):
                    before, ids = len(ids), [*ids, *event.ids]
                    if before < after <= len(ids) < wanted and midway is not Midway.NOTHING:
                        if midway is not Midway.FLIP:
                            if midway is Midway.DISCONNECT:
                                await client.close()
                                connected = False
                            break
                        await _flip(client, name, _LANES[lane == INTERACTIVE], tally)
    except UmadError as error:
        tally.lost.append(f"{midway.value}: {type(error).__name__}: {error.message}")
        return True
    except TimeoutError:
        tally.lost.append(f"{midway.value}: no end within {_REQUEST_S:.0f} s, {len(ids)} tokens")
        return True
    tally.tokens += len(ids)
    tally.done[midway] += 1
    if fork := fork_of(question.prompt, question.answer, ids):
        tally.forks[fork] += 1
    if wrong := complaint(midway, len(ids), len(question.answer), reason):
        tally.lost.append(f"{midway.value}: {wrong}")
    return connected


def complaint(midway: Midway, told: int, wanted: int, reason: str | None) -> str | None:
    """What is wrong with so many tokens and such an end, as a line; None when nothing is."""
    whole = midway in (Midway.NOTHING, Midway.FLIP)
    if told > wanted or (whole and (told, reason) != (wanted, "length")):
        return f"{told} of {wanted} tokens, then {reason}"
    return None


async def _flip(client: AsyncClient, name: str, lane: str, tally: Tally) -> None:
    """A request may end before it is moved."""
    with contextlib.suppress(UnknownRequest):
        await client.set_priority(name, lane)
        return
    tally.too_late += 1
