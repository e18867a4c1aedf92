"""Measures what text streams feel beside a queue of photos, and what a second turn about one costs.

Interactive clients ask for text alone, and then beside a client that asks about photos of twelve
megapixels one after another, each another file. Then the same with answers so long that no prompt
of these clients is in the window: what they wait for then is the photos. llama-server has the same
text model, projector and files. Ratios are taken within a repetition. Then umad alone: the first
token of a second turn about a photo, against that of a second turn of a text conversation with as
many cells; and whether anything was encoded for it. `bench.load` does what clients do,
`bench.latency` defines the waits. Weights are random, so answers mean nothing.
"""

import argparse
import asyncio
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from typing_extensions import override

from bench import command, machine, models, peers, photos, projector_shape, running
from bench import load as loading
from bench.errors import BenchError
from bench.exchange import Connection
from bench.latency import Felt, felt, percentile
from bench.load import Load, Target
from bench.prompts import Prompts
from bench.table import Comparison
from bench.targets import Room, ServerTarget, UmadTarget
from umad.client import AsyncClient
from umad.content import MediaFile, PlacedFile
from umad.request import GenerateRequest, SamplingParams
from umad.service import Done, Failed, Tokens

ALONE, BESIDE = "alone", "beside photos"
PHOTO, TEXT = "about a photo", "about a text"
CONTENDERS = ("umad", "llama-server")
_LABELS = {
    "p50_ms": "wait p50, ms",
    "p95_ms": "wait p95, ms",
    "p99_ms": "wait p99, ms",
    "longest_ms": "longest wait, ms",
    "first_token_p50_ms": "first token p50, ms",
    "tokens_per_s": "tokens/s",
}
_TURN_TOKENS = 48
_BEFORE = "Look closely at this. "
_QUESTION = " What is to be seen there, and where was it taken? "
_AGAIN = " And what else can be said about it, in one more sentence than before? Begin now:"


class _UmadPhotos(UmadTarget):
    """umad, whose last client asks about photos."""

    def __init__(self, room: Room, *, last: int, files: Iterator[bytes]) -> None:
        super().__init__(None, room)
        self._last, self._files = last, files

    @override
    async def connect(self, client: int) -> Connection:
        if client != self._last:
            return await super().connect(client)
        connection = await photos.UmadPhotos.open(self.socket_path)
        assert isinstance(connection, photos.UmadPhotos)
        connection.photos = self._files
        return connection


class _ServerPhotos(ServerTarget):
    """llama-server, whose last client asks about photos."""

    def __init__(
        self, built: peers.Peers, room: Room, *, last: int, files: Iterator[bytes]
    ) -> None:
        super().__init__(built, room)
        self._last, self._files = last, files
        os.environ[photos.MARKER_VARIABLE] = photos.MARKER

    @override
    async def connect(self, client: int) -> Connection:
        if client != self._last:
            return await super().connect(client)
        connection = photos.ServerPhotos(self._server.socket_path, progress=False)
        connection.photos = self._files
        return connection


@dataclasses.dataclass(slots=True)
class Measured:
    """Samples of all contenders, one a repetition."""

    felt: dict[str, dict[str, list[Felt]]]  # contender, condition
    # The same of answers that began before the window.
    answering: dict[str, dict[str, list[Felt]]]
    answered: dict[str, list[float]]  # contender: photos a minute
    turns: dict[str, list[float]]  # about a photo, about a text: ms to the first token
    n_encoded: int = 0  # by all second turns about photos


def measure(
    targets: Sequence[Target],
    load: Load,
    prompts: Prompts,
    *,
    seconds: float,
    repetitions: int,
    long_tokens: int,
    progress: Callable[[str], None],
) -> Measured:
    """Run both conditions, with answers of both lengths; blocks for about all windows together.
    long_tokens: of the long answers; 0 for none of them."""
    answering = dataclasses.replace(load, tokens=long_tokens)
    names = [target.name for target in targets]
    measured = Measured(
        felt={name: {ALONE: [], BESIDE: []} for name in names},
        answering={name: {ALONE: [], BESIDE: []} for name in names} if long_tokens else {},
        answered={name: [] for name in names},
        turns={},
    )
    for target in targets:
        progress(f"warm-up  {target.name}")
        loading.warm_up(target, load, prompts)
    for repetition in range(repetitions):
        for target in running.in_turn(targets, repetition):
            order = (ALONE, BESIDE) if repetition % 2 == 0 else (BESIDE, ALONE)
            for condition in order:
                progress(f"{repetition + 1}/{repetitions}  {target.name}  {condition}")
                beside = condition == BESIDE
                seen = loading.window(target, load, prompts, seconds=seconds, background=beside)
                times = {"opened_ns": seen.opened_ns, "closed_ns": seen.closed_ns}
                measured.felt[target.name][condition].append(felt(seen.interactive, **times))
                if beside:
                    answered = sum(trace.ended for trace in seen.background)
                    minutes = (seen.closed_ns - seen.opened_ns) / 60e9
                    measured.answered[target.name].append(answered / minutes)
            for condition in order if long_tokens else ():
                progress(f"{repetition + 1}/{repetitions}  {target.name}  long, {condition}")
                beside = condition == BESIDE
                seen = loading.answering(
                    target, answering, prompts, seconds=seconds, background=beside
                )
                times = {"opened_ns": seen.opened_ns, "closed_ns": seen.closed_ns}
                measured.answering[target.name][condition].append(felt(seen.interactive, **times))
    return measured


def second_turns(
    socket_path: Path, files: Iterator[bytes], n_words: int, measured: Measured, n: int
) -> None:
    """First tokens of second turns, about a photo and about a text with as many cells. n_words:
    the tokens that texts are made of."""
    asyncio.run(_second_turns(socket_path, files, n_words, measured, n))


async def _second_turns(
    socket_path: Path, files: Iterator[bytes], n_words: int, measured: Measured, n: int
) -> None:
    drawn = np.random.default_rng(0)
    n_new = 0
    async with AsyncClient(socket_path) as client:
        for number in range(n):
            photo = MediaFile(kind="image", data=next(files))
            before = f"{number}. {_BEFORE}"
            media = (PlacedFile(at=len(before), file=photo),)
            prompt = f"{before}{_QUESTION}"
            _, done, text = await _asked(client, _TURN_TOKENS, prompt=prompt, media=media)
            # As many cells, of which as many are computed in the second turn.
            n_first = done.usage.prompt_tokens + _TURN_TOKENS
            ids = tuple(drawn.integers(n_words, size=n_first).tolist())
            await _asked(client, 1, prompt_ids=ids)
            encoded = await _n_encoded(client)
            again = prompt + text + _AGAIN
            ms: dict[str, float] = {}
            # The photo comes first in the first round, which tells how many cells are new.
            for about in (PHOTO, TEXT) if number % 2 == 0 else (TEXT, PHOTO):
                if about == PHOTO:
                    ms[about], done, _ = await _asked(client, 1, prompt=again, media=media)
                    n_new = done.usage.prompt_tokens - (done.usage.cached_tokens or 0)
                else:
                    more = drawn.integers(n_words, size=n_new).tolist()
                    told = (*ids[: n_first - 1], *more)
                    ms[about], _, _ = await _asked(client, 1, prompt_ids=told)
            measured.n_encoded += await _n_encoded(client) - encoded
            for about, first_ms in ms.items():
                measured.turns.setdefault(about, []).append(first_ms)


async def _asked(client: AsyncClient, n_tokens: int, **request: object) -> tuple[float, Done, str]:
    """(ms to the first token, how it ended, its text)."""
    sampling = SamplingParams(temperature=0.0, max_tokens=n_tokens, ignore_eos=True)
    began_ns, first_ms, text = time.perf_counter_ns(), 0.0, ""
    asked = GenerateRequest(sampling=sampling, **request)  # type: ignore[arg-type]
    async for event in client.events(asked):
        if isinstance(event, Tokens):
            first_ms = first_ms or (time.perf_counter_ns() - began_ns) / 1e6
            text += event.text
        elif isinstance(event, Failed):
            raise BenchError(f"umad refused: {event.message}")
        elif isinstance(event, Done):
            return first_ms, event, text
    raise BenchError("umad ended a stream early")


async def _n_encoded(client: AsyncClient) -> int:
    rows = [model.media_read for model in await client.models()]
    return sum(row.encoded for row in rows if row is not None)


def comparisons(measured: Measured, *, title: str) -> list[Comparison]:
    """Tables: each contender against itself alone, the photos that it answered, second turns."""
    tables = []

    def add(kind: str, what: str, unit: str, condition: str, base: str, samples: object) -> None:
        tables.append(
            Comparison(
                kind=kind,
                title=f"{title}: {what}",
                unit=unit,
                condition=condition,
                baseline=base,
                samples=samples,  # type: ignore[arg-type]
            )
        )

    for kind, words, felts in (
        ("cost", "text streams", measured.felt),
        ("answers", "long answers", measured.answering),
    ):
        for name, conditions in felts.items():
            rows = {
                label: {
                    condition: [getattr(one, field) for one in found]
                    for condition, found in conditions.items()
                }
                for field, label in _LABELS.items()
                if kind == "cost" or field != "first_token_p50_ms"
            }
            what = f"{words} of {name}, against itself alone"
            add(f"{kind}-{name}", what, "ms and tokens/s", "figure", ALONE, rows)
    base = list(measured.answered)[-1]
    add("photos", "photos answered", "a minute", "condition", base, {BESIDE: measured.answered})
    if measured.turns:
        rows = {"first token": measured.turns}
        add("turns", "second turns of umad", "ms", "figure", TEXT, rows)
    return tables


def guard_line(name: str, conditions: dict[str, list[Felt]]) -> str:
    """What the guard promises, in a line; as `bench.mixed` says it."""
    pairs = list(zip(conditions[ALONE], conditions[BESIDE], strict=True))
    p95 = max(beside.p95_ms / alone.p95_ms for alone, beside in pairs)
    longest = max(beside.longest_ms / alone.p50_ms for alone, beside in pairs)
    # The clients' own prompts make waits of several steps with nobody beside them.
    own = max(alone.longest_ms / alone.p50_ms for alone, _ in pairs)
    waits = f"longest wait {longest:.1f} steps (alone {own:.1f})"
    return f"{name}: p95 at most {p95:.2f} of alone, {waits}"


def turns_line(measured: Measured) -> str:
    """What a second turn about a photo costs, in a line: the median of pairs, and the middle half
    of them."""
    ratios = sorted(
        seen / told for seen, told in zip(measured.turns[PHOTO], measured.turns[TEXT], strict=True)
    )
    low, middle, high = (percentile(ratios, at) for at in (25, 50, 75))
    return (
        f"second turns about a photo: the first token comes after {middle:.2f} times that of a "
        f"text's (half of {len(ratios)} pairs: {low:.2f} to {high:.2f}); they encoded "
        f"{measured.n_encoded} photos"
    )


def run(options: argparse.Namespace, console: Console) -> None:
    """Measure and print (and write) the tables."""
    has_server = "llama-server" in options.contenders
    built = peers.build() if has_server else peers.built()
    facts = machine.facts(built)
    path = models.path(options.model)
    eyes = projector_shape.projector(options.projector, path)
    load = Load(
        clients=options.clients,
        prompt_tokens=60,
        tokens=options.tokens,
        think_s=options.think_s,
        background_prompt_tokens=1,
        background_tokens=4,
    )
    named = ("--mmproj", str(eyes))
    room = Room(
        model=path,
        threads=options.threads,
        streams=load.clients + 1,
        stream_context_tokens=max(1024, load.prompt_tokens + options.long_tokens + 64),
        prompt_progress=False,
        umad_arguments=(*named, *shlex.split(options.umad)),
        server_arguments=named,
    )
    photo, n_words = photos.jpeg(), models.text_tokens(path)
    makers: dict[str, Callable[[], Target]] = {
        "umad": lambda: _UmadPhotos(room, last=load.clients, files=photos.different(photo)),
    }
    if built is not None:
        files = photos.different(photo)
        makers["llama-server"] = lambda: _ServerPhotos(built, room, last=load.clients, files=files)
    targets = [makers[name]() for name in options.contenders]
    with running.started(targets), console.status("") as status:
        measured = measure(
            targets,
            load,
            Prompts(n_words, seed=0),
            seconds=options.seconds,
            repetitions=options.repetitions,
            long_tokens=options.long_tokens,
            progress=status.update,
        )
        umad = next((one for one in targets if isinstance(one, UmadTarget)), None)
        if umad is not None and options.turns:
            status.update("second turns")
            others = photos.different(photo, 1_000_000)
            second_turns(umad.socket_path, others, n_words, measured, options.turns)
    shape = projector_shape.SHAPES[options.projector]
    notes = (
        (
            f"{load.clients} text clients: {load.prompt_tokens} prompt and {load.tokens} generated"
            f" tokens, {load.think_s:g} s think time; photos of {photos.WIDTH_PX} by"
            f" {photos.HEIGHT_PX} pixels, {len(photo) / 1e6:.1f} MB of JPEG and {shape.rows} rows"
            f" each, one after another; {room.threads} threads; windows of {options.seconds:g} s"
        ),
        "median (range) over repetitions; ratios are taken within each repetition",
        *(guard_line(name, found) for name, found in measured.felt.items()),
        *(guard_line(f"{name}, long answers", one) for name, one in measured.answering.items()),
        *([turns_line(measured)] if measured.turns else []),
        *(f"{target.name}: {target.method}" for target in targets),
    )
    tables = comparisons(measured, title=path.stem)
    command.publish(
        options, console, benchmark="media", facts=facts, comparisons=tables, notes=notes
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("media", __doc__, model="qwen2-0.5b")
    add = parser.add_argument
    add("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS, metavar="NAME")
    add("--projector", choices=projector_shape.SHAPES, default="vit-b")
    add("--seconds", type=float, default=25.0, help="of each window")
    add("--repetitions", type=int, default=2)
    add("--clients", type=int, default=2, help="text streams")
    # The other clients' prompts make some waits of each answer longer, with photos or without. In a
    # short one they are one in twenty, and p95 is then either of the two.
    add("--tokens", type=int, default=256, help="generated for a text prompt")
    # More than a stream gets in a window, so that its answer began before it and ends after it.
    add("--long-tokens", type=int, default=2048, help="of the long answers; 0 for none of them")
    add("--think-s", type=float, default=0.3)
    add("--turns", type=int, default=12, help="second turns of each kind; 0 for none")
    add("--umad", default="", metavar="OPTIONS", help="added to `umad serve`, in one argument")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
