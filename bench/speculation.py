"""Measures what guesses of next tokens bring: an edit, JSON and prose, each with them and without.

One daemon serves both, and the request says which (`speculate`). Each text is answered three times
with one seed, in turns: with guesses, without, and without again. The second one without is the
control. It shows the machine's noise, and how often a text is another one though nothing is
guessed: a kernel adds up in the order of a stream's cells in the pool, which is not always the
same. The time is that from the first token to the last, by the daemon's clock. A beginning of the
file that stands in the prompt makes nearly any model copy the rest of it: that is the edit. Not:
quality, or a crowd.
"""

import argparse
import asyncio
import dataclasses
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import command, models, precedence
from bench.editor import file_of
from bench.errors import BenchError
from bench.targets import Room, UmadTarget
from umad.client import AsyncClient
from umad.constraint import Constraint
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Tokens

EDIT, JSON, PROSE = "edit", "json", "prose"
# No text may become slower than this, beyond the noise of the machine.
LEAST_RATIO = 0.99
_SHOWN_LINES = 10
_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "minItems": 20,
    "items": {
        "type": "object",
        "properties": {
            "identifier": {"type": "integer"},
            "description_of_the_step": {"type": "string", "maxLength": 20},
            "is_finished": {"type": "boolean"},
        },
        "required": ["identifier", "description_of_the_step", "is_finished"],
        "additionalProperties": False,
    },
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Milliseconds for each token of one answer: with guesses, without, and without again."""

    kind: str
    plain_ms: float
    again_ms: float
    guessed_ms: float
    # The text is the same with guesses as without, and the same without again.
    is_same: bool
    is_steady: bool

    @property
    def ratio(self) -> float:
        """The pace with guesses over that without."""
        return (self.plain_ms + self.again_ms) / (2 * self.guessed_ms)


def request_of(kind: str, *, lines: int, tokens: int, seed: int) -> GenerateRequest:
    """One request of a kind; every seed gives another text."""
    greedy = SamplingParams(temperature=0.0, max_tokens=tokens, seed=seed)
    match kind:
        case "edit":
            file = [f"# file {seed}", *file_of(lines, seed)]
            prompt = "\n".join([*file, "", "# the same file again:", *file[:_SHOWN_LINES], ""])
            sampling = dataclasses.replace(greedy, ignore_eos=True)
            return GenerateRequest(prompt=prompt, sampling=sampling)
        case "json":
            prompt = f"Twenty steps of plan {seed} as JSON:\n"
            constraint = Constraint.json_schema(_SCHEMA)
            return GenerateRequest(prompt=prompt, sampling=greedy, constraint=constraint)
        case _:
            prompt = f"Chapter {seed}. It was a quiet morning, and nobody in the village knew that"
            sampling = dataclasses.replace(greedy, temperature=0.8, ignore_eos=True)
            return GenerateRequest(prompt=prompt, sampling=sampling)


async def _answered(client: AsyncClient, request: GenerateRequest) -> tuple[list[int], float]:
    """The tokens of an answer, and the milliseconds that each behind the first took."""
    ids: list[int] = []
    async for event in client.events(request):
        if isinstance(event, Tokens):
            ids.extend(event.ids)
        elif isinstance(event, Done):
            took_ms = event.timings.total_ms - event.timings.first_token_ms
            return ids, took_ms / max(1, len(ids) - 1)
    raise BenchError("an answer did not end")


async def _pair(client: AsyncClient, kind: str, request: GenerateRequest, turn: int) -> Pair:
    plain = dataclasses.replace(request, speculate=False)
    # The prompt is read before either is measured.
    await _answered(client, dataclasses.replace(plain, sampling=_short(plain.sampling)))
    asked = [request, plain, plain]
    found = {at % 3: await _answered(client, asked[at % 3]) for at in range(turn, turn + 3)}
    (guessed, guessed_ms), (ids, plain_ms), (again, again_ms) = (found[at] for at in range(3))
    return Pair(
        kind=kind,
        plain_ms=plain_ms,
        again_ms=again_ms,
        guessed_ms=guessed_ms,
        is_same=guessed == ids,
        is_steady=again == ids,
    )


def _short(sampling: SamplingParams) -> SamplingParams:
    return dataclasses.replace(sampling, max_tokens=1)


async def measure(
    path: str, *, lines: int, tokens: int, repetitions: int
) -> tuple[list[Pair], Mapping[str, Any]]:
    """Pairs of all kinds, which take turns, and the scorecard afterwards."""
    pairs: list[Pair] = []
    async with AsyncClient(path) as client:
        for turn in range(repetitions):
            for kind in (EDIT, JSON, PROSE):
                request = request_of(kind, lines=lines, tokens=tokens, seed=turn + 1)
                pairs.append(await _pair(client, kind, request, turn))
        return pairs, dict(await client.metrics())


def ratios(pairs: Sequence[Pair]) -> dict[str, tuple[float, float, float]]:
    """The median ratio of each kind, the lowest and the highest."""
    found: dict[str, tuple[float, float, float]] = {}
    for kind in (EDIT, JSON, PROSE):
        each = sorted([pair.ratio for pair in pairs if pair.kind == kind])
        found[kind] = (statistics.median(each), each[0], each[-1])
    return found


def table(pairs: Sequence[Pair]) -> Table:
    """To print."""
    title = "milliseconds a token without and with guesses of next tokens"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    columns = ("", "without", "again", "with", "times as fast", "lowest", "highest")
    for name in (*columns, "other texts", "without guesses too"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for kind, (median, low, high) in ratios(pairs).items():
        mine = [pair for pair in pairs if pair.kind == kind]
        drawn.add_row(
            kind,
            f"{statistics.median([pair.plain_ms for pair in mine]):.2f}",
            f"{statistics.median([pair.again_ms for pair in mine]):.2f}",
            f"{statistics.median([pair.guessed_ms for pair in mine]):.2f}",
            f"{median:.2f}",
            f"{low:.2f}",
            f"{high:.2f}",
            f"{sum(not pair.is_same for pair in mine)} of {len(mine)}",
            f"{sum(not pair.is_steady for pair in mine)} of {len(mine)}",
        )
    return drawn


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table. Fails where a kind of text became slower."""
    model = models.path(options.model)
    room = Room(
        model=model,
        threads=options.threads,
        streams=2,
        stream_context_tokens=16_384,
        umad_arguments=("--speculate", "--kv-type", "q8"),
    )
    target = UmadTarget(None, room)
    try:
        target.start()
        precedence.include_children()
        with console.status("answering"):
            asked = measure(
                str(target.socket_path),
                lines=options.lines,
                tokens=options.tokens,
                repetitions=options.repetitions,
            )
            pairs, card = asyncio.run(asked)
    finally:
        target.stop()
    found = ratios(pairs)
    console.print(table(pairs))
    for name in ("accepted_per_step", "speculation_gain"):
        console.print(f"{name}: {card.get(name)}", highlight=False)
    rows = [dataclasses.asdict(one) for one in pairs]
    command.write(
        options,
        {"benchmark": "speculation", "model": model.stem, "ratios": found, "rows": rows},
    )
    slower = [kind for kind, (median, _, _) in found.items() if median < options.least]
    if slower:
        raise BenchError(f"slower with guesses than {options.least} times: {', '.join(slower)}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("speculation", __doc__, model="nano")
    add = parser.add_argument
    add("--lines", type=command.positive, default=300, help="of the file that is edited")
    add("--tokens", type=command.positive, default=400, help="of each answer, at most")
    add("--repetitions", type=command.positive, default=5, help="of each pair")
    add("--least", type=float, default=LEAST_RATIO, help="times as fast that every kind must be")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
