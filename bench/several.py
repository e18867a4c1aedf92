"""Lets several apps use several models in turn, and checks that nothing is lost, left or felt.

Three models lie in a folder, and two may be loaded at once. Four apps ask them at random: a chat,
whose user notices every pause, and three others in the background. At the end these must hold.
Every request has got all its tokens. The daemon holds what it held at the start: no process, no
descriptor and no memory beyond that. The chat's gaps between two tokens are within the latency cap
of what they are when it is alone, in 95 of 100 cases, but for pauses in which its own model was
being loaded (the daemon says so, `umad.service.Loading`). It is alone for a while before each
minute beside the others.

The chat is a process of its own at the usual priority. In the process of the others, which steps
back for the daemon, it would take that process's waits for the daemon's. The first token is
reported and not judged: it waits for the model. Fails with exit code 1. Not a measurement of speed.
"""

import argparse
import asyncio
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil
from rich.console import Console

from bench import cache, command, models, precedence, running
from bench.errors import BenchError
from bench.latency import percentile
from bench.prompts import Prompts
from bench.soak_holdings import engines
from bench.umad_daemon import DaemonSettings, UmadDaemon, greedy
from umad.client import AsyncClient, ClientOptions
from umad.errors import UmadError
from umad.request import GenerateRequest
from umad.service import Done, Failed, Loading, Tokens

NAMES = ("a", "b", "c")
MAX_MODELS = 2
N_APPS = 4
CAP = 1.20
# The chat is alone and beside the others in turns: what else the machine does changes from minute
# to minute, and moves the gaps of a chat that is alone by half.
_ALONE_S, _BESIDE_S = 20.0, 60.0
_CALM_S = 30.0
_REQUEST_S = 300.0
_THINK_S = (0.0, 2.0)
_PROMPT_TOKENS, _ANSWER_TOKENS = (20, 400), (20, 120)
_CONTEXT_TOKENS = 1024
# Allocators keep what they had.
_GROWN_BYTES = 24 * 2**20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a daemon holds at rest. rss_bytes: without its engines."""

    processes: int
    descriptors: int
    rss_bytes: int


@dataclasses.dataclass(slots=True, kw_only=True)
class Seen:
    """What one app has seen."""

    requests: int = 0
    tokens: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    # Between two tokens of one answer, but for pauses in which its model was loaded.
    gaps_s: list[float] = dataclasses.field(default_factory=list)
    first_s: list[float] = dataclasses.field(default_factory=list)
    # Requests that waited for their model.
    loads: int = 0

    def add(self, more: "Seen") -> None:
        """Count in what it has seen later."""
        for one in dataclasses.fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(more, one.name))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything the verdict needs."""

    alone: Seen
    chat: Seen
    others: Seen
    before: Held
    after: Held
    most_engines: int

    def complaints(self) -> list[str]:
        """Why it failed; empty where it did not."""
        found = [*self.alone.lost, *self.chat.lost, *self.others.lost]
        for name in ("processes", "descriptors"):
            was, left = getattr(self.before, name), getattr(self.after, name)
            if left > was:
                found.append(f"{name}: {left} at the end, {was} at the start")
        if self.after.rss_bytes > self.before.rss_bytes + _GROWN_BYTES:
            found.append(
                f"rss_bytes: {self.after.rss_bytes} at the end, "
                f"{self.before.rss_bytes} at the start"
            )
        if self.most_engines > MAX_MODELS:
            found.append(f"{self.most_engines} engines at once, at most {MAX_MODELS} may be")
        if not self.chat.loads or not self.others.loads:
            found.append("no model was loaded for a request: the models did not take turns")
        alone_s, beside_s = p95(self.alone.gaps_s), p95(self.chat.gaps_s)
        if beside_s > CAP * alone_s:
            found.append(
                f"the chat's p95 between two tokens: {1e3 * beside_s:.1f} ms beside the others, "
                f"{1e3 * alone_s:.1f} ms alone, at most {CAP:g} times that is allowed"
            )
        return found


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; 0 of nothing."""
    return percentile(sorted(values), 95) if values else 0.0


async def ask(client: AsyncClient, request: GenerateRequest, seen: Seen) -> None:
    """One request to its end. A loss is noted, not raised."""
    began_s = last_s = time.perf_counter()
    wanted = request.sampling.max_tokens or 0
    got, waited, has_loaded = 0, False, False
    try:
        async with asyncio.timeout(_REQUEST_S), aclosing(client.events(request)) as events:
            async for event in events:
                now_s = time.perf_counter()
                match event:
                    case Loading():
                        waited = has_loaded = True
                    case Tokens() if event.ids:
                        if not got:
                            seen.first_s.append(now_s - began_s)
                        elif not has_loaded:
                            seen.gaps_s.append(now_s - last_s)
                        got, last_s, has_loaded = got + len(event.ids), now_s, False
                    case Failed():
                        seen.lost.append(f"{request.model}: {event.code}: {event.message}")
                        return
                    case Done() if event.finish_reason != "length":
                        seen.lost.append(f"{request.model}: ended by {event.finish_reason}")
                    case _:
                        pass
    except (TimeoutError, UmadError) as error:
        seen.lost.append(f"{request.model}: {error or 'took too long'}")
        return
    if got != wanted:
        seen.lost.append(f"{request.model}: {got} of {wanted} tokens")
    seen.requests += 1
    seen.tokens += got
    seen.loads += waited


async def use(
    socket_path: Path,
    lane: str,
    prompts: Prompts,
    *,
    ends_s: float,
    seen: Seen,
    name: str,
) -> None:
    """One app: it asks a model, reads, thinks, and asks the next."""
    chance = random.Random()
    options = ClientOptions(name=name, tells_loading=True)
    async with AsyncClient(socket_path, options=options) as client:
        while time.perf_counter() < ends_s:
            prompt = prompts.draw(chance.randint(*_PROMPT_TOKENS))
            request = greedy(prompt, chance.randint(*_ANSWER_TOKENS))
            request = dataclasses.replace(request, model=chance.choice(NAMES), lane=lane, app=name)
            await ask(client, request, seen)
            await asyncio.sleep(chance.uniform(*_THINK_S))


class Chat:
    """The interactive app, in a process of its own, which starts at once and then waits."""

    def __init__(self, tokens: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, its_end = spawn.Pipe()
        self._process = spawn.Process(target=_chat, args=(its_end, tokens), daemon=True)
        self._process.start()
        its_end.close()

    async def use(self, daemon: UmadDaemon, seconds: float) -> Seen:
        """Let it chat for so long."""
        self._pipe.send((daemon.socket_path, seconds))
        bound_s = seconds + 2 * _REQUEST_S
        if not await asyncio.to_thread(self._pipe.poll, bound_s):
            raise BenchError(f"the chat has not ended after {bound_s:.0f} s")
        seen: Seen = self._pipe.recv()
        return seen

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _chat(pipe: "multiprocessing.connection.Connection", tokens: int) -> None:
    """The chat's process: it serves its pipe until it is killed."""
    os.setsid()  # beside other sessions, not behind the one that measures
    prompts = Prompts(tokens, seed=random.randrange(2**32))
    while True:
        socket_path, seconds = pipe.recv()
        seen = Seen()
        asked = use(
            socket_path,
            "interactive",
            prompts,
            ends_s=time.perf_counter() + seconds,
            seen=seen,
            name="several-chat",
        )
        asyncio.run(asked)
        pipe.send(seen)


async def calm(daemon: UmadDaemon, client: AsyncClient) -> Held:
    """What is held once as many engines are there as may be, and nothing runs."""
    ends_s = time.perf_counter() + _CALM_S
    while time.perf_counter() < ends_s:
        rows = await client.models()
        states = [str(row["state"]) for row in rows]
        is_at_rest = all(state in ("ready", "suspended") for state in states)
        if is_at_rest and states.count("ready") == MAX_MODELS and not await client.sessions():
            break
        await asyncio.sleep(0.2)
    process = psutil.Process(daemon.pid)
    return Held(
        processes=len(process.children(recursive=True)),
        descriptors=process.num_fds(),
        rss_bytes=process.memory_info().rss,
    )


async def _several(
    daemon: UmadDaemon,
    chat_app: Chat,
    seconds: float,
    prompts: Prompts,
    progress: Callable[[str], None],
) -> Outcome:
    async with AsyncClient(daemon.socket_path) as watcher:
        # All three were loaded once, so that what they leave behind is there from the start.
        for name in NAMES:
            warm_up = Seen()
            request = dataclasses.replace(greedy([1, 2, 3], 2), model=name)
            await ask(watcher, request, warm_up)
            if warm_up.lost:
                raise BenchError(warm_up.lost[0])
        before = await calm(daemon, watcher)
        alone, chat, others, most = Seen(), Seen(), Seen(), [0]
        for left_s in spans(seconds):
            progress("the chat alone")
            alone.add(await chat_app.use(daemon, min(_ALONE_S, left_s)))
            watching = asyncio.create_task(_watch(daemon, others, most, progress))
            try:
                chat.add(await _beside(daemon, chat_app, left_s, prompts, others))
            finally:
                watching.cancel()
        progress("calming down")
        after = await calm(daemon, watcher)
    return Outcome(
        alone=alone,
        chat=chat,
        others=others,
        before=before,
        after=after,
        most_engines=most[0],
    )


def spans(seconds: float) -> list[float]:
    """Equal spans of about `_BESIDE_S` that take `seconds` together."""
    n = max(1, round(seconds / _BESIDE_S))
    return [seconds / n] * n


async def _beside(
    daemon: UmadDaemon, chat_app: Chat, seconds: float, prompts: Prompts, others: Seen
) -> Seen:
    """Let all apps work for so long; return what the chat has seen."""
    ends_s = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        chatting = group.create_task(chat_app.use(daemon, seconds))
        for one in range(1, N_APPS):
            app = use(
                daemon.socket_path,
                "background",
                prompts,
                ends_s=ends_s,
                seen=others,
                name=f"several-{one}",
            )
            group.create_task(app)
    return chatting.result()


async def _watch(
    daemon: UmadDaemon, others: Seen, most: list[int], progress: Callable[[str], None]
) -> None:
    began_s = time.perf_counter()
    while True:
        most[0] = max(most[0], len(engines(daemon)))
        progress(
            f"{time.perf_counter() - began_s:.0f} s  {others.requests} requests  "
            f"{len(others.lost)} lost"
        )
        await asyncio.sleep(0.25)


def report(outcome: Outcome) -> list[str]:
    """Lines for a person."""
    lines = []
    for name, seen in (
        ("chat alone", outcome.alone),
        ("chat", outcome.chat),
        ("three others", outcome.others),
    ):
        lines.append(
            f"{name}: {seen.requests} requests, {seen.tokens} tokens, {len(seen.lost)} lost, "
            f"{seen.loads} waited for a load; between two tokens p95 "
            f"{1e3 * p95(seen.gaps_s):.1f} ms; first token p95 {p95(seen.first_s):.2f} s"
        )
    held = [
        f"{one.name} {getattr(outcome.before, one.name)} → {getattr(outcome.after, one.name)}"
        for one in dataclasses.fields(Held)
    ]
    return [*lines, f"before and after: {', '.join(held)}; {outcome.most_engines} engines at most"]


def copies(path: Path) -> Path:
    """A folder with the model under three names."""
    folder = cache.folder("several")
    for name in NAMES:
        copy = folder / f"{name}.gguf"
        if not copy.exists() or copy.stat().st_size != path.stat().st_size:
            shutil.copyfile(path, copy)
    return folder


def run(options: argparse.Namespace, console: Console) -> None:
    """Runs and judges."""
    path = models.path(options.model)
    folder = copies(path)
    daemon = UmadDaemon(
        DaemonSettings(
            model=folder / f"{NAMES[0]}.gguf",
            streams=4,
            stream_context_tokens=_CONTEXT_TOKENS,
            threads=options.threads,
            log_name="several",
            extra=("--max-models", str(MAX_MODELS), "--model-folder", str(folder)),
            apart=True,
        )
    )
    tokens = models.text_tokens(path)
    prompts = Prompts(tokens, seed=random.randrange(2**32))
    chat_app = Chat(tokens)
    try:
        with running.started([daemon]), precedence.aside(), console.status("") as status:
            outcome = asyncio.run(
                _several(daemon, chat_app, 60 * options.minutes, prompts, status.update)
            )
    finally:
        chat_app.close()
    for line in report(outcome):
        console.print(line, highlight=False, markup=False)
    complaints = outcome.complaints()
    document = dataclasses.asdict(outcome)
    command.write(options, {"benchmark": "several", **document, "complaints": complaints})
    if complaints:
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        raise BenchError(f"{complaints[0]}{more}; the daemon's log: {daemon.log_path}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("several", __doc__, model="nano")
    parser.add_argument("--minutes", type=command.seconds, default=5.0)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
