"""Checks in a minute on nano that the ratios umad exists for still hold: `make bench-check`.

It ends with exit code 1 when one does not. Each check is a count, or a ratio within one attempt.
Its bound lies away from the usual value, and far from the value of a lost guard, cache or batch. So
it holds on a noisy machine of two cores. A check that fails in a busy moment gets another attempt,
up to three in all. llama-server is compared only where it has been built (`python -m bench.peers`).
CPU time is not compared with it, because its threads spin while others have the cores, and then the
figure means nothing. Not a measurement to publish: `python -m bench mixed` and its like are.
"""

import argparse
import asyncio
import dataclasses
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from bench import command, models, peers, running
from bench import load as loading
from bench.company import background_tokens_per_wait
from bench.errors import BenchError
from bench.latency import Felt, felt, percentile
from bench.load import Load, Target, Window
from bench.prompts import Prompts
from bench.targets import Room, ServerTarget, UmadTarget
from bench.umad_daemon import greedy
from umad.client import AsyncClient, Client
from umad.service import Done, Tokens

_ATTEMPTS = 3
_WINDOW_S = 2.5
_CONTEXT_TOKENS = 4096
_MIXED = Load(
    clients=3,
    prompt_tokens=60,
    tokens=48,
    think_s=0.1,
    background_prompt_tokens=3000,
    background_tokens=4,
)
_APPS = dataclasses.replace(_MIXED, clients=4, think_s=0.0)
_TURN_TOKENS, _ANSWER_TOKENS, _OTHERS, _OTHER_TOKENS = 1000, 16, 20, 300
_REQUEST_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio or a count and how far it may go. least: the bound is the least it may be."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def holds(self) -> bool:
        """Within its bound."""
        return self.value >= self.bound if self.least else self.value <= self.bound


class Bench:
    """The running contenders, and what is measured on them; everything blocks."""

    def __init__(
        self, room: Room, umad: UmadTarget, server: Target | None, prompts: Prompts
    ) -> None:
        self._room = room
        self._umad = umad
        self._server = server
        self._prompts = prompts

    def company(self) -> list[Figure]:
        """Interactive clients beside long prompts, against themselves alone."""
        alone, _ = self._window(self._umad, background=False)
        beside, seen = self._window(self._umad, background=True)
        tokens = background_tokens_per_wait(seen.interactive, seen.background)
        computed = sum(trace.prompt[-1].tokens for trace in seen.background if trace.prompt)
        found = [
            # A slice is some 60 tokens here, a whole prompt 3,000.
            Figure(
                name="background tokens computed in a wait, p99",
                value=percentile(tokens, 99),
                bound=256,
            ),
            Figure(name="p99 beside against alone", value=beside.p99_ms / alone.p99_ms, bound=3.0),
            Figure(
                name="longest wait beside against alone",
                value=beside.longest_ms / alone.longest_ms,
                bound=4.0,
            ),
            Figure(
                name="interactive tokens/s beside against alone",
                value=beside.tokens_per_s / alone.tokens_per_s,
                bound=0.5,
                least=True,
            ),
            Figure(name="background tokens computed", value=computed, bound=1, least=True),
        ]
        if self._server is not None:
            found.append(
                Figure(
                    name="p99 beside against llama-server's",
                    value=beside.p99_ms / self._server_p99_ms(self._server),
                    bound=0.6,
                )
            )
        return found

    def copies(self) -> list[Figure]:
        """Counted since the daemon began, so nothing is asked for it."""
        with Client(self._umad.socket_path) as client:
            ratio = float(client.metrics()["copy_free_ratio"])
        return [
            Figure(name="tokens sampled without a copy", value=ratio, bound=0.99, least=True),
        ]

    def batching(self) -> list[Figure]:
        """Bytes a token moves, four apps against one: what sharing a step's weights is worth.

        Counted, not timed; each on a daemon of its own, for the scorecard looks back.
        """
        alone, shared = (self._mb_per_token(apps) for apps in (1, 4))
        name = "MB moved for a token, four apps against one"
        return [Figure(name=name, value=shared / alone, bound=0.6)]

    def conversation(self) -> list[Figure]:
        """How much of a conversation its second turn finds again, after twenty others."""
        return [
            Figure(
                name="second turn's prompt found again",
                value=asyncio.run(self._second_turn()),
                bound=0.95,
                least=True,
            )
        ]

    def _window(self, target: Target, *, background: bool) -> tuple[Felt, Window]:
        seen = loading.window(
            target, _MIXED, self._prompts, seconds=_WINDOW_S, background=background
        )
        return felt(seen.interactive, opened_ns=seen.opened_ns, closed_ns=seen.closed_ns), seen

    def _mb_per_token(self, apps: int) -> float:
        load = dataclasses.replace(_APPS, clients=apps)
        umad = UmadTarget(None, self._room)
        try:
            umad.start()
            loading.window(umad, load, self._prompts, seconds=_WINDOW_S, background=False)
            with Client(umad.socket_path) as client:
                return float(client.metrics()["sum_bmt_mb_per_token"])
        finally:
            umad.stop()

    def _server_p99_ms(self, server: Target) -> float:
        try:
            return self._window(server, background=True)[0].p99_ms
        except BenchError:  # in all of the window no stream got two tokens
            return _WINDOW_S * 1000

    async def _second_turn(self) -> float:
        async with AsyncClient(self._umad.socket_path) as client:
            first = self._prompts.draw(_TURN_TOKENS)
            answer, _ = await self._answer(client, first)
            for _ in range(_OTHERS):
                await self._answer(client, self._prompts.draw(_OTHER_TOKENS))
            before = [*first, *answer]
            _, cached = await self._answer(client, [*before, *self._prompts.draw(40)])
        return cached / len(before)

    async def _answer(self, client: AsyncClient, prompt: Sequence[int]) -> tuple[list[int], int]:
        ids: list[int] = []
        async with asyncio.timeout(_REQUEST_S):
            async for event in client.events(greedy(prompt, _ANSWER_TOKENS)):
                if isinstance(event, Tokens):
                    ids += event.ids
                elif isinstance(event, Done):
                    return ids, event.usage.cached_tokens
        raise BenchError("a turn of the conversation failed; the daemon's log says why")


def attempts(measure: Callable[[], list[Figure]]) -> list[Figure]:
    """Each figure at its first attempt within its bound, else at its last."""
    kept: dict[str, Figure] = {}
    for _ in range(_ATTEMPTS):
        for figure in measure():
            if figure.name not in kept or not kept[figure.name].holds:
                kept[figure.name] = figure
        if all(figure.holds for figure in kept.values()):
            break
    return list(kept.values())


def table(figures: Sequence[Figure]) -> Table:
    """To print."""
    drawn = Table(title="ratios on nano", title_justify="left")
    for name in ("", "measured", "bound"):
        drawn.add_column(name, justify="right" if name else "left")
    for figure in figures:
        sign = ">=" if figure.least else "<="
        mark = "" if figure.holds else "  LOST"
        drawn.add_row(figure.name, f"{figure.value:.3g}{mark}", f"{sign} {figure.bound:g}")
    return drawn


def run(options: argparse.Namespace, console: Console) -> None:
    """Measures, prints, and raises BenchError for a ratio that is lost."""
    path = models.path(options.model)
    built = peers.built()
    room = Room(
        model=path,
        threads=options.threads,
        streams=_APPS.clients,
        stream_context_tokens=_CONTEXT_TOKENS,
    )
    umad = UmadTarget(built, room)
    server = None if built is None else ServerTarget(built, room)
    targets: list[Target] = [umad] if server is None else [umad, server]
    prompts = Prompts(models.text_tokens(path), seed=0)
    figures: list[Figure] = []
    with running.started(targets):
        for target in targets:
            loading.warm_up(target, _MIXED, prompts)
        bench = Bench(room, umad, server, prompts)
        parts = (bench.company, bench.conversation, bench.batching, bench.copies)
        with console.status("") as status:
            for part in parts:
                status.update(part.__name__)
                figures += attempts(part)
    console.print(table(figures))
    if server is None:
        console.print("llama-server is not built, so nothing was held against it", style="dim")
    plain = [dataclasses.asdict(figure) | {"holds": figure.holds} for figure in figures]
    command.write(options, {"benchmark": "check", "figures": plain})
    if lost := [figure.name for figure in figures if not figure.holds]:
        raise BenchError(f"lost: {'; '.join(lost)}")


def _parser() -> argparse.ArgumentParser:
    return command.parser("check", __doc__, model="nano")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
