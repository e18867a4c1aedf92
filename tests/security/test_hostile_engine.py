"""An engine gone mad costs its own requests, and neither the daemon nor anybody else's."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon.house import (
    PATIENCE_S,
    House,
    Wire,
    asks,
    fake_launcher,
    model,
    run,
    tokens_of,
    until,
)
from tests.security import hostile_engine
from tests.security.hostile_engine import BAD_FACTS, GIVEN_UP, LET_PASS, TAILS
from umad.client import AsyncClient
from umad.config import LimitSettings, LoggingSettings, Settings
from umad.daemon.names import ModelFile
from umad.daemon.server import Daemon
from umad.daemon.socket_file import SocketFile
from umad.errors import ModelLoadFailed, ProtocolViolation
from umad.protocol.engine_words import _CHECKS, _PARTS
from umad.protocol.link import EngineReply
from umad.protocol.messages import Metrics, Ping
from umad.request import GenerateRequest, SamplingParams
from umad.service import Event, Tokens
from umad.testing import FakeModel

# Processes of a test; two each.
AT_ONCE = 8


def launcher(file: ModelFile, fd: int) -> list[str]:
    if file.name != "a":
        return [sys.executable, hostile_engine.__file__, str(fd), str(file.path)]
    return fake_launcher(file, fd)


@asynccontextmanager
async def beside(folder: Path, *attacks: str, **limits: Any) -> AsyncIterator[House]:
    """A daemon with a good model `a` and a mad one for each attack, `b0`, `b1` and so on."""
    models = [FakeModel(pace_ms=2.0).write(folder / "a.gguf")]
    for at, attack in enumerate(attacks):
        models.append(folder / f"b{at}.gguf")
        models[-1].write_text(attack)
    socket_file = SocketFile.claim(folder / "umad.sock")
    settings = Settings(
        models=tuple(map(str, models)),
        limits=LimitSettings(**{"drain_s": 1.0, **limits}),
        logging=LoggingSettings(scorecard_interval_s=0),
    )
    daemon = Daemon(settings, socket_file, launcher)
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set))
    house = House(daemon, socket_file.path)
    try:
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        yield house
    finally:
        await house.close()
        daemon.stop_at_once()
        await asyncio.wait({task}, timeout=PATIENCE_S)
        socket_file.close()


async def is_well(wire: Wire) -> None:
    """The daemon answers everything it can be asked."""
    assert await wire.ask(Ping(id="ping")) is None
    assert (await model(wire, "a"))["state"] == "ready"
    assert "models" in await wire.ask(Metrics(id="metrics"))


@pytest.mark.parametrize("first", range(0, len(GIVEN_UP), AT_ONCE))
def test_an_engine_that_says_what_none_says_is_given_up_and_nobody_else_notices(
    first: int, short_tmp_path: Path
) -> None:
    attacks = list(GIVEN_UP)[first : first + AT_ONCE]

    async def test() -> None:
        async with beside(short_tmp_path, *(f"given up: {one}" for one in attacks)) as house:
            wire = await house.connect()
            wire.send(asks("good", max_tokens=100, model="a"))
            for at, attack in enumerate(attacks):
                wire.send(asks(attack, model=f"b{at}"))

            streams = await wire.collect("good", *attacks)

            assert streams["good"].ids == tokens_of(7, 100)
            models = await house.models()
            assert {
                attack: models[f"b{at}"]["restarts"] for at, attack in enumerate(attacks)
            } == dict.fromkeys(attacks, 1)
            assert all(streams[one].done is not None for one in attacks)
            await is_well(wire)

    run(test())


@pytest.mark.parametrize("attack", LET_PASS)
def test_news_for_nobody_reaches_nobody(attack: str, short_tmp_path: Path) -> None:
    async def test() -> None:
        async with beside(short_tmp_path, f"let pass: {attack}") as house:
            wire = await house.connect()
            wire.send(asks("good", max_tokens=40, model="a"), asks("mad", model="b0"))

            streams = await wire.collect("good", "mad")

            assert streams["good"].ids == tokens_of(7, 40)
            assert streams["mad"].ids == []
            assert streams["mad"].done is not None
            assert (await model(wire, "b0"))["restarts"] == 0
            assert (await model(wire, "b0"))["name"] == "b0"
            await is_well(wire)

    run(test())


@pytest.mark.parametrize("attack", ["never ending", "never ending reports"])
def test_tokens_without_end_end_where_the_request_does(attack: str, short_tmp_path: Path) -> None:
    async def test() -> None:
        async with beside(short_tmp_path, attack) as house:
            wire = await house.connect()
            wire.send(asks("good", max_tokens=40, model="a"), asks("mad", max_tokens=9, model="b0"))

            streams = await wire.collect("good", "mad")

            assert streams["good"].ids == tokens_of(7, 40)
            assert len(streams["mad"].ids) == 9
            assert streams["mad"].done is not None
            assert streams["mad"].done.finish_reason == "length"
            await is_well(wire)

    run(test())


def test_half_a_frame_is_silence_and_ends_like_it(short_tmp_path: Path) -> None:
    async def test() -> None:
        async with beside(short_tmp_path, "half a frame", stall_s=0.3) as house:
            wire = await house.connect()
            stream = await wire.stream(asks("mad", model="b0"))

            assert stream.failed is not None
            assert stream.failed.code == "engine_failed"
            await is_well(wire)

    run(test())


@pytest.mark.parametrize("attack", BAD_FACTS)
def test_facts_that_cannot_be_used_keep_a_model_from_loading(
    attack: str, short_tmp_path: Path
) -> None:
    async def test() -> None:
        with pytest.raises(ModelLoadFailed, match="b0: the engine ended while loading"):
            async with beside(short_tmp_path, attack):
                pass

    run(test())


def test_an_idle_engine_that_does_not_stop_talking_is_given_up(short_tmp_path: Path) -> None:
    async def test() -> None:
        before = psutil.Process().memory_info().rss  # of all the tests that ran in it, too
        async with beside(short_tmp_path, "flood") as house:
            wire = await house.connect()

            async def is_failed() -> bool:
                return str((await model(wire, "b0"))["state"]) == "failed"

            await until(is_failed)
            stream = await wire.stream(asks("good", max_tokens=20, model="a"))

            assert stream.ids == tokens_of(7, 20)
            assert psutil.Process().memory_info().rss - before < 2**29
            await is_well(wire)

    run(test())


@pytest.mark.parametrize("tail", TAILS)
def test_a_token_that_cannot_be_read_ends_its_request_and_not_its_neighbours(
    tail: str, short_tmp_path: Path
) -> None:
    """Both requests share a connection, as all of a gateway's do."""

    async def collect(client: AsyncClient, request: GenerateRequest) -> list[Event]:
        return [event async for event in client.generate(request)]

    def request(name: str) -> GenerateRequest:
        sampling = SamplingParams(seed=7, max_tokens=40)
        return GenerateRequest(prompt="hello there", model=name, sampling=sampling)

    async def test() -> None:
        async with (
            beside(short_tmp_path, f"tail: {tail}") as house,
            AsyncClient(house.socket) as client,
        ):
            good = asyncio.create_task(collect(client, request("a")))
            with pytest.raises(ProtocolViolation):
                await collect(client, request("b0"))
            events = await good

            ids = [token for one in events if isinstance(one, Tokens) for token in one.ids]
            assert ids == tokens_of(7, 40)

    run(test())


def test_every_field_of_what_engines_say_is_looked_at() -> None:
    for kind, checks in (*_CHECKS.items(), *_PARTS.items()):
        unchecked = {field.name for field in fields(kind)} - set(checks)
        # What a reply's value may be depends on the question; only whoever asked reads it.
        assert unchecked == ({"value"} if kind is EngineReply else set())
