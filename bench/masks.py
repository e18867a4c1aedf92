"""Measures what a constraint costs: the time between two tokens with a JSON schema and without.

One daemon serves one stream after another over its socket, in turns, by greedy and by default
sampling. The schema is a list of objects with texts, numbers and choices, as long as the model
likes. So some places allow few tokens and others nearly all. Not: whether answers follow the schema
(tests do that).
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from typing_extensions import override

from bench import command, machine, models, peers, precedence
from bench.errors import BenchError
from bench.exchange import Exchange, UmadConnection, new_exchange
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import Room, UmadTarget
from umad.constraint import Constraint
from umad.protocol.frames import encode_frame
from umad.protocol.messages import Generate, encode_request, parse_event
from umad.request import INTERACTIVE, GenerateRequest, SamplingParams
from umad.service import Tokens

SCHEMA, NONE = "a JSON schema", "none"
_PROMPT_TOKENS = 16
_REQUEST_S = 120.0
_CONTEXT_TOKENS = 4096
_ITEM = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "kind": {"enum": ["question", "answer", "remark"]},
        "score": {"type": "number"},
    },
    "required": ["text", "kind", "score"],
    "additionalProperties": False,
}
_CONSTRAINT = Constraint.json_schema({"type": "array", "items": _ITEM, "minItems": 1000})
SAMPLING: Mapping[str, SamplingParams] = {
    "greedy": SamplingParams(temperature=0.0),
    "default sampling": SamplingParams(),
}


class _Stream(UmadConnection):
    """Streams with sampling of their own, constrained or not."""

    sampling: SamplingParams
    constraint: Constraint | None

    @override
    async def send(self, prompt: Sequence[int], *, tokens: int, lane: str) -> Exchange:
        request = GenerateRequest(
            prompt_ids=tuple(prompt), sampling=self.sampling, constraint=self.constraint
        )
        self._exchange = new_exchange(len(prompt), tokens)
        self._write(encode_frame(encode_request(Generate(id=0, request=request))))
        return self._exchange


def between_ms(exchange: Exchange) -> list[float]:
    """Time between the steps that brought its tokens."""
    came = [at_ns for at_ns, body in exchange.pieces if isinstance(parse_event(body)[1], Tokens)]
    if len(came) < exchange.asked_tokens:
        raise BenchError(f"a stream ended after {len(came)} of {exchange.asked_tokens} tokens")
    return [(later - before) / 1e6 for before, later in itertools.pairwise(came)]


async def measure(
    target: UmadTarget,
    prompts: Prompts,
    *,
    requests: int,
    tokens: int,
    repetitions: int,
    progress: Callable[[str], None],
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds by row and constraint, one per repetition; a first round is thrown away."""
    found: dict[str, dict[str, list[float]]] = {}
    for repetition in range(-1, repetitions):
        for name, sampling in SAMPLING.items():
            progress(f"{max(0, repetition + 1)}/{repetitions}  {name}")
            waits: dict[str, list[float]] = {SCHEMA: [], NONE: []}
            for turn in range(requests):
                order = [SCHEMA, NONE] if turn % 2 else [NONE, SCHEMA]
                prompt = prompts.draw(_PROMPT_TOKENS)
                for kind in order:
                    constraint = _CONSTRAINT if kind == SCHEMA else None
                    waits[kind] += await _waits(target, prompt, sampling, constraint, tokens)
            for kind, each in waits.items() if repetition >= 0 else ():
                for row, value in (("mean", statistics.fmean), ("median", statistics.median)):
                    samples = found.setdefault(f"{name}, {row}", {}).setdefault(kind, [])
                    samples.append(value(each))
    return found


async def _waits(
    target: UmadTarget,
    prompt: Sequence[int],
    sampling: SamplingParams,
    constraint: Constraint | None,
    tokens: int,
) -> list[float]:
    stream = await _Stream.open(target.socket_path)
    assert isinstance(stream, _Stream)
    # The schema does not let an answer end before its many items either.
    stream.sampling = dataclasses.replace(
        sampling, max_tokens=tokens, ignore_eos=constraint is None
    )
    stream.constraint = constraint
    try:
        async with asyncio.timeout(_REQUEST_S):
            exchange = await stream.send(prompt, tokens=tokens, lane=INTERACTIVE)
            await exchange.ended
    except TimeoutError as error:
        raise BenchError("a stream did not end in time") from error
    finally:
        stream.close()
    return between_ms(exchange)


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table."""
    path = models.path(options.model)
    target = UmadTarget(
        None,
        Room(
            model=path,
            threads=options.threads,
            streams=1,
            stream_context_tokens=_CONTEXT_TOKENS,
        ),
    )
    with contextlib.ExitStack() as stack:
        stack.callback(target.stop)
        target.start()
        precedence.include_children()
        with console.status("") as status:
            samples = asyncio.run(
                measure(
                    target,
                    Prompts(models.text_tokens(path), seed=0),
                    requests=options.requests,
                    tokens=options.tokens,
                    repetitions=options.repetitions,
                    progress=status.update,
                )
            )
    table = Comparison(
        kind="masks",
        title=f"Time between tokens under a constraint, {path.stem}",
        unit="ms",
        condition="sampling",
        baseline=NONE,
        samples=samples,
        notes=(
            f"one stream, {options.requests} requests of {options.tokens} tokens each way in turns",
            f"{options.threads} threads; median (range) of {options.repetitions} repetitions",
        ),
    )
    command.publish(
        options,
        console,
        benchmark="masks",
        facts=machine.facts(peers.build()),
        comparisons=[table],
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("masks", __doc__, model="tiny")
    add = parser.add_argument
    add("--requests", type=command.positive, default=4, help="each way and repetition")
    add("--tokens", type=command.positive, default=256, help="generated per request")
    add("--repetitions", type=command.positive, default=7)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
