"""Tokens that are taken as they arrive, past the iterator."""

import asyncio
from contextlib import aclosing

import pytest

from tests.client.scripted_daemon import Peer, ask, daemon, read_into, run, texts
from umad.client import AsyncClient
from umad.errors import InternalError
from umad.service import Event, Tokens


async def _three_words(peer: Peer) -> None:
    request = await peer.hear_generate()
    peer.say_accepted(request.id)
    for word in ("one", "two", "three"):
        peer.say_text(request.id, word)
    peer.say_done(request.id)


async def _a_word_at_a_time(peer: Peer) -> None:
    """Say a word, then the next once the client has shown that it had the last."""
    request = await peer.hear_generate()
    for word in ("one", "two", "three"):
        peer.say_text(request.id, word)
        await peer.hear()
    peer.say_done(request.id)


def test_what_is_taken_does_not_come_out_of_the_iterator(path: str) -> None:
    taken: list[str] = []

    async def main() -> list[Event]:
        async with daemon(path, _a_word_at_a_time), AsyncClient(path) as client:

            def take(event: Tokens) -> bool:
                taken.append(event.text)
                client.choose("r-1", 0, 7)  # anything that the daemon hears
                return True

            got: list[Event] = []
            await read_into(got, client.events(ask(), take=take))
            return got

    got = run(main())

    assert taken == ["one", "two", "three"]
    assert texts(got) == []
    assert type(got[-1]).__name__ == "Done"


def test_order_is_kept_where_some_are_taken_and_a_reader_is_behind(path: str) -> None:
    said: list[str] = []

    def take(event: Tokens) -> bool:
        said.append(event.text)
        return True

    async def main() -> None:
        async with (
            daemon(path, _three_words),
            AsyncClient(path) as client,
            aclosing(client.events(ask(), take=take)) as events,
        ):
            async for event in events:
                await asyncio.sleep(0)  # more may arrive while this one is dealt with
                if isinstance(event, Tokens):
                    said.append(event.text)

    run(main())

    assert said == ["one", "two", "three"]


def test_a_take_that_fails_ends_its_request_and_no_other(path: str) -> None:
    async def script(peer: Peer) -> None:
        broken, well = await peer.hear_generate(), await peer.hear_generate()
        peer.say_text(broken.id, "one")
        peer.say_text(well.id, "quick")
        peer.say_done(well.id)
        await peer.hear()  # the cancel

    def take(event: Tokens) -> bool:
        raise InternalError(f"no place for {event.text}")

    async def main() -> str:
        async with daemon(path, script), AsyncClient(path) as client:
            broken = asyncio.create_task(read_into([], client.events(ask("b"), take=take)))
            await asyncio.sleep(0)
            quick = await client.complete("quick")
            with pytest.raises(InternalError, match="no place for one"):
                await broken
            return quick

    assert run(main()) == "quick"
