"""Measures what guesses of next tokens bring: an edit, JSON and prose with, without, and bare.

One daemon serves both, and the request says which (`speculate`). Each text is answered with one
seed, in turns: with guesses, without, without again, and by the bare library, which decodes one
token after the other. The second one without is the control. It shows the machine's noise, and how
often a text is another one though nothing is guessed: a kernel adds up in the order of a stream's
cells in the pool, which is not always the same. The time is that from the first token to the last.

What rows cost the bare library bounds what guesses can bring, so that is measured first: with `k`
guesses that all hold, a step of k + 1 rows brings k + 1 tokens.

With `--draft MODEL` a second daemon guesses with a draft model, too; its answers are one more turn
and two more columns. Without it the first daemon's guesses come from the text alone.

A beginning of the file that stands in the prompt makes nearly any model copy the rest of it: that
is the edit. Random weights copy nothing; `--model nano-0.5b` is nano in the measures of a 0.5B.
The bare answer to the JSON prompt has no grammar and no end. Not: quality, or a crowd.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import command, models, precedence, running
from bench.editor import file_of
from bench.errors import BenchError
from bench.targets import Room, UmadTarget
from umad.client import AsyncClient
from umad.constraint import Constraint
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Tokens

EDIT, JSON, PROSE = "edit", "json", "prose"
KINDS = (EDIT, JSON, PROSE)
# No text may become slower than this, beyond the noise of the machine.
LEAST_RATIO = 0.99
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SHOWN_LINES = 10
_CONTEXT_TOKENS = 8192
_STOP_S = 10.0
_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "minItems": 20,
    "items": {
        "type": "object",
        "properties": {
            "identifier": {"type": "integer", "minimum": 0, "maximum": 9999},
            "description_of_the_step": {"type": "string", "maxLength": 20},
            "is_finished": {"type": "boolean"},
        },
        "required": ["identifier", "description_of_the_step", "is_finished"],
        "additionalProperties": False,
    },
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Milliseconds for each token of one answer: with guesses, without, without again, by the bare
    library, and with a draft model. n_steps: that brought the tokens of the one with guesses."""

    kind: str
    plain_ms: float
    again_ms: float
    guessed_ms: float
    bare_ms: float
    n_tokens: int
    n_steps: int
    # The text is the same with guesses as without, and the same without again.
    is_same: bool
    is_steady: bool
    # 0 where no draft was asked for; then so many steps, and whether the text is the same.
    drafted_ms: float = 0.0
    n_drafted_steps: int = 0
    is_drafted_same: bool = True

    @property
    def drafted_ratio(self) -> float:
        """The pace with a draft over that without guesses."""
        return (self.plain_ms + self.again_ms) / (2 * self.drafted_ms)

    @property
    def ratio(self) -> float:
        """The pace with guesses over that without."""
        return (self.plain_ms + self.again_ms) / (2 * self.guessed_ms)

    @property
    def to_bare(self) -> float:
        """The pace with guesses over that of the bare library."""
        return self.bare_ms / self.guessed_ms


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """ms: of each token behind the first. n_steps: that brought tokens."""

    ids: tuple[int, ...]
    ms: float
    n_steps: int


class BareLoop:
    """A process with the model and a loop around it."""

    def __init__(self, model: Path, *, threads: int, kv_type: str) -> None:
        command_line = [sys.executable, "-m", "bench.bare_decode", str(model), str(threads)]
        self._process = subprocess.Popen(
            [*command_line, str(_CONTEXT_TOKENS), kv_type],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parent.parent,
        )

    def answer_ms(self, prompt: Sequence[int], n_tokens: int) -> float:
        """Of each token behind the first."""
        return float(self._asked({"prompt": list(prompt), "n_tokens": n_tokens}))

    def rows_ms(self, depth: int) -> list[float]:
        """Of each number of `ROWS`, behind `depth` tokens."""
        return [float(ms) for ms in self._asked({"rows": ROWS, "depth": depth})]

    def close(self) -> None:
        """End the process."""
        _pipe(self._process.stdin).close()
        running.end(self._process, within_s=_STOP_S)
        _pipe(self._process.stdout).close()

    def _asked(self, what: Mapping[str, Any]) -> Any:
        _pipe(self._process.stdin).write(json.dumps(what).encode() + b"\n")
        _pipe(self._process.stdin).flush()
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise BenchError("the bare loop has ended; its words are above")
        return json.loads(line)["ms"]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise BenchError("the bare loop has no pipe")
    return pipe


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


async def _answered(client: AsyncClient, request: GenerateRequest) -> Answer:
    ids: list[int] = []
    n_steps = 0
    async for event in client.events(request):
        if isinstance(event, Tokens):
            # A step's tokens come together.
            n_steps += bool(event.ids)
            ids.extend(event.ids)
        elif isinstance(event, Done):
            took_ms = event.timings.total_ms - event.timings.first_token_ms
            return Answer(ids=tuple(ids), ms=took_ms / max(1, len(ids) - 1), n_steps=n_steps)
    raise BenchError("an answer did not end")


async def _pair(
    client: AsyncClient,
    bare: BareLoop,
    kind: str,
    request: GenerateRequest,
    turn: int,
    drafting: AsyncClient | None,
) -> Pair:
    plain = dataclasses.replace(request, speculate=False)
    # The prompt is read before any of them is measured.
    first = dataclasses.replace(plain.sampling, max_tokens=1)
    for one in (client, drafting):
        if one is not None:
            await _answered(one, dataclasses.replace(plain, sampling=first))
    prompt = await client.tokenize(request.prompt or "")
    n_tokens = request.sampling.max_tokens or 1
    found: dict[int, Answer] = {}
    bare_ms = 0.0
    drafted: Answer | None = None
    n_turns = 4 if drafting is None else 5
    for at in [(turn + more) % n_turns for more in range(n_turns)]:
        if at == 3:
            bare_ms = await asyncio.to_thread(bare.answer_ms, prompt, n_tokens)
        elif at == 4 and drafting is not None:
            drafted = await _answered(drafting, request)
        else:
            found[at] = await _answered(client, (request, plain, plain)[at])
    guessed, once, again = (found[at] for at in range(3))
    return Pair(
        drafted_ms=0.0 if drafted is None else drafted.ms,
        n_drafted_steps=0 if drafted is None else drafted.n_steps,
        is_drafted_same=drafted is None or drafted.ids == once.ids,
        kind=kind,
        plain_ms=once.ms,
        again_ms=again.ms,
        guessed_ms=guessed.ms,
        bare_ms=bare_ms,
        n_tokens=len(guessed.ids),
        n_steps=guessed.n_steps,
        is_same=guessed.ids == once.ids,
        is_steady=again.ids == once.ids,
    )


async def measure(
    path: str,
    bare: BareLoop,
    *,
    lines: int,
    tokens: int,
    repetitions: int,
    draft_path: str | None = None,
) -> tuple[list[Pair], Mapping[str, Any]]:
    """Pairs of all kinds, which take turns, and the scorecard afterwards. draft_path: the socket of
    a daemon that has a draft model; its scorecard is that of the second one."""
    pairs: list[Pair] = []
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(path))
        drafting = None
        if draft_path is not None:
            drafting = await stack.enter_async_context(AsyncClient(draft_path))
        for turn in range(repetitions):
            for kind in KINDS:
                request = request_of(kind, lines=lines, tokens=tokens, seed=turn + 1)
                pairs.append(await _pair(client, bare, kind, request, turn, drafting))
        return pairs, dict(await (drafting or client).metrics())


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Their median, the lowest and the highest."""
    return statistics.median(values), min(values), max(values)


def ratios(pairs: Sequence[Pair]) -> dict[str, tuple[float, float, float]]:
    """Of each kind, the pace with guesses over that without: a median and its spread."""
    return {
        kind: spread([pair.ratio for pair in pairs if pair.kind == kind])
        for kind in KINDS
        if any(pair.kind == kind for pair in pairs)
    }


def table(pairs: Sequence[Pair]) -> Table:
    """To print."""
    title = "tokens a second: bare, without and with guesses of next tokens"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    columns = ("", "bare", "without", "again", "with", "÷ without", "÷ bare", "a step")
    drafts = [pair for pair in pairs if pair.drafted_ms]
    more = ("with a draft", "÷ without", "a step") if drafts else ()
    for name in (*columns, "other texts", "without guesses too", *more):
        drawn.add_column(name, justify="right", no_wrap=True)
    for kind, over_plain in ratios(pairs).items():
        mine = [pair for pair in pairs if pair.kind == kind]
        times = ("bare_ms", "plain_ms", "again_ms", "guessed_ms")
        paces = [statistics.median([1000 / getattr(one, name) for one in mine]) for name in times]
        over_bare = spread([pair.to_bare for pair in mine])
        a_step = sum(one.n_tokens for one in mine) / sum(one.n_steps for one in mine)
        drawn.add_row(
            kind,
            *(f"{pace:.1f}" for pace in paces),
            *(f"{mid:.2f} ({low:.2f}-{high:.2f})" for mid, low, high in (over_plain, over_bare)),
            f"{a_step:.2f}",
            f"{sum(not pair.is_same for pair in mine)} of {len(mine)}",
            f"{sum(not pair.is_steady for pair in mine)} of {len(mine)}",
            *_draft_columns(mine if drafts else ()),
        )
    return drawn


def _draft_columns(pairs: Sequence[Pair]) -> list[str]:
    if not pairs:
        return []
    pace = statistics.median([1000 / one.drafted_ms for one in pairs])
    mid, low, high = spread([one.drafted_ratio for one in pairs])
    a_step = sum(one.n_tokens for one in pairs) / sum(one.n_drafted_steps for one in pairs)
    return [f"{pace:.1f}", f"{mid:.2f} ({low:.2f}-{high:.2f})", f"{a_step:.2f}"]


def rows_table(depths: Mapping[int, Sequence[float]]) -> Table:
    """What rows cost, and the most that guesses can bring by it."""
    title = "milliseconds of so many rows, and how many times as fast guesses are that all hold"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    drawn.add_column("rows", justify="right")
    for depth in depths:
        drawn.add_column(f"behind {depth} tokens", justify="right", no_wrap=True)
    for at, n in enumerate(ROWS):
        columns = [f"{took[at]:.1f} ({n * took[0] / took[at]:.2f}x)" for took in depths.values()]
        drawn.add_row(str(n), *columns)
    return drawn


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables. Fails where a kind of text became slower."""
    model = models.path(options.model)
    room = Room(
        model=model,
        threads=options.threads,
        streams=2,
        stream_context_tokens=_CONTEXT_TOKENS,
        umad_arguments=("--speculate", "--kv-type", options.kv_type),
    )
    bare = BareLoop(model, threads=options.threads, kv_type=options.kv_type)
    target, with_draft = UmadTarget(None, room), None
    if options.draft is not None:
        draft = ("--draft", str(models.path(options.draft)))
        arguments = (*room.umad_arguments, *draft)
        with_draft = UmadTarget(None, dataclasses.replace(room, umad_arguments=arguments))
    try:
        with console.status("what rows cost"):
            depths = {depth: bare.rows_ms(depth) for depth in options.depths}
        console.print(rows_table(depths))
        target.start()
        if with_draft is not None:
            with_draft.start()
        precedence.include_children()
        with console.status("answering"):
            asked = measure(
                str(target.socket_path),
                bare,
                lines=options.lines,
                tokens=options.tokens,
                repetitions=options.repetitions,
                draft_path=None if with_draft is None else str(with_draft.socket_path),
            )
            pairs, card = asyncio.run(asked)
    finally:
        target.stop()
        if with_draft is not None:
            with_draft.stop()
        bare.close()
    found = ratios(pairs)
    console.print(table(pairs))
    for name in ("accepted_per_step", "speculation_gain"):
        console.print(f"{name}: {card.get(name)}", highlight=False)
    row_ms = {depth: dict(zip(ROWS, took, strict=True)) for depth, took in depths.items()}
    document: dict[str, object] = {
        "benchmark": "speculation",
        "model": model.stem,
        "ratios": found,
        "rows": [dataclasses.asdict(one) for one in pairs],
        "row_ms": row_ms,
    }
    if with_draft is not None:
        document["draft_ratios"] = {
            kind: spread([pair.drafted_ratio for pair in pairs if pair.kind == kind])
            for kind in found
        }
    command.write(options, document)
    slower = [kind for kind, (median, _, _) in found.items() if median < options.least]
    if slower:
        raise BenchError(f"slower with guesses than {options.least} times: {', '.join(slower)}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("speculation", __doc__, model="nano-0.5b")
    add = parser.add_argument
    add("--lines", type=command.positive, default=300, help="of the file that is edited")
    add("--tokens", type=command.positive, default=300, help="of each answer, at most")
    add("--repetitions", type=command.positive, default=5, help="of each pair")
    add("--least", type=float, default=LEAST_RATIO, help="times as fast that every kind must be")
    add("--draft", metavar="MODEL", help="a draft model, such as nano for nano-0.5b")
    add("--kv-type", choices=("f16", "q8"), default="q8", help="of the cache")
    add("--depths", type=command.positive, nargs="*", default=[64, 3000], help="of the rows")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
