"""Measures how soon the second turn of a long conversation starts, against its cold first turn.

Three times are taken for each conversation: its first turn, computed in full; its second, asked at
once; and its third, after many other conversations. The KV pool holds little more than one
conversation, so by then it had to give up this one's cells. Ratios are of one conversation in one
daemon, so the machine's other work weighs on both sides. Not a test of whether tokens are right.
`python -m bench turns`
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from bench import command, models
from bench.errors import BenchError
from bench.table import Comparison, render
from bench.umad_daemon import DaemonSettings, UmadDaemon, greedy
from umad.client import AsyncClient
from umad.service import Done, Failed, Tokens

_ANSWER_TOKENS = 16
_QUESTION_TOKENS = 24
_MS_PER_S = 1e3
# Of the issue: a second turn starts within this share of the cold prefill.
GOAL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """first_ms: from the request to its first token. ids: the answer. n_cached: prompt tokens that
    were not computed."""

    first_ms: float
    ids: tuple[int, ...]
    n_cached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Milliseconds to the first token of its three turns, and the sequences parked before the
    last."""

    cold_ms: float
    second_ms: float
    after_others_ms: float
    n_cached: int
    n_tokens: int
    parked: int


async def take_turn(
    client: AsyncClient, prompt: list[int], session: str, now_s: Callable[[], float]
) -> Turn:
    """One request of a session."""
    ids: list[int] = []
    first_ms: float | None = None
    began_s = now_s()
    request = replace(greedy(prompt, _ANSWER_TOKENS), session=session)
    async for event in client.events(request):
        if isinstance(event, Tokens):
            if first_ms is None:
                first_ms = (now_s() - began_s) * _MS_PER_S
            ids.extend(event.ids)
        elif isinstance(event, Done):
            return Turn(
                first_ms=first_ms or 0.0, ids=tuple(ids), n_cached=event.usage.cached_tokens
            )
        elif isinstance(event, Failed):
            raise BenchError(f"a turn failed: {event.message}")
    raise BenchError("a turn did not end")


async def converse(
    client: AsyncClient,
    *,
    number: int,
    tokens: int,
    others: int,
    other_tokens: int,
    now_s: Callable[[], float] = time.perf_counter,
) -> Conversation:
    """One conversation of three turns, `others` of one turn each before its last. now_s: the clock
    that first tokens are timed by."""
    rng = np.random.default_rng(number)

    def words(n: int) -> list[int]:
        return [int(token) for token in rng.integers(300, 3000, n)]

    session = f"conversation-{number}"
    prompt = words(tokens)
    cold = await take_turn(client, prompt, session, now_s)
    prompt += [*cold.ids, *words(_QUESTION_TOKENS)]
    second = await take_turn(client, prompt, session, now_s)
    prompt += [*second.ids, *words(_QUESTION_TOKENS)]
    for other in range(others):
        await take_turn(client, words(other_tokens), f"other-{number}-{other}", now_s)
    parked = int((await client.metrics())["parked"])
    after = await take_turn(client, prompt, session, now_s)
    return Conversation(
        cold_ms=cold.first_ms,
        second_ms=second.first_ms,
        after_others_ms=after.first_ms,
        n_cached=after.n_cached,
        n_tokens=len(prompt),
        parked=parked,
    )


def measure(
    model: Path, *, tokens: int, others: int, other_tokens: int, repeats: int, threads: int
) -> list[Conversation]:
    """Several conversations, one after the other, on one daemon."""
    daemon = UmadDaemon(
        DaemonSettings(
            model=model,
            streams=1,
            stream_context_tokens=tokens + tokens // 4 + 256,
            threads=threads,
            log_name="turns",
            start_timeout_s=600.0,
        )
    )

    async def all_of_them() -> list[Conversation]:
        async with AsyncClient(daemon.socket_path) as client:
            return [
                await converse(
                    client, number=number, tokens=tokens, others=others, other_tokens=other_tokens
                )
                for number in range(repeats)
            ]

    try:
        daemon.start()
        return asyncio.run(all_of_them())
    finally:
        daemon.stop()


def comparison(found: Sequence[Conversation], *, title: str, others: int) -> Comparison:
    """Times to the first token beside the cold ones."""
    last = found[-1]
    return Comparison(
        kind="turns",
        title=title,
        unit="ms",
        condition="first token of",
        baseline="first turn, cold",
        samples={
            "a conversation": {
                "first turn, cold": [one.cold_ms for one in found],
                "second, at once": [one.second_ms for one in found],
                f"third, after {others} others": [one.after_others_ms for one in found],
            }
        },
        notes=(
            f"goal: {GOAL} of the cold time",
            f"{last.n_cached} of {last.n_tokens} prompt tokens of the last turn were not computed",
            f"{last.parked} sequences were parked before it",
        ),
    )


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    model = models.path(options.model)
    found = measure(
        model,
        tokens=options.tokens,
        others=options.others,
        other_tokens=options.other_tokens,
        repeats=options.repeats,
        threads=options.threads,
    )
    table = comparison(
        found, title=f"{model.stem}, {options.tokens}-token conversations", others=options.others
    )
    console.print(render(table))
    for note in table.notes:
        console.print(note, style="dim", highlight=False, soft_wrap=True)
    document: dict[str, object] = {
        "benchmark": "turns",
        "conversations": [asdict(one) for one in found],
    }
    command.write(options, document)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = command.parser("turns", __doc__, model="nano")
    add = parser.add_argument
    count = command.positive
    add("--tokens", type=count, default=4000, help="of the first turn's prompt")
    add("--others", type=count, default=20, help="conversations before the last turn")
    add("--other-tokens", type=count, default=1000, help="of each of theirs")
    add("--repeats", type=count, default=3)
    return command.main(parser, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
