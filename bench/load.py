"""Loads a contender as its users would: people at editors, and one job that never ends.

Each interactive client sends a prompt, reads all of the answer, thinks, and sends the next. The
background client sends long prompts one after another. Every client has a connection of its own,
and all run on one loop. When a window's time is over, running requests are cancelled.
Not: figures (`bench.latency`), order and repetition (`bench.mixed`).
Owner: the process that measures; everything blocks, with a time limit.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Protocol

from bench.errors import BenchError
from bench.exchange import Connection, Exchange
from bench.latency import Trace, first_token_ms, since
from bench.prompts import Prompts
from umad.request import BACKGROUND, INTERACTIVE

# A server that was cut off in a long batch finishes it before it sees anything else.
_SETTLE_S = 180.0
# Where in a long prefill somebody arrives: not at its edges.
_ARRIVES = (0.2, 0.6)
_ATTEMPTS = 3
# An answer is under way with so many messages; it is looked at so often until then.
_BEGUN, _LOOK_S = 4, 0.02


class Target(Protocol):
    """Something that serves; `connect` on the measuring loop, the others block."""

    name: str
    method: str  # how it was run, in one line

    @property
    def pids(self) -> tuple[int, ...]:
        """The running server's processes; all it runs is one of these or below one."""

    def start(self) -> None:
        """Gets ready, model loaded; raises BenchError."""

    async def connect(self, client: int) -> Connection:
        """A connection of client number `client`; the background client has the last number."""

    def stop(self) -> None:
        """Frees everything; may be called without `start` and more than once."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the clients ask for."""

    clients: int
    prompt_tokens: int
    tokens: int
    think_s: float
    background_prompt_tokens: int
    background_tokens: int
    # A client thinks for up to this share of `think_s` less or more. With 0, clients whose answers
    # end together ask together for ever.
    think_spread: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one window's clients saw; times of `time.perf_counter_ns`."""

    opened_ns: int
    closed_ns: int
    interactive: tuple[Trace, ...]
    background: tuple[Trace, ...]


def window(
    target: Target, load: Load, prompts: Prompts, *, seconds: float, background: bool
) -> Window:
    """Interactive clients for `seconds`, with the background client beside them or without."""
    return asyncio.run(_window(target, load, prompts, seconds=seconds, background=background))


def answering(
    target: Target, load: Load, prompts: Prompts, *, seconds: float, background: bool
) -> Window:
    """Each interactive client reads one answer all the time, which began before the window. The
    background client begins with the window. So no prompt of a client is in what others wait for.
    """
    return asyncio.run(_answering(target, load, prompts, seconds=seconds, background=background))


def background_alone(target: Target, load: Load, prompts: Prompts, *, seconds: float) -> Window:
    """Whole long prompts one after another, until `seconds` are over and the last one is done."""
    return asyncio.run(_background_alone(target, load, prompts, seconds))


def warm_up(target: Target, load: Load, prompts: Prompts) -> float:
    """One request of each kind, alone; the long prompt's seconds to its first token."""
    return asyncio.run(_warm_up(target, load, prompts))


def arrival_ms(
    target: Target, load: Load, prompts: Prompts, *, prefill_s: float
) -> tuple[float, float]:
    """First-token time of a short request: idle, then sent in the middle of a long prefill."""
    return asyncio.run(_arrival_ms(target, load, prompts, prefill_s))


async def _window(
    target: Target, load: Load, prompts: Prompts, *, seconds: float, background: bool
) -> Window:
    interactive: list[Exchange] = []
    long: list[Exchange] = []
    async with contextlib.AsyncExitStack() as stack:
        # The background client is the last one, and only there where it has something to do.
        connections = [
            await stack.enter_async_context(_connected(target, client))
            for client in range(load.clients + background)
        ]
        opened_ns = time.perf_counter_ns()
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for index, connection in enumerate(connections[: load.clients]):
                    # Spread over one think time, so that the clients do not walk in step.
                    later_s = load.think_s * index / load.clients
                    group.create_task(_interactive(connection, load, prompts, interactive, later_s))
                if background:
                    group.create_task(_background(connections[-1], load, prompts, long))
        except TimeoutError:
            closed_ns = time.perf_counter_ns()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        # Any connection reads any exchange of its kind, and there may be no interactive client.
        seen = tuple(connections[-1].trace(exchange) for exchange in interactive)
        seen_long = tuple(connections[-1].trace(exchange) for exchange in long)
    await _settle(target, load, prompts, clients=load.clients + background)
    return Window(opened_ns=opened_ns, closed_ns=closed_ns, interactive=seen, background=seen_long)


async def _answering(
    target: Target, load: Load, prompts: Prompts, *, seconds: float, background: bool
) -> Window:
    long: list[Exchange] = []
    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(_connected(target, client))
            for client in range(load.clients + background)
        ]
        running = []
        async with _bounded(_SETTLE_S):
            for connection in connections[: load.clients]:
                prompt = prompts.draw(load.prompt_tokens)
                exchange = await connection.send(prompt, tokens=load.tokens, lane=INTERACTIVE)
                running.append((connection, exchange))
            # An exchange only stores what comes, so that it costs little; nothing tells of it.
            while any(len(one.trace(exchange).arrivals) < _BEGUN for one, exchange in running):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_S)
        opened_ns = time.perf_counter_ns()
        asking = None
        if background:
            asking = asyncio.create_task(_background(connections[-1], load, prompts, long))
        await asyncio.sleep(seconds)
        closed_ns = time.perf_counter_ns()
        if asking is not None:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
        seen = tuple(one.trace(exchange) for one, exchange in running)
        seen_long = tuple(connections[-1].trace(exchange) for exchange in long)
    if any(trace.ended for trace in seen):
        raise BenchError(f"{target.name} ended an answer within the window: give it more tokens")
    await _settle(target, load, prompts, clients=load.clients + background)
    return Window(
        opened_ns=opened_ns,
        closed_ns=closed_ns,
        interactive=tuple(since(trace, opened_ns) for trace in seen),
        background=seen_long,
    )


async def _background_alone(target: Target, load: Load, prompts: Prompts, seconds: float) -> Window:
    exchanges: list[Exchange] = []
    async with _connected(target, load.clients) as connection:
        opened_ns = time.perf_counter_ns()
        closes_ns = opened_ns + int(seconds * 1e9)
        async with _bounded(seconds + _SETTLE_S):
            while time.perf_counter_ns() < closes_ns:
                await _long(connection, load, prompts, exchanges)
        closed_ns = time.perf_counter_ns()
        traces = tuple(connection.trace(exchange) for exchange in exchanges)
    return Window(opened_ns=opened_ns, closed_ns=closed_ns, interactive=(), background=traces)


async def _warm_up(target: Target, load: Load, prompts: Prompts) -> float:
    await _settle(target, load, prompts, clients=load.clients + 1)
    async with _connected(target, load.clients) as connection, _bounded(2 * _SETTLE_S):
        await _short(connection, load, prompts, [], load.tokens)
        exchange = await _long(connection, load, prompts, [])
        return first_token_ms(connection.trace(exchange)) / 1000


async def _arrival_ms(
    target: Target, load: Load, prompts: Prompts, prefill_s: float
) -> tuple[float, float]:
    for _ in range(_ATTEMPTS):
        async with _connected(target, 0) as short, _connected(target, load.clients) as long:
            async with _bounded(_SETTLE_S):
                idle = await _short(short, load, prompts, [], load.background_tokens)
                running = await long.send(
                    prompts.draw(load.background_prompt_tokens),
                    tokens=load.background_tokens,
                    lane=BACKGROUND,
                )
                await asyncio.sleep(prefill_s * prompts.between(*_ARRIVES))
                busy = await _short(short, load, prompts, [], load.background_tokens)
            arrivals = long.trace(running).arrivals
            figures = (first_token_ms(short.trace(idle)), first_token_ms(short.trace(busy)))
        await _settle(target, load, prompts, clients=load.clients + 1)
        if not arrivals or arrivals[0].at_ns > busy.sent_ns:
            return figures
    raise BenchError(
        f"{target.name} was done with its prompt before anybody arrived; give more"
        " --background-prompt-tokens"
    )


async def _interactive(
    connection: Connection,
    load: Load,
    prompts: Prompts,
    exchanges: list[Exchange],
    later_s: float,
) -> None:
    await asyncio.sleep(later_s)
    while True:
        await _short(connection, load, prompts, exchanges, load.tokens)
        share = prompts.between(-load.think_spread, load.think_spread)
        await asyncio.sleep(load.think_s * (1 + share))


async def _background(
    connection: Connection, load: Load, prompts: Prompts, exchanges: list[Exchange]
) -> None:
    while True:
        await _long(connection, load, prompts, exchanges)


async def _short(
    connection: Connection,
    load: Load,
    prompts: Prompts,
    exchanges: list[Exchange],
    tokens: int,
) -> Exchange:
    prompt = prompts.draw(load.prompt_tokens)
    exchange = await connection.send(prompt, tokens=tokens, lane=INTERACTIVE)
    exchanges.append(exchange)
    await exchange.ended
    return exchange


async def _long(
    connection: Connection, load: Load, prompts: Prompts, exchanges: list[Exchange]
) -> Exchange:
    prompt = prompts.draw(load.background_prompt_tokens)
    exchange = await connection.send(prompt, tokens=load.background_tokens, lane=BACKGROUND)
    exchanges.append(exchange)
    await exchange.ended
    return exchange


async def _settle(target: Target, load: Load, prompts: Prompts, *, clients: int) -> None:
    """Returns when nothing of what was cut off is still computed: short requests came through."""
    for client in range(clients):
        async with _connected(target, client) as connection, _bounded(_SETTLE_S):
            await _short(connection, load, prompts, [], 1)


@contextlib.asynccontextmanager
async def _connected(target: Target, client: int) -> AsyncIterator[Connection]:
    connection = await target.connect(client)
    try:
        yield connection
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise BenchError(f"no answer within {seconds:.0f} s") from error
