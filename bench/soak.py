"""Runs a crowd that misbehaves, for as long as asked, and checks that nothing is lost or left.

64 clients with mixed lanes send prompts of all lengths to one daemon, cancel, hang up and change
lanes at random (`bench.soak_clients`), while the engine is killed twice. At the end three things
must hold. Every request has got its due. An answer that left the reference has left it at a near
tie (`bench.soak_forks`). The quiet daemon holds what it held before: no cell, no session, no
descriptor, no memory beyond what a first crowd of a few seconds left.

The guard is watched outside the restarts and reported. The crowd, one process in the place of 64
apps, runs at a lower priority than daemon and engine, or its load would leave them short of cores.
Fails with exit code 1 on any loss. Not a measurement of speed.
"""

import argparse
import asyncio
import dataclasses
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Console

from bench import command, models, precedence, running
from bench.errors import BenchError
from bench.prompts import Prompts
from bench.soak_clients import Midway, Question, Tally, ask, live
from bench.soak_forks import Ties, ask_about
from bench.soak_holdings import Held, calm, engines
from bench.umad_daemon import DaemonSettings, UmadDaemon
from umad.client import AsyncClient

# With Q8_0 weights and cache a CPU computes the same bits however tokens are batched
# (bench/determinism.py), so that few answers differ from the reference.
_EXACT = ("--kv-type", "q8")
_PROMPTS_TOKENS = (8, 20, 33, 50, 64, 90, 130, 200, 300, 450, 600, 900)
_ANSWERS_TOKENS = (16, 32, 48)
_CELLS_A_CLIENT = 320  # less than all clients could use at once: some have to wait
_REQUEST_S = 120.0
_SAMPLE_S = 1.0
_WINDOW_S = 30.0  # the scorecard's
_BEYOND_CAP_PCT = 5.0  # what a p95 leaves
# Allocators keep what they had: what grows with time grows beyond this.
_GROWN = 1.25
_GROWN_BYTES = 16 * 2**20

Sample = tuple[float, float | None, float | None]


@dataclasses.dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything the verdict needs. guard: of a hundred, sampled outside restarts, interactive gaps
    beyond the cap, the same of those whose step carried nothing else, and time that the engine's
    threads waited for a core; None where there was nothing of the kind."""

    tally: Tally
    kills: int
    restarts: int
    before: Held
    after: Held
    guard: list[Sample]
    ties: Ties

    def complaints(self) -> list[str]:
        """Why the soak failed; empty when it did not."""
        found = [*self.tally.lost, *self.ties.wrong]
        if self.restarts != self.kills:
            found.append(f"{self.kills} engines were killed, {self.restarts} restarts counted")
        if not self.tally.done[Midway.NOTHING]:
            found.append("not one request that was let be has ended")
        for name in ("cells", "sessions", "descriptors"):
            was, left = getattr(self.before, name), getattr(self.after, name)
            if left > was:
                found.append(f"{name}: {left} at the end, {was} at the start")
        for name in ("rss_bytes", "engine_rss_bytes"):
            was, left = getattr(self.before, name), getattr(self.after, name)
            if left > max(was * _GROWN, was + _GROWN_BYTES):
                found.append(f"{name}: {left} at the end, {was} at the start")
        return found


def soak(
    daemon: UmadDaemon,
    *,
    clients: int,
    seconds: float,
    kills: int,
    prompts: Prompts,
    progress: Callable[[str], None],
) -> Outcome:
    """Blocks for `seconds` and what warming up and calming down take."""
    return asyncio.run(_soak(daemon, clients, seconds, kills, prompts, progress))


async def _soak(
    daemon: UmadDaemon,
    clients: int,
    seconds: float,
    kills: int,
    prompts: Prompts,
    progress: Callable[[str], None],
) -> Outcome:
    async with AsyncClient(daemon.socket_path) as watcher:
        progress("answers on the quiet daemon")
        questions = await _questions(watcher, prompts)
        progress("a first crowd")
        warm_up = Tally()
        await _crowd(daemon, clients, questions, seconds=min(10.0, seconds), tally=warm_up)
        if warm_up.lost:
            raise BenchError(f"lost before anything was killed: {warm_up.lost[0]}")
        before = await calm(daemon, watcher)
        restarts_before = int((await watcher.metrics())["restarts"])
        tally, guard, killed_s = Tally(), list[Sample](), list[float]()
        helpers = [
            asyncio.create_task(_kill(daemon, kills, seconds, killed_s)),
            asyncio.create_task(_watch(watcher, guard, killed_s, tally, progress)),
        ]
        try:
            await _crowd(daemon, clients, questions, seconds=seconds, tally=tally)
            await helpers[0]  # the killer ends before the crowd, or says why not
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
        progress("calming down")
        after = await calm(daemon, watcher)
        progress("asking about near ties")
        ties = await ask_about(watcher, warm_up.forks + tally.forks)
        restarts = int((await watcher.metrics())["restarts"]) - restarts_before
    return Outcome(
        tally=tally,
        kills=len(killed_s),
        restarts=restarts,
        before=before,
        after=after,
        guard=guard,
        ties=ties,
    )


async def _questions(client: AsyncClient, prompts: Prompts) -> list[Question]:
    questions = []
    for index, length in enumerate(_PROMPTS_TOKENS):
        prompt = prompts.draw(length)
        wanted = _ANSWERS_TOKENS[index % len(_ANSWERS_TOKENS)]
        answer = await ask(client, prompt, wanted, timeout_s=_REQUEST_S)
        if len(answer) != wanted:
            raise BenchError(f"the quiet daemon gave {len(answer)} of {wanted} tokens")
        questions.append(Question(prompt=tuple(prompt), answer=answer))
    return questions


async def _crowd(
    daemon: UmadDaemon, clients: int, questions: Sequence[Question], *, seconds: float, tally: Tally
) -> None:
    ends_s = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            one = live(daemon.socket_path, number, questions, ends_s=ends_s, tally=tally)
            group.create_task(one)


async def _kill(daemon: UmadDaemon, kills: int, seconds: float, killed_s: list[float]) -> None:
    """Spread over the time, with as much before the first as after the last."""
    for _ in range(kills):
        await asyncio.sleep(seconds / (kills + 1))
        running = engines(daemon)
        if not running:
            raise BenchError("the engine has not come back since it was killed")
        os.kill(running[0].pid, signal.SIGKILL)
        killed_s.append(time.perf_counter())


async def _watch(
    client: AsyncClient,
    guard: list[Sample],
    killed_s: Sequence[float],
    tally: Tally,
    progress: Callable[[str], None],
) -> None:
    """Samples the scorecard; a window with a restart in it says nothing of the guard."""
    began_s = time.perf_counter()
    while True:
        await asyncio.sleep(_SAMPLE_S)
        card = await client.metrics()
        now_s = time.perf_counter()
        beyond_pct = card["over_cap_pct"]
        # A restart is over when its window is: a crash, a load, and the replay of all streams.
        undisturbed = all(now_s - at_s > 2 * _WINDOW_S for at_s in killed_s)
        if beyond_pct is not None and undisturbed and now_s - began_s > _WINDOW_S:
            alone_pct, lost_pct = card["over_cap_alone_pct"], card["cores_lost_pct"]
            guard.append((beyond_pct, alone_pct, lost_pct))
        told = "" if beyond_pct is None else f"  {beyond_pct:.1f} % beyond the cap"
        ended = sum(tally.done.values())
        progress(f"{now_s - began_s:.0f} s  {ended} requests  {len(tally.lost)} lost{told}")


def report(outcome: Outcome) -> list[str]:
    """Lines for a person."""
    tally, guard = outcome.tally, outcome.guard
    did = ", ".join(f"{tally.done[midway]} {midway.value}" for midway in Midway)
    lines = [
        f"{sum(tally.done.values())} requests, {tally.tokens} tokens: {did}",
        f"{outcome.kills} engines killed, {len(tally.lost)} requests lost",
        (
            f"{outcome.ties.answers} answers went on with another token than on the quiet daemon,"
            f" at {outcome.ties.places} places, {len(outcome.ties.wrong)} of them no near tie; the"
            f" widest tie: {outcome.ties.widest:.3f} nats"
        ),
        "before and after: "
        + ", ".join(
            f"{field.name} {getattr(outcome.before, field.name)}"
            f" → {getattr(outcome.after, field.name)}"
            for field in dataclasses.fields(Held)
        ),
    ]
    if guard:
        beyond = [one[0] for one in guard]
        alone, coreless = (
            [pct for pct in column if pct is not None] or [0.0]
            for column in ([one[1] for one in guard], [one[2] for one in guard])
        )
        held = sum(beyond_pct <= _BEYOND_CAP_PCT for beyond_pct in beyond) / len(beyond)
        lines.append(
            f"guard outside restarts: interactive p95 within its cap in {100 * held:.0f} % of"
            f" {len(beyond)} samples; gaps beyond it: median {statistics.median(beyond):.1f} %,"
            f" worst {max(beyond):.1f} %; of steps that carried nothing, median"
            f" {statistics.median(alone):.1f} %; threads without a core"
            f" {statistics.median(coreless):.0f} % of the time"
        )
    else:
        lines.append("guard: too short a soak to see it outside restarts")
    return lines


def run(options: argparse.Namespace, console: Console) -> None:
    """Soaks, prints, and raises BenchError for anything lost or left."""
    path = models.path(options.model)
    daemon = UmadDaemon(
        DaemonSettings(
            model=path,
            streams=options.clients,
            stream_context_tokens=_CELLS_A_CLIENT,
            threads=options.threads,
            log_name="umad-soak",
            extra=_EXACT,
            apart=True,
        )
    )
    with running.started([daemon]), precedence.aside(), console.status("") as status:
        outcome = soak(
            daemon,
            clients=options.clients,
            seconds=60 * options.minutes,
            kills=options.kills,
            prompts=Prompts(models.text_tokens(path), seed=random.randrange(2**32)),
            progress=status.update,
        )
    for line in report(outcome):
        console.print(line, highlight=False, markup=False)
    complaints = outcome.complaints()
    # The verdict on forks is in `ties`.
    tally = dataclasses.replace(outcome.tally, forks=Counter())
    document = dataclasses.asdict(dataclasses.replace(outcome, tally=tally))
    document["tally"]["done"] = {each.value: outcome.tally.done[each] for each in Midway}
    command.write(options, {"benchmark": "soak", **document, "complaints": complaints})
    if complaints:
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        raise BenchError(f"{complaints[0]}{more}; the daemon's log: {daemon.log_path}")


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("soak", __doc__, model="nano")
    add = parser.add_argument
    add("--minutes", type=command.seconds, default=10.0)
    add("--clients", type=command.positive, default=64)
    add("--kills", type=int, choices=range(3), default=2, help="three would stop the model")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
