"""Measures the time from a key to the grey text, alone and beside a background job.

A typist types a Python file key by key, as an editor hears it: each key cuts the text around the
cursor, waits the editor's moment, and asks for one line (`umad.infill.ghost`). Nothing is kept
between keys, so each of them asks. Windows with and without the job take turns. The job is one
background stream that never ends. A third figure is what a key computed of its prompt: it does not
depend on the machine's speed. Not: keys that an earlier answer already covers, which cost nothing.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

from rich import box
from rich.console import Console
from rich.table import Table

from bench import command, models, precedence
from bench.errors import BenchError
from bench.latency import percentile
from bench.targets import Room, UmadTarget
from umad.client import AsyncClient
from umad.infill.cut import STRIDE_LINES, cut_around
from umad.infill.ghost import Asked, GhostWriter
from umad.infill.manner import SINGLE
from umad.infill.recent import RecentAnswers
from umad.lsp.settings import LspSettings
from umad.request import BACKGROUND, GenerateRequest
from umad.service import Done, Event, Service

ALONE, BESIDE = "alone", "beside a background job"
# What the issue asks for.
MOST_RATIO = 1.25
_DEBOUNCE_S = LspSettings().debounce_ms / 1000
# A job's answers are long, so that there is always one.
_JOB_TOKENS = 1500
_TYPED = "    total = first_value + second_value\n    return round(total, 3)\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of one condition. waits_ms: from each key to its text; new_tokens: of its prompt."""

    condition: str
    waits_ms: tuple[float, ...]
    new_tokens: tuple[int, ...]

    def wait_ms(self, percent: float) -> float:
        """A percentile of the waits."""
        return percentile(sorted(self.waits_ms), percent)


def ratio(alone: Keys, beside: Keys) -> float:
    """p95 beside the job over p95 alone."""
    return beside.wait_ms(95) / alone.wait_ms(95)


class _Noting:
    """A client that notes what each prompt computed."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.new_tokens: list[int] = []

    async def models(self) -> Sequence[Mapping[str, Any]]:
        return await self._client.models()

    async def tokenize(self, text: str, *, model: str | None, special: bool) -> tuple[int, ...]:
        return await self._client.tokenize(text, model=model, special=special)

    async def events(self, request: GenerateRequest) -> AsyncIterator[Event]:
        async for event in self._client.events(request):
            if isinstance(event, Done):
                self.new_tokens.append(event.usage.prompt_tokens - event.usage.cached_tokens)
            yield event


def file_of(lines: int, window: int) -> list[str]:
    """A Python file of so many lines. Where a prompt may begin stands the window's number: another
    window's prompts begin otherwise, so what is known of them is of no use here.
    """
    return [_line(at, window) for at in range(lines)]


def _line(at: int, window: int) -> str:
    if at % STRIDE_LINES == 0:
        return f"# window {window:02}"
    return (
        f"def step_{at}(value):" if at % 3 == 0 else f"    value = value * {at} + step_{at % 7}(1)"
    )


def cursors(lines: list[str], at: int, typed: str) -> Iterator[tuple[list[str], int, int]]:
    """The file after each key of `typed`, typed behind line `at`, with the cursor's place."""
    before, after = lines[: at + 1], lines[at + 1 :]
    for length in range(1, len(typed) + 1):
        new = typed[:length].split("\n")
        file = [*before, *new, *after]
        line = len(before) + len(new) - 1
        yield file, line, len(new[-1])


async def _typed(client: AsyncClient, condition: str, lines: int, window: int) -> Keys:
    noting = _Noting(client)
    waits = []
    for file, line, column in cursors(file_of(lines, window), lines // 2, _TYPED):
        # Nothing is kept: each key asks.
        writer = GhostWriter(cast(Service, noting), RecentAnswers(0))
        began_ns = time.perf_counter_ns()
        cut = cut_around(file.__getitem__, len(file), line, column)
        await asyncio.sleep(_DEBOUNCE_S)
        await writer.write(Asked(cut=cut, manner=SINGLE, name="steps.py"))
        waits.append((time.perf_counter_ns() - began_ns) / 1e6)
    # The first key of a window reads the file, as opening it does.
    return Keys(
        condition=condition, waits_ms=tuple(waits[1:]), new_tokens=tuple(noting.new_tokens[1:])
    )


async def _job(client: AsyncClient) -> None:
    while True:
        text = client.text(
            "import os\n", lane=BACKGROUND, max_tokens=_JOB_TOKENS, ignore_eos=True, fit=True
        )
        async for _ in text:
            pass


@contextlib.asynccontextmanager
async def _beside(path: str) -> AsyncIterator[None]:
    """A job that runs meanwhile."""
    async with AsyncClient(path) as client:
        job = asyncio.ensure_future(_job(client))
        try:
            yield
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)


async def measure(path: str, *, lines: int, repetitions: int) -> tuple[Keys, Keys]:
    """Both conditions, which take turns. All windows type the same at the same place, so that
    answers are about as long.
    """
    found: dict[str, list[Keys]] = {ALONE: [], BESIDE: []}
    async with AsyncClient(path) as client:
        for window in range(0, 2 * repetitions, 2):
            found[ALONE].append(await _typed(client, ALONE, lines, window))
            async with _beside(path):
                found[BESIDE].append(await _typed(client, BESIDE, lines, window + 1))
    return _joined(found[ALONE]), _joined(found[BESIDE])


def _joined(parts: list[Keys]) -> Keys:
    return Keys(
        condition=parts[0].condition,
        waits_ms=tuple(one for part in parts for one in part.waits_ms),
        new_tokens=tuple(one for part in parts for one in part.new_tokens),
    )


def table(both: Sequence[Keys]) -> Table:
    """To print."""
    title = "from a key to the grey text in ms, and tokens of its prompt that it computed"
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("", "keys", "p50", "p95", "new tokens p50", "p95"):
        drawn.add_column(name, justify="right", no_wrap=True)
    for keys in both:
        new = sorted(map(float, keys.new_tokens))
        drawn.add_row(
            keys.condition,
            str(len(keys.waits_ms)),
            f"{keys.wait_ms(50):.0f}",
            f"{keys.wait_ms(95):.0f}",
            f"{percentile(new, 50):.0f}",
            f"{percentile(new, 95):.0f}",
        )
    return drawn


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures and prints (and writes) the table. Fails where the ratio is lost."""
    model = models.path(options.model)
    target = UmadTarget(
        None,
        Room(model=model, threads=options.threads, streams=4, stream_context_tokens=4096),
    )
    try:
        target.start()
        precedence.include_children()
        with console.status("typing"):
            asked = measure(
                str(target.socket_path), lines=options.lines, repetitions=options.repetitions
            )
            alone, beside = asyncio.run(asked)
    finally:
        target.stop()
    found = ratio(alone, beside)
    console.print(table((alone, beside)))
    console.print(f"p95 beside over alone: {found:.2f}", highlight=False)
    rows = [dataclasses.asdict(one) for one in (alone, beside)]
    command.write(
        options, {"benchmark": "editor", "model": model.stem, "ratio": found, "rows": rows}
    )
    if found > options.most:
        raise BenchError(
            f"p95 beside a job is {found:.2f} times as long; {options.most} is allowed"
        )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("editor", __doc__, model="nano")
    add = parser.add_argument
    add("--lines", type=command.positive, default=600, help="of the file")
    add("--repetitions", type=command.positive, default=3, help="of both windows")
    add("--most", type=float, default=MOST_RATIO, help="p95 beside over alone that is allowed")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
