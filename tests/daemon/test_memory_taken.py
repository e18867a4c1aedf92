"""The memory guard beside a program that really takes the memory: in a control group that limits
it, and on a machine whose files a folder stands in for."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon.hog import MB, Hog, NotPermitted, hog, limited_group
from tests.daemon.house import House, Serve, Wire, asks, run, tokens_of, until
from tests.daemon.test_pressure_sources import lay, meminfo
from umad.memory_pressure import MemoryReading
from umad.protocol.messages import Metrics
from umad.testing import FakeModel

LIMIT_MB = 600


async def card_of(wire: Wire) -> dict[str, Any]:
    return dict(await wire.ask(Metrics(id="metrics")))


async def until_given_up(wire: Wire, stage: str) -> None:
    async def is_there() -> bool:
        card = await card_of(wire)
        return bool(card["memory_given_up"] == stage)

    await until(is_there)


async def until_suspended(wire: Wire, n: int) -> None:
    async def are_there() -> bool:
        return bool((await card_of(wire))["models_suspended"] >= n)

    await until(are_there)


def stand_in(root: Path, other: Hog) -> Callable[[], MemoryReading]:
    """A machine of 400 MB, in which the hog takes what it really takes."""

    def read() -> MemoryReading:
        available = 400 - other.resident_bytes // MB
        files = {
            "proc/meminfo": meminfo(total=400, available=max(0, available)),
            "proc/pressure/memory": "",
            "proc/self/cgroup": "",
        }
        return lay(root, files).read()

    return read


def test_beside_a_hog_idle_models_are_given_up_last_and_come_back_when_they_are_asked(
    serve: Serve, tmp_path: Path
) -> None:
    async def story(house: House, other: Hog) -> None:
        wire = await house.connect()
        assert (await card_of(wire))["memory_given_up"] == "nothing"

        await asyncio.to_thread(other.take, 380)
        await until_given_up(wire, "models")
        await until_suspended(wire, 2)

        await asyncio.to_thread(other.take, 0)
        stream = await wire.stream(asks(3, seed=3, model="b"))
        assert stream.ids == tokens_of(3, 5)

        async def is_easy() -> bool:
            return bool((await card_of(wire))["memory_strain"] == "easy")

        await until(is_easy)
        assert (await card_of(wire))["models_suspended"] == 1

    with hog() as other:

        async def scene() -> None:
            async with serve(
                FakeModel(), FakeModel(), pressure=stand_in(tmp_path / "root", other)
            ) as house:
                await story(house, other)

        run(scene())


def test_in_a_limited_control_group_the_guard_acts_before_anything_is_killed(
    tmp_path: Path, spawn: Callable[..., "subprocess.Popen[str]"]
) -> None:
    try:
        with limited_group(LIMIT_MB * MB) as group, hog() as other:
            # It enters before it imports anything, so that all it takes is counted there.
            daemon = spawn(FakeModel(), FakeModel(), entering=group.folder / "cgroup.procs")
            group.add(other.process.pid)

            async def story(house: House) -> None:
                async def listens() -> bool:
                    return house.socket.exists() and bool(await house.models())

                await until(listens)
                wire = await house.connect()
                # Models are ready before the memory goes.
                assert (await wire.stream(asks(1, model="a"))).ids == tokens_of(7, 5)
                assert (await wire.stream(asks(2, model="b"))).ids == tokens_of(7, 5)

                async def both_are_suspended() -> bool:
                    """The hog takes what the first one gave back, too."""
                    left = LIMIT_MB - group.used_bytes() // MB
                    if left > LIMIT_MB // 20:
                        await asyncio.to_thread(other.take, left - LIMIT_MB // 30)
                    return bool((await card_of(wire))["models_suspended"] == 2)

                await until(both_are_suspended)
                await until_given_up(wire, "models")
                card = await card_of(wire)
                assert card["memory_headroom_gb"] < 0.3, "it is the group's room that counts"

                await asyncio.to_thread(other.take, 0)
                assert (await wire.stream(asks(3, seed=3, model="a"))).ids == tokens_of(3, 5)

            async def scene() -> None:
                house = House(None, tmp_path / "umad.sock")  # type: ignore[arg-type]
                try:
                    await story(house)
                finally:
                    await house.close()

            try:
                run(scene())
                assert (daemon.poll(), other.process.poll()) == (None, None), "one was killed"
            finally:
                _end(daemon)
    except NotPermitted as reason:
        pytest.skip(f"no control group with a limit: {reason}")


def _end(daemon: "subprocess.Popen[str]") -> None:
    """End the daemon with all it started, so that its group is empty."""
    if daemon.poll() is not None:
        return
    children = psutil.Process(daemon.pid).children(recursive=True)
    daemon.terminate()
    daemon.wait(30)
    psutil.wait_procs(children, timeout=10)


def test_a_hog_takes_what_it_says() -> None:
    with hog() as other:
        before = other.resident_bytes
        other.take(50)

        assert other.resident_bytes - before >= 45 * MB
    assert sys.platform != "linux" or other.process.returncode is not None
