"""Plays one app of `umad demo`: a process with a name and a connection of its own.

    python -m umad.cli.demo_app NAME LANE SOCKET

It asks, reads, thinks and asks again until its stdin closes. It writes what it felt to stdout as
JSON lines (`Report`). Not: adding figures up, nor showing them (`umad.cli.demo_view`).
Owner: its own process; one event loop.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

from umad.cli.demo_report import Report
from umad.client import AsyncClient, ClientOptions
from umad.clock import MonotonicClock
from umad.errors import PromptTooLong, UmadError
from umad.metrics import TOGETHER_NS
from umad.protocol.errors import error_of_failed
from umad.request import BACKGROUND, GenerateRequest, SamplingParams
from umad.service import Event, Failed, Progress, Tokens

# Often enough for a live table, seldom enough that reporting costs the machine nothing.
REPORT_NS = 250_000_000
THINK_S = (0.3, 1.2)
REPLY_TOKENS = (24, 64)
JOB_TOKENS = 200
JOB_WORDS = 700
# nano continues Python; any other model can continue it too.
BEGINNINGS = (
    "def read_config(path):\n",
    "class Queue:\n    def __init__(self, maxsize=0):\n",
    "import os\n\ndef walk(top):\n",
    "    def test_empty(self):\n        self.assertEqual(",
    "def parse_args(argv=None):\n    parser = argparse.",
    "for line in text.splitlines():\n    if line.startswith(",
)
TEXT = (
    "the small house by river stood in morning light and people came with bread to talk about "
    "weather work their children an old story that nobody had told for years while birds sang "
    "over green fields slow boats went down water toward town where market was open all day"
)


class Reporter:
    """Collects and writes reports."""

    def __init__(self) -> None:
        self._clock = MonotonicClock()
        self._report = Report()
        self._written_ns = self._clock.now_ns()

    async def read(self, events: AsyncIterator[Event]) -> None:
        """Follow one request to its end; raises what it ended with."""
        before_ns = self._clock.now_ns()
        first, read = True, 0
        async for event in events:
            now_ns = self._clock.now_ns()
            match event:
                case Tokens():
                    waited_ns = now_ns - before_ns
                    if first:
                        self._report.ttft_ms.append(waited_ns / 1e6)
                    elif waited_ns > TOGETHER_NS:
                        self._report.gaps_ms.append(waited_ns / 1e6)
                    first, before_ns = False, now_ns
                    self._report.tokens += len(event.ids)
                    self._report.tail = (self._report.tail + event.text)[-60:]
                case Progress():
                    self._report.read += event.done_tokens - read
                    read = event.done_tokens
                case Failed():
                    raise error_of_failed(event)
                case _:
                    pass
            if now_ns - self._written_ns > REPORT_NS:
                self.write()
        self._report.done += 1
        self.write()

    def write(self, error: str | None = None) -> None:
        """Send what was collected to the demo."""
        self._report.error = error
        sys.stdout.write(json.dumps(asdict(self._report)) + "\n")
        sys.stdout.flush()
        self._report = Report()
        self._written_ns = self._clock.now_ns()


async def chat(client: AsyncClient, lane: str, dice: random.Random, reporter: Reporter) -> None:
    """Short beginnings to be continued, with time to think between them."""
    while True:
        sampling = SamplingParams(
            max_tokens=dice.randint(*REPLY_TOKENS), seed=dice.getrandbits(32), ignore_eos=True
        )
        prompt = dice.choice(BEGINNINGS)
        asked = GenerateRequest(prompt=prompt, lane=lane, sampling=sampling)
        await reporter.read(client.events(asked))
        # This sleep is part of the workload: a person reads.
        await asyncio.sleep(dice.uniform(*THINK_S))


async def job(client: AsyncClient, lane: str, dice: random.Random, reporter: Reporter) -> None:
    """One long prompt after another, each a text nobody has sent before."""
    words, n_words = TEXT.split(), JOB_WORDS
    while True:
        prompt = " ".join(dice.choices(words, k=n_words))
        sampling = SamplingParams(max_tokens=JOB_TOKENS, seed=dice.getrandbits(32), ignore_eos=True)
        asked = GenerateRequest(prompt=prompt, lane=lane, sampling=sampling)
        try:
            await reporter.read(client.events(asked))
        except PromptTooLong:
            if n_words < 32:
                raise
            n_words //= 2  # a model with a small context


async def _main(name: str, lane: str, socket: str) -> None:
    dice = random.Random(name)  # the same questions in every demo
    reporter = Reporter()
    work = job if lane == BACKGROUND else chat
    try:
        async with AsyncClient(socket, options=ClientOptions(name=name)) as client:
            working = asyncio.create_task(work(client, lane, dice, reporter))
            _cancel_with_stdin(working)
            with contextlib.suppress(asyncio.CancelledError):
                await working
            reporter.write()
    except UmadError as error:
        reporter.write(f"{name}: {error.message}")


def _cancel_with_stdin(working: asyncio.Task[None]) -> None:
    loop = asyncio.get_running_loop()

    def wait() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(working.cancel)

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()


def _call_myself(name: str) -> None:
    """Linux: the name the daemon asks the kernel for, so that apps can be told apart."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


if __name__ == "__main__":
    _call_myself(sys.argv[1])
    asyncio.run(_main(*sys.argv[1:]))
