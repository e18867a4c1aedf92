"""What a front end sees of a generation through `AsyncClient`."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from tests.client.scripted_daemon import Peer, ask, daemon, done, read_into, run, texts
from umad.client import AsyncClient, ClientOptions
from umad.errors import ConnectionLost, DeadlineExceeded, EngineFailed, QueueFull, ShuttingDown
from umad.protocol.messages import Cancel, Request, RequestId, encode_error, encode_event
from umad.request import ChatMessage
from umad.service import Accepted, Event, Failed, Progress, Service


async def answer_hello_world(peer: Peer) -> None:
    request = await peer.hear_generate()
    peer.say_accepted(request.id)
    peer.say(encode_event(request.id, Progress(index=0, done_tokens=1, total_tokens=3)))
    peer.say_text(request.id, "hello ")
    peer.say_text(request.id, "world")
    peer.say_done(request.id)


def test_a_stream_brings_every_event_in_order_and_ends_with_done(path: str) -> None:
    async def main() -> list[Event]:
        async with daemon(path, answer_hello_world), AsyncClient(path) as client:
            return [event async for event in client.generate(ask())]

    events = run(main())

    assert [type(event).__name__ for event in events] == [
        "Accepted",
        "Progress",
        "Tokens",
        "Tokens",
        "Done",
    ]
    assert texts(events) == ["hello ", "world"]
    assert events[-1] == done()


def test_the_async_client_is_a_service(path: str) -> None:
    async def main() -> list[Event]:
        service: Service = AsyncClient(path)
        async with daemon(path, answer_hello_world):
            events = [event async for event in service.events(ask())]
            assert isinstance(service, AsyncClient)
            await service.close()
            return events

    events = run(main())

    assert isinstance(events[0], Accepted)


def test_complete_returns_the_text_of_a_chat(path: str) -> None:
    heard = []

    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        heard.append(request.request)
        peer.say_text(request.id, "4")
        peer.say_done(request.id)

    async def main() -> str:
        async with daemon(path, script), AsyncClient(path) as client:
            return await client.complete(
                [ChatMessage(role="user", content="2+2?")], lane="background"
            )

    text = run(main())

    assert text == "4"
    assert heard[0].messages == (ChatMessage(role="user", content="2+2?"),)
    assert heard[0].lane == "background"


def test_a_request_for_two_completions_ends_with_the_second_done(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_text(request.id, "one", index=0)
        peer.say_done(request.id, index=0)
        peer.say_text(request.id, "two", index=1)
        peer.say_done(request.id, index=1)

    async def main() -> list[Event]:
        async with daemon(path, script), AsyncClient(path) as client:
            return [event async for event in client.generate(ask(n=2))]

    assert texts(run(main())) == ["one", "two"]


def test_requests_on_one_connection_get_only_their_own_events(path: str) -> None:
    async def script(peer: Peer) -> None:
        first, second = await peer.hear_generate(), await peer.hear_generate()
        for at in range(20):
            peer.say_text(second.id, f"{second.request.prompt}{at} ")
            peer.say_text(first.id, f"{first.request.prompt}{at} ")
        peer.say_done(second.id)
        peer.say_done(first.id)

    async def main() -> list[str]:
        async with daemon(path, script), AsyncClient(path) as client:
            return list(await asyncio.gather(client.complete("a"), client.complete("b")))

    answers = run(main())

    assert answers == ["".join(f"{name}{at} " for at in range(20)) for name in "ab"]


def test_an_error_of_the_daemon_is_the_last_event_of_a_front_end(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_text(request.id, "half")
        peer.say(encode_error(EngineFailed("the engine crashed twice"), request.id))

    async def main() -> list[Event]:
        async with daemon(path, script), AsyncClient(path) as client:
            return [event async for event in client.events(ask())]

    events = run(main())

    assert texts(events) == ["half"]
    assert events[-1] == Failed(
        code="engine_failed", message="the engine crashed twice", field=None, retryable=True
    )


def test_an_error_of_the_daemon_is_raised_behind_what_came_before_it(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_text(request.id, "half")
        peer.say(encode_error(EngineFailed("the engine crashed twice"), request.id))

    async def main() -> list[Event]:
        events: list[Event] = []
        async with daemon(path, script), AsyncClient(path) as client:
            with pytest.raises(EngineFailed, match="crashed twice"):
                await read_into(events, client.generate(ask()))
        return events

    assert texts(run(main())) == ["half"]


def test_complete_raises_the_daemons_error(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say(encode_error(QueueFull("1024 requests wait already"), request.id))

    async def main() -> None:
        async with daemon(path, script), AsyncClient(path) as client:
            await client.complete("hi")

    with pytest.raises(QueueFull, match="1024 requests wait"):
        run(main())


def test_a_daemon_that_dies_in_mid_stream_loses_no_event_it_sent(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_text(request.id, "as far ")
        peer.say_text(request.id, "as this")

    async def main() -> list[Event]:
        events: list[Event] = []
        async with daemon(path, script), AsyncClient(path) as client:
            with pytest.raises(ConnectionLost):
                await read_into(events, client.generate(ask()))
        return events

    assert texts(run(main())) == ["as far ", "as this"]


def test_a_lost_connection_ends_every_request_on_it(path: str) -> None:
    async def script(peer: Peer) -> None:
        for _ in range(3):
            await peer.hear()

    async def main() -> list[Any]:
        async with daemon(path, script), AsyncClient(path) as client:
            asked = (client.complete("a"), client.complete("b"), client.metrics())
            return list(await asyncio.gather(*asked, return_exceptions=True))

    assert [type(end) for end in run(main())] == [ConnectionLost] * 3


def test_the_daemons_reason_for_closing_reaches_who_was_waiting(path: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear_generate()
        peer.say(encode_error(ShuttingDown("the daemon stops")))

    async def main() -> None:
        async with daemon(path, script), AsyncClient(path) as client:
            await client.complete("hi")

    with pytest.raises(ShuttingDown, match="the daemon stops"):
        run(main())


Leave = Callable[[AsyncClient], Coroutine[Any, Any, None]]


async def _leave_at_once(client: AsyncClient) -> None:
    async for _ in client.generate(ask()):
        break


async def _leave_with_aclosing(client: AsyncClient) -> None:
    async with aclosing(client.generate(ask())) as events:
        await anext(events)


async def _be_cancelled(client: AsyncClient) -> None:
    async def read() -> None:
        async for _ in client.generate(ask()):
            reached.set()

    reached = asyncio.Event()
    reader = asyncio.create_task(read())
    await reached.wait()
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)


@pytest.mark.parametrize("leave", [_leave_at_once, _leave_with_aclosing, _be_cancelled])
def test_leaving_the_iterator_cancels_the_request(path: str, leave: Leave) -> None:
    left: list[RequestId] = []
    cancel: list[Request] = []
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_accepted(request.id)
        left.append(request.id)
        cancel.append(await peer.hear())
        heard.set()
        # What was under way when the client left, and the answer to a request of now.
        peer.say_text(request.id, "late")
        peer.say_done(request.id)
        following = await peer.hear_generate()
        peer.say_text(following.id, "on time")
        peer.say_done(following.id)

    async def main() -> str:
        async with daemon(path, script), AsyncClient(path) as client:
            await leave(client)
            await heard.wait()
            return await client.complete("again")

    answer = run(main())

    assert isinstance(cancel[0], Cancel)
    assert cancel[0].own_id == left[0]
    assert answer == "on time"


def test_a_request_that_ended_is_not_cancelled(path: str) -> None:
    heard = []

    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_done(request.id)
        heard.append(await peer.hear())
        peer.say_done(heard[0].id)

    async def main() -> None:
        async with daemon(path, script), AsyncClient(path) as client:
            async with aclosing(client.generate(ask())) as events:
                await anext(events)
            await client.complete("next")

    run(main())

    assert not isinstance(heard[0], Cancel)


def test_a_daemon_that_says_nothing_is_given_up_and_the_request_cancelled(path: str) -> None:
    heard = []

    async def script(peer: Peer) -> None:
        await peer.hear_generate()
        heard.append(await peer.hear())

    async def main() -> None:
        options = ClientOptions(event_s=0.05)
        async with daemon(path, script), AsyncClient(path, options=options) as client:
            with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
                await client.complete("hi")
            with pytest.raises(ConnectionLost):  # the script ends when it has heard the cancel
                await client.ping()

    run(main())

    assert isinstance(heard[0], Cancel)


def test_a_consumer_that_takes_its_time_is_no_silent_daemon(path: str) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.hear_generate()
        peer.say_text(request.id, "a")
        peer.say_text(request.id, "b")
        peer.say_done(request.id)

    async def main() -> list[Event]:
        # Well above what this process may be kept waiting on a crowded machine.
        options = ClientOptions(event_s=1.0)
        events: list[Event] = []
        async with daemon(path, script), AsyncClient(path, options=options) as client:
            async for event in client.generate(ask()):
                events.append(event)
                # Longer than the bound between events, with the next one lying unread.
                await asyncio.sleep(1.2 if len(events) == 1 else 0)
        return events

    assert texts(run(main())) == ["a", "b"]
