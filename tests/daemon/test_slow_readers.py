"""Clients that do not read: paused alone, told apart in the books, cut off in the end."""

import asyncio

import pytest

from tests.daemon.house import Serve, asks, run, standstill, tokens_of, until, wire_has_arrived
from umad.clock import MonotonicClock
from umad.daemon import completions, session
from umad.protocol.messages import Metrics, Ping, Sessions
from umad.testing import FakeModel


def test_a_slow_reader_is_paused_alone_and_gets_every_token_later(serve: Serve) -> None:
    async def test() -> None:
        n = 20_000
        async with serve(FakeModel(pace_ms=0), send_queue_bytes=4096, max_tokens=n) as house:
            slow, quick, observer = [await house.connect() for _ in range(3)]
            slow.stop_reading()
            slow.send(asks(1, seed=1, max_tokens=n))

            async def is_paused() -> bool:
                rows = await observer.ask(Sessions(id=1))
                return [row["state"] for row in rows] == ["paused"]

            await until(is_paused)
            stream = await quick.stream(asks(1, seed=2, max_tokens=50))
            assert stream.ids == tokens_of(2, 50)
            assert 0 < await standstill(observer) < n

            slow.read_on()
            late = (await slow.collect(1))[1]

            assert late.ids == tokens_of(1, n)

    run(test())


class LeapingClock:
    """The machine's, ahead by what a test adds: a wait of seconds that nobody has to wait for."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def now_ns(self) -> int:
        return MonotonicClock().now_ns() + self.ahead_ns


def test_the_time_in_which_a_client_does_not_read_is_no_wait_of_the_daemons_making(
    serve: Serve,
) -> None:
    async def test() -> None:
        n, clock = 20_000, LeapingClock()
        async with serve(
            FakeModel(pace_ms=0), clock=clock, send_queue_bytes=4096, max_tokens=n
        ) as house:
            slow, observer = await house.connect(), await house.connect()
            slow.stop_reading()
            slow.send(asks(1, seed=1, max_tokens=n))

            async def is_paused() -> bool:
                rows = await observer.ask(Sessions(id=1))
                return [row["state"] for row in rows] == ["paused"]

            await until(is_paused)
            await standstill(observer)
            clock.ahead_ns += 20_000_000_000
            slow.read_on()
            await slow.collect(1)

            felt = (await observer.ask(Metrics(id=2)))["lanes"]["interactive"]
            assert felt["tokens"] > 0
            assert felt["max_ms"] < 20_000

    run(test())


def test_a_client_that_does_not_read_for_minutes_is_cut_off(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "UNREAD_S", 0.2)

    async def test() -> None:
        n = 20_000
        async with serve(FakeModel(pace_ms=0), send_queue_bytes=4096, max_tokens=n) as house:
            slow, observer = await house.connect(), await house.connect()
            slow.stop_reading()
            slow.send(asks(1, max_tokens=n))

            async def has_begun() -> bool:
                return bool(await observer.ask(Sessions(id=1)))

            async def is_gone() -> bool:
                return not await observer.ask(Sessions(id=1))

            await until(has_begun)
            await until(is_gone)

            assert await observer.ask(Ping(id=2)) is None

    run(test())


def test_a_request_made_while_the_client_does_not_read_waits_for_it(serve: Serve) -> None:
    async def test() -> None:
        n = 20_000
        async with serve(FakeModel(pace_ms=0), send_queue_bytes=4096, max_tokens=n) as house:
            slow, observer = await house.connect(), await house.connect()
            slow.stop_reading()
            slow.send(asks(1, seed=1, max_tokens=n))

            async def paused() -> int:
                rows = await observer.ask(Sessions(id=1))
                return sum(row["state"] == "paused" for row in rows)

            async def one_is_paused() -> bool:
                return await paused() == 1

            async def both_are_paused() -> bool:
                return await paused() == 2

            await until(one_is_paused)
            slow.send(asks(2, seed=2, max_tokens=3))
            await until(both_are_paused)
            slow.read_on()
            streams = await slow.collect(1, 2)

            assert streams[1].ids == tokens_of(1, n)
            assert streams[2].ids == tokens_of(2, 3)

    run(test())


def test_a_client_that_asks_on_without_ever_reading_is_cut_off(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), send_queue_bytes=1024) as house:
            deaf, observer = await house.connect(), await house.connect()
            deaf.stop_reading()
            deaf.send(asks(1, max_tokens=2000))

            ping = [Ping(id=i) for i in range(2, 500)]
            for _ in range(200):
                if not deaf.is_closed:
                    deaf.send(*ping)
                await asyncio.sleep(0)

            async def is_gone() -> bool:
                return not await observer.ask(Sessions(id=1))

            await until(is_gone)

    run(test())


def test_who_does_not_read_may_not_ask_for_ever_more(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "MOST_UNREAD", 3)

    async def test() -> None:
        n = 20_000
        async with serve(FakeModel(pace_ms=0), send_queue_bytes=4096, max_tokens=n) as house:
            slow, observer = await house.connect(), await house.connect()
            slow.stop_reading()
            slow.send(asks(1, seed=1, max_tokens=n))

            async def is_paused() -> bool:
                rows = await observer.ask(Sessions(id=1))
                return [row["state"] for row in rows] == ["paused"]

            await until(is_paused)
            slow.send(*[asks(at, seed=at, max_tokens=2) for at in range(2, 5)])
            await wire_has_arrived(house)
            assert len(await observer.ask(Sessions(id=2))) == 3
            slow.read_on()
            streams = await slow.collect(1, 2, 3, 4)

            assert [streams[at].ids for at in (2, 3)] == [tokens_of(2, 2), tokens_of(3, 2)]
            failed = streams[4].failed
            assert failed is not None
            assert (failed.code, failed.retryable) == ("queue_full", True)

    run(test())
