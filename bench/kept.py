"""Measures what running streams pay for conversations that only wait for their users.

A day at a machine leaves long conversations in the KV cache of its server, and on a CPU every row
of every step passes over their cells. The figure is the decode speed of short streams: tokens per
second of all streams together, in the window in which all of them decode (`bench.arrivals`). It is
taken on a server that has just started, and on the same server after it has answered some long
prompts, whose next turns may come. Ratios are of one server to itself. The cost of a next turn is
`python -m bench turns`; speed beside other servers is `python -m bench speed`.
"""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from bench import command, machine, models, peers, running
from bench.arrivals import Arrival, decode_tokens_per_s
from bench.errors import BenchError
from bench.load import Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import TARGETS, Room
from umad.request import INTERACTIVE

CONTENDERS = ("umad", "llama-server")
ALONE, BESIDE = "nobody waits", "conversations wait"
# Of a conversation's answer, which nobody reads; and cells a stream needs besides its prompt.
_ANSWER_TOKENS = 8
_SPARE_TOKENS = 64


async def decode_together(
    target: Target, prompts: Sequence[Sequence[int]], *, tokens: int, timeout_s: float
) -> list[list[Arrival]]:
    """Streams side by side, each on a connection of its own; when their tokens arrived."""
    connections = [await target.connect(client) for client in range(len(prompts))]
    try:
        async with asyncio.timeout(timeout_s):
            exchanges = [
                await connection.send(prompt, tokens=tokens, lane=INTERACTIVE)
                for connection, prompt in zip(connections, prompts, strict=True)
            ]
            for exchange in exchanges:
                await exchange.ended
        traces = zip(connections, exchanges, strict=True)
        return [list(connection.trace(exchange).arrivals) for connection, exchange in traces]
    except TimeoutError as error:
        raise BenchError(
            f"{target.name} was not done after {timeout_s:.0f} s: give more --timeout-s, or fewer"
            " --conversation-tokens"
        ) from error
    finally:
        for connection in connections:
            connection.close()


class Crowd:
    """Clients of the servers of one repetition. options: the command line's."""

    def __init__(self, options: argparse.Namespace, prompts: Prompts) -> None:
        self._options = options
        self._prompts = prompts

    def open_conversations(self, target: Target) -> None:
        """First turns, one after another, of conversations whose next turns may come."""
        for _ in range(self._options.conversations):
            self._ask(target, 1, self._options.conversation_tokens, _ANSWER_TOKENS)

    def tokens_per_s(self, target: Target, streams: int) -> float:
        """Of short streams side by side, the second time: whatever makes room did it the first."""
        for _ in range(2):
            arrivals = self._ask(target, streams, self._options.prompt_tokens, self._options.tokens)
        return decode_tokens_per_s(arrivals)

    def _ask(
        self, target: Target, streams: int, prompt_tokens: int, tokens: int
    ) -> list[list[Arrival]]:
        drawn = [self._prompts.draw(prompt_tokens) for _ in range(streams)]
        return asyncio.run(
            decode_together(target, drawn, tokens=tokens, timeout_s=self._options.timeout_s)
        )


def measure(
    start: Callable[[], Sequence[Target]],
    crowd: Crowd,
    *,
    streams: Sequence[int],
    repetitions: int,
    progress: Callable[[str], None],
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Samples by target, streams and condition, one per repetition; `start` makes new servers for
    each, and who is asked first changes."""
    samples: dict[str, dict[str, dict[str, list[float]]]] = {}
    for repetition in range(repetitions):
        targets = start()
        targets = targets[::-1] if repetition % 2 else targets
        with running.started(targets):
            for condition, target in itertools.product((ALONE, BESIDE), targets):
                progress(f"{repetition + 1}/{repetitions}  {target.name}  {condition}")
                if condition == BESIDE:
                    crowd.open_conversations(target)
                of_target = samples.setdefault(target.name, {})
                for count in streams:
                    speeds = of_target.setdefault(str(count), {ALONE: [], BESIDE: []})
                    speeds[condition].append(crowd.tokens_per_s(target, count))
    return samples


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables."""
    built = peers.build()
    facts = machine.facts(built)
    path = models.path(options.model)
    room = Room(
        model=path,
        threads=options.threads,
        # llama-server puts a prompt where none was, or else where the least recent one was.
        streams=options.conversations + 2 * sum(options.streams),
        stream_context_tokens=options.conversation_tokens + _ANSWER_TOKENS + _SPARE_TOKENS,
        prompt_progress=False,
        cache_prompt=True,
    )
    with console.status("") as status:
        samples = measure(
            lambda: [TARGETS[name](built, room) for name in options.contenders],
            Crowd(options, Prompts(models.text_tokens(path), seed=0)),
            streams=options.streams,
            repetitions=options.repetitions,
            progress=status.update,
        )
    comparisons = [
        Comparison(
            kind=f"kept-{name}",
            title=f"{path.stem} on {name}: decode speed",
            unit="tokens/s",
            condition="streams",
            baseline=ALONE,
            samples=by_streams,
        )
        for name, by_streams in samples.items()
    ]
    notes = (
        (
            f"{options.conversations} conversations of {options.conversation_tokens} tokens wait;"
            f" streams of {options.prompt_tokens} prompt and {options.tokens} generated tokens;"
            f" {room.threads} threads; {options.repetitions} repetitions, each on new servers"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
    )
    command.publish(
        options, console, benchmark="kept", facts=facts, comparisons=comparisons, notes=notes
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("kept", __doc__, model="qwen2-0.5b")
    add, count = parser.add_argument, command.positive
    add("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS, metavar="NAME")
    add("--conversations", type=count, default=4)
    add("--conversation-tokens", type=count, default=2000)
    add("--streams", nargs="+", type=count, default=[1, 4])
    add("--prompt-tokens", type=count, default=32)
    add("--tokens", type=count, default=64, help="generated per stream")
    add("--repetitions", type=count, default=3)
    add("--timeout-s", type=command.seconds, default=300.0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
