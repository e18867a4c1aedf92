"""Measures what guesses of next tokens bring: an edit, JSON and prose with, without, and bare.

One daemon serves both, and the request says which (`speculate`). Each text is answered with one
seed, in turns: with guesses, without, without again, and by the bare library, which decodes one
token after the other. The second one without is the control. It shows the machine's noise, and how
often a text is another one though nothing is guessed: a kernel adds up in the order of a stream's
cells in the pool, which is not always the same. The time is that from the first token to the last.

    edit    a file of 300 lines, and the beginning of a part of it: the answer repeats the file
    json    a list of objects with long keys, which the grammar forces
    prose   at temperature 0.8; hardly anything in it was said before
    again   prose that another stream of the app has said before

What is asked for (`ASKED`) is held against the bare library, in medians. Rounds of all kinds go on
for `--minutes`, with `--repetitions` at most. What rows cost the bare library bounds what guesses
can bring, so that is measured first: with `k` guesses that all hold, a step of k + 1 rows brings
k + 1 tokens.

With `--draft MODEL` a second daemon guesses with a draft model, too; its answers are one more turn,
and a second table. Without it the guesses come from texts alone.

A beginning of the file that stands in the prompt makes nearly any model copy the rest of it: that
is the edit. Random weights copy nothing; `--model nano-0.5b` is nano in the measures of a 0.5B.
The bare answer to the JSON prompt has no grammar and no end. Not: quality, or a crowd.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from bench import command, models, precedence, running
from bench.editor import file_of
from bench.errors import BenchError
from bench.speculation_tables import (
    AGAIN,
    ASKED,
    KINDS,
    PROSE,
    ROWS,
    Pair,
    draft_table,
    ratios,
    rows_table,
    table,
    verdicts,
)
from bench.targets import Room, UmadTarget
from umad.client import AsyncClient
from umad.constraint import Constraint
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Tokens

# No text may become slower than this, beyond the noise of the machine.
LEAST_RATIO = 0.99
_SHOWN_LINES = 10
# Between the parts that edits repeat. It has no divisor in common with 300.
_APART_LINES = 37
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
    """One request of a kind; every seed gives another text. All edits begin with the same file, so
    it is read once, and each repeats another part of it."""
    greedy = SamplingParams(temperature=0.0, max_tokens=tokens, seed=seed)
    match kind:
        case "edit":
            file = ["# a file", *file_of(lines, 1)]
            # A line has some fifteen tokens, and the file does not end within the answer.
            last = max(1, len(file) - _SHOWN_LINES - tokens // 10)
            at = seed * _APART_LINES % last
            shown = file[at : at + _SHOWN_LINES]
            prompt = "\n".join([*file, "", f"# the same file from line {at} on:", *shown, ""])
            sampling = dataclasses.replace(greedy, ignore_eos=True)
            return GenerateRequest(prompt=prompt, sampling=sampling)
        case "json":
            prompt = f"Twenty steps of plan {seed} as JSON:\n"
            constraint = Constraint.json_schema(_SCHEMA)
            return GenerateRequest(prompt=prompt, sampling=greedy, constraint=constraint)
        case _:
            # The two kinds of prose are different texts.
            chapter = seed if kind == PROSE else 100 + seed
            prompt = (
                f"Chapter {chapter}. It was a quiet morning, and nobody in the village knew that"
            )
            sampling = dataclasses.replace(greedy, temperature=0.8, ignore_eos=True)
            return GenerateRequest(prompt=prompt, sampling=sampling)


def steps_of(came_s: Sequence[float]) -> int:
    """How many steps brought tokens that came at these times. Each token has a message of its own,
    but those of one step come together, and a step takes as long as a token on average or longer.
    """
    if len(came_s) < 2:
        return len(came_s)
    together_s = (came_s[-1] - came_s[0]) / (len(came_s) - 1) / 4
    gaps = itertools.pairwise(came_s)
    return 1 + sum(later - earlier > together_s for earlier, later in gaps)


async def _answered(client: AsyncClient, request: GenerateRequest) -> Answer:
    ids: list[int] = []
    came_s: list[float] = []
    async for event in client.events(request):
        if isinstance(event, Tokens):
            came_s += [time.perf_counter()] * len(event.ids)
            ids.extend(event.ids)
        elif isinstance(event, Done):
            took_ms = event.timings.total_ms - event.timings.first_token_ms
            return Answer(
                ids=tuple(ids), ms=took_ms / max(1, len(ids) - 1), n_steps=steps_of(came_s)
            )
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
        if one is not None and kind == AGAIN:
            await _answered(one, request)
        elif one is not None:
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
    ends_s: float = float("inf"),
    draft_path: str | None = None,
) -> tuple[list[Pair], Mapping[str, Any]]:
    """Pairs of all kinds, which take turns, and the scorecard afterwards. ends_s: the monotonic
    time after which no round begins that would end later; the first one is always measured.
    draft_path: the socket of a daemon that has a draft model; its scorecard is told then."""
    pairs: list[Pair] = []
    longest_s = 0.0
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(path))
        drafting = None
        if draft_path is not None:
            drafting = await stack.enter_async_context(AsyncClient(draft_path))
        for turn in range(repetitions):
            began_s = time.monotonic()
            if turn and began_s + longest_s > ends_s:
                break
            for kind in KINDS:
                request = request_of(kind, lines=lines, tokens=tokens, seed=turn + 1)
                pairs.append(await _pair(client, bare, kind, request, turn, drafting))
            if turn:  # the first one reads the file
                longest_s = max(longest_s, time.monotonic() - began_s)
        return pairs, dict(await (drafting or client).metrics())


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the tables. Fails where a kind of text became slower."""
    ends_s = time.monotonic() + 60 * options.minutes
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
                ends_s=ends_s,
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
    if with_draft is not None:
        console.print(draft_table(pairs))
    for line in verdicts(pairs):
        console.print(line, highlight=False)
    for name in ("accepted_per_step", "speculation_gain"):
        console.print(f"{name}: {card.get(name)}", highlight=False)
    row_ms = {depth: dict(zip(ROWS, took, strict=True)) for depth, took in depths.items()}
    document: dict[str, object] = {
        "benchmark": "speculation",
        "model": model.stem,
        "ratios": found,
        "ratios_to_bare": ratios(pairs, lambda pair: pair.to_bare),
        "asked_of_bare": dict(ASKED),
        "rows": [dataclasses.asdict(one) for one in pairs],
        "row_ms": row_ms,
    }
    if with_draft is not None:
        document["draft_ratios"] = ratios(pairs, lambda pair: pair.drafted_ratio)
        document["draft_ratios_to_bare"] = ratios(pairs, lambda pair: pair.drafted_to_bare)
    command.write(options, document)
    slower = [kind for kind, (median, _, _) in found.items() if median < options.least]
    if slower:
        raise BenchError(f"slower with guesses than {options.least} times: {', '.join(slower)}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("speculation", __doc__, model="nano-0.5b")
    add = parser.add_argument
    add("--lines", type=command.positive, default=300, help="of the file that is edited")
    add("--tokens", type=command.positive, default=240, help="of each answer, at most")
    add("--repetitions", type=command.positive, default=9, help="of each pair, at most")
    more = "begin no further round that would end later; the first is measured whatever it takes"
    add("--minutes", type=float, default=7.0, help=more)
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
