"""Three models that really compute, two of which may be loaded: all of them answer, again and
again, and a model answers the same before and after its turn of absence."""

import asyncio
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench.umad_daemon import greedy
from tests.live import LiveDaemon, live_daemon, wait_until
from umad.client import AsyncClient, ClientOptions
from umad.service import Loading, Tokens

PROMPT = (300, 301, 302, 303)
N_TOKENS = 12


async def answer(client: AsyncClient, name: str) -> list[int]:
    request = replace(greedy(PROMPT, N_TOKENS), model=name)
    ids: list[int] = []
    async for event in client.generate(request):
        if isinstance(event, Tokens):
            ids += event.ids
    return ids


def test_three_models_take_turns_in_the_room_of_two(short_tmp_path: Path, nano_path: Path) -> None:
    folder = short_tmp_path / "models"
    folder.mkdir()
    for name in ("one", "two", "three"):
        shutil.copyfile(nano_path, folder / f"{name}.gguf")

    async def story(daemon: LiveDaemon) -> None:
        async with daemon.client() as client:
            first = await answer(client, "one")
            descriptors = psutil.Process(daemon.process.pid).num_fds()
            # One after the other, so that somebody always has to leave.
            for name in ("two", "three", "one"):
                assert await answer(client, name) == first
                assert len(daemon.engines()) <= 2
            states = {row["name"]: row["state"] for row in await client.models()}
            assert sorted(states.values()) == ["ready", "ready", "suspended"]
        wait_until(lambda: len(daemon.engines()) == 2, what="an end of the third engine")
        wait_until(
            lambda: psutil.Process(daemon.process.pid).num_fds() <= descriptors + 4,
            what="an end of its descriptors",
        )

    with live_daemon(
        short_tmp_path,
        str(folder / "one.gguf"),
        "--threads=1",
        "--ctx-size=2048",
        "--max-models=2",
        f"--model-folder={folder}",
    ) as daemon:
        asyncio.run(story(daemon))
        assert daemon.log.count("engine died") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority here")
def test_beside_a_chat_the_most_of_another_models_load_runs_on_idle_cores(
    short_tmp_path: Path, nano_path: Path
) -> None:
    folder = short_tmp_path / "models"
    folder.mkdir()
    for name in ("one", "two"):
        shutil.copyfile(nano_path, folder / f"{name}.gguf")

    async def chat(client: AsyncClient, has_begun: asyncio.Event) -> None:
        while True:
            request = replace(greedy(PROMPT, 500), model="one", lane="interactive")
            async for _ in client.generate(request):
                has_begun.set()

    async def story(daemon: LiveDaemon) -> None:
        async with daemon.client() as client:
            has_begun = asyncio.Event()
            chatting = asyncio.create_task(chat(client, has_begun))
            await asyncio.wait_for(has_begun.wait(), 60)
            before = {one.pid for one in daemon.engines()}
            await answer(client, "two")
            (engine,) = (one for one in daemon.engines() if one.pid not in before)
            # Threads at the usual priority that have ended are not among these, and there are none.
            usual_s = sum(one.user_time + one.system_time for one in engine.threads())
            all_s = sum(engine.cpu_times()[:2])
            assert usual_s < 0.6 * all_s
            chatting.cancel()

    with live_daemon(
        short_tmp_path,
        str(folder / "one.gguf"),
        "--threads=1",
        "--ctx-size=2048",
        "--max-models=2",
        f"--model-folder={folder}",
    ) as daemon:
        asyncio.run(story(daemon))


@pytest.mark.skipif(sys.platform != "linux", reason="loads rest for others only there")
def test_a_load_that_only_background_work_waits_for_begins_when_a_chat_rests(
    short_tmp_path: Path, nano_path: Path
) -> None:
    folder = short_tmp_path / "models"
    folder.mkdir()
    for name in ("one", "two"):
        shutil.copyfile(nano_path, folder / f"{name}.gguf")

    async def chat(client: AsyncClient, has_begun: asyncio.Event) -> None:
        request = replace(greedy(PROMPT, 1900), model="one", lane="interactive")
        async for _ in client.generate(request):
            has_begun.set()

    async def job(client: AsyncClient, waits: asyncio.Event) -> int:
        request = replace(greedy(PROMPT, N_TOKENS), model="two", lane="background")
        n_tokens = 0
        async for event in client.events(request):
            match event:
                case Loading() if "interactive work goes first" in event.why:
                    waits.set()
                case Tokens():
                    n_tokens += len(event.ids)
                case _:
                    pass
        return n_tokens

    async def story(daemon: LiveDaemon) -> None:
        options = ClientOptions(name="story", tells_loading=True)
        async with daemon.client() as reader, AsyncClient(daemon.socket, options=options) as worker:
            has_begun, waits = asyncio.Event(), asyncio.Event()
            chatting = asyncio.create_task(chat(reader, has_begun))
            await asyncio.wait_for(has_begun.wait(), 60)
            working = asyncio.create_task(job(worker, waits))
            await asyncio.wait_for(waits.wait(), 60)
            assert len(daemon.engines()) == 1
            await asyncio.wait_for(chatting, 60)
            assert await asyncio.wait_for(working, 60) == N_TOKENS

    with live_daemon(
        short_tmp_path,
        str(folder / "one.gguf"),
        "--threads=1",
        "--ctx-size=2048",
        "--max-models=2",
        f"--model-folder={folder}",
    ) as daemon:
        asyncio.run(story(daemon))
