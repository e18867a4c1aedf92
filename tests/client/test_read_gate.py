"""When a client leaves its socket alone, and that nobody starves of it."""

import asyncio
from contextlib import aclosing
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.scripted_daemon import Peer, ask, daemon, read_into, run, texts
from umad.client import AsyncClient, ClientOptions
from umad.client.inbox import ReadGate
from umad.errors import LimitExceeded
from umad.protocol.messages import Cancel, Request
from umad.service import Event

PIECE = "x" * 500


class FakeTransport:
    """Records whether it is being read."""

    reading = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return False


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["arrive", "read", "wait", "serve"]), st.integers(1, 60)))
)
def test_the_socket_is_read_whenever_somebody_waits_or_little_lies_unread(
    moves: list[tuple[str, int]],
) -> None:
    transport = FakeTransport()
    gate = ReadGate(cast(asyncio.ReadTransport, transport), limit_bytes=100)
    unread = waiting = 0

    for move, size in moves:
        if move == "arrive" and transport.reading:
            gate.arrived(size)
            unread += size
        elif move == "read" and unread:
            gate.read(min(size, unread))
            unread -= min(size, unread)
        elif move == "wait":
            gate.waits()
            waiting += 1
        elif move == "serve" and waiting:
            gate.served()
            waiting -= 1
        gate.settle()

        if waiting or unread <= 50:
            assert transport.reading
        if unread > 100 and not waiting:
            assert not transport.reading


async def _flood_the_first_and_serve_the_second(peer: Peer) -> None:
    flooded, quick = await peer.hear_generate(), await peer.hear_generate()
    for _ in range(2000):
        peer.say_text(flooded.id, PIECE)
        await peer.writer.drain()
    peer.say_text(quick.id, "quick")
    peer.say_done(quick.id)
    peer.say_done(flooded.id)


def test_a_consumer_that_never_reads_does_not_hold_up_its_neighbour(path: str) -> None:
    async def main() -> tuple[str, list[str]]:
        options = ClientOptions(unread_bytes=10_000)
        async with (
            daemon(path, _flood_the_first_and_serve_the_second),
            AsyncClient(path, options=options) as client,
            aclosing(client.generate(ask("slow"))) as slow,
        ):
            first = asyncio.create_task(anext(slow))
            # The daemon hears the slow request first: it is sent before the other one begins.
            await asyncio.sleep(0)
            quick = await client.complete("quick")
            left = [await first] + [event async for event in slow]
            return quick, texts(left)

    quick, slow = run(main())

    assert quick == "quick"
    assert slow == [PIECE] * 2000


def test_the_daemon_is_slowed_while_nobody_reads_and_nothing_is_lost(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        written = 0
        for at in range(20_000):
            peer.say_text(request.id, f"{at} {PIECE}")
            try:
                async with asyncio.timeout(0.3):
                    await peer.writer.drain()
            except TimeoutError:
                written = at
                break
        stuck_after.append(written)
        stuck.set()
        peer.say_done(request.id)

    async def main() -> list[str]:
        async with (
            daemon(path, script),
            AsyncClient(path, options=ClientOptions(unread_bytes=10_000)) as client,
            aclosing(client.generate(ask())) as events,
        ):
            first = await anext(events)
            await stuck.wait()
            return texts([first] + [event async for event in events])

    stuck_after: list[int] = []
    stuck = asyncio.Event()
    read = run(main())

    # 20,000 pieces are 10 MB; the sockets' buffers and the client's bound hold far less.
    assert 0 < stuck_after[0] < 10_000
    assert read == [f"{at} {PIECE}" for at in range(stuck_after[0] + 1)]


def test_a_request_left_unread_for_too_long_is_given_up_and_its_neighbour_is_not(
    path: str,
) -> None:
    heard: list[Request] = []

    async def script(peer: Peer) -> None:
        flooded, quick = await peer.hear_generate(), await peer.hear_generate()
        for _ in range(200):
            peer.say_text(flooded.id, PIECE)
        heard.append(await peer.hear())
        peer.say_text(quick.id, "quick")
        peer.say_done(quick.id)

    async def main() -> tuple[str, int]:
        options = ClientOptions(unread_bytes=10_000, unread_request_bytes=50_000)
        async with (
            daemon(path, script),
            AsyncClient(path, options=options) as client,
            aclosing(client.generate(ask("slow"))) as slow,
        ):
            first = asyncio.create_task(anext(slow))
            await asyncio.sleep(0)
            quick = await client.complete("quick")
            got: list[Event] = [await first]
            with pytest.raises(LimitExceeded, match="left unread"):
                await read_into(got, slow)
            return quick, len(got)

    quick, got = run(main())

    assert quick == "quick"
    assert isinstance(heard[0], Cancel)
    assert 50_000 // 1000 < got < 200
