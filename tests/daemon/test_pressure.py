"""The memory guard on a daemon with fake engines: what it gives up, for whom, and that nothing
asked is lost."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.house import (
    PATIENCE_S,
    House,
    Serve,
    asks,
    model,
    run,
    tokens_of,
    until,
    until_generating,
)
from umad.daemon import pressure
from umad.daemon.pressure import MemoryGuard
from umad.memory_pressure import MemoryReading, MemoryRoom, Stage
from umad.protocol.messages import Load, Metrics, Tokenize, Unload
from umad.testing import FakeModel

GIB = 2**30


class Machine:
    """The room that readings show; tests change it."""

    def __init__(self, headroom_gib: float = 8.0) -> None:
        self.headroom_gib = headroom_gib

    def __call__(self) -> MemoryReading:
        return MemoryReading(
            rooms=(
                MemoryRoom(
                    name="machine",
                    limit_bytes=16 * GIB,
                    headroom_bytes=int(self.headroom_gib * GIB),
                    some_pct=0.0,
                    full_pct=0.0,
                ),
            )
        )


class HandClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at_ns = 10**12

    def now_ns(self) -> int:
        return self.at_ns

    def wait(self, seconds: float) -> None:
        self.at_ns += int(seconds * 1e9)


@pytest.fixture(autouse=True)
def _a_name_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that looks for whom memory is given up gets a core late on a busy machine."""
    monkeypatch.setattr(pressure, "WHOM_S", PATIENCE_S)


SHORT, TIGHT, PLENTY = 0.1, 1.2, 8.0


def guarded(house: House, clock: HandClock, machine: Machine) -> MemoryGuard:
    """A guard that looks when it is told to."""
    return MemoryGuard(
        house.daemon._supervisor, read=machine, clock=clock, largest=lambda *_: "hog (9000 MB)"
    )


async def look(guard: MemoryGuard, machine: Machine) -> None:
    """One look, with everything that follows from it."""
    await guard.look(machine())
    if guard._calls:
        await asyncio.wait(list(guard._calls.values()))


def with_guard(
    test: Callable[[House, MemoryGuard, Machine, HandClock], Any],
    serve: Serve,
    *models: FakeModel,
) -> None:
    async def scene() -> None:
        clock, machine = HandClock(), Machine()
        async with serve(*models, pressure=Machine()) as house:
            await test(house, guarded(house, clock, machine), machine, clock)

    run(scene())


def test_engines_give_up_prefixes_first_and_the_log_says_for_whom(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        machine.headroom_gib = TIGHT
        await look(guard, machine)

        wire = await house.connect()
        assert guard.stage is Stage.PREFIXES
        assert (await model(wire))["state"] == "ready"
        assert "for hog (9000 MB)" in (await model(wire))["gave_up"]

    with caplog.at_level(logging.INFO):
        with_guard(story, serve)

    said = "\n".join(record.getMessage() for record in caplog.records)
    assert "memory is tight: given_up=prefixes for=hog (9000 MB) room=machine" in said
    assert "host memory is given up model=a freed_mb=0.0 share=0.5 for=hog (9000 MB)" in said


def test_a_suspended_model_is_listed_and_its_next_request_is_answered(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()
        before = await model(wire)
        machine.headroom_gib = SHORT
        for _ in range(3):
            clock.wait(0.5)
            await look(guard, machine)
        assert guard.stage is Stage.MODELS

        async def suspended() -> bool:
            return bool((await model(wire))["state"] == "suspended")

        await until(suspended)
        row = await model(wire)
        assert row["pid"] is None
        assert row["suspended_for"] == "memory was short, for hog (9000 MB)"
        assert guard.facts()["models_suspended"] == 1

        stream = await wire.stream(asks(7))

        after = await model(wire)
        assert stream.ids == tokens_of(7, 5)
        assert (after["state"], after["restarts"]) == ("ready", before["restarts"])
        assert after["pid"] not in (None, before["pid"])
        assert after["suspended_for"] is None

    with_guard(story, serve)


def test_requests_that_come_while_it_is_being_suspended_are_answered(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()
        assert house.daemon._supervisor.suspend("a", "for a test")
        requests = [asks(number, seed=number) for number in range(1, 6)]

        wire.send(*requests)
        streams = await wire.collect(*[one.id for one in requests])
        words = await wire.ask(Tokenize(id="words", text="one two"))

        assert [streams[n].ids for n in range(1, 6)] == [tokens_of(n, 5) for n in range(1, 6)]
        assert words == [3, 3]

    with_guard(story, serve)


def test_a_model_at_work_is_never_suspended(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire, watcher = await house.connect(), await house.connect()
        wire.send(asks(1, "a gate@399", max_tokens=400))
        await until_generating(house, 1)
        machine.headroom_gib = SHORT
        for _ in range(10):
            clock.wait(0.5)
            await look(guard, machine)
            assert (await model(watcher))["state"] == "ready"

        gate.touch()
        assert (await wire.collect(1))[1].ids == tokens_of(7, 400)

    with_guard(story, serve, FakeModel(pace_ms=5.0, gate=str(gate)))


def test_the_model_used_longest_ago_goes_first_and_one_at_a_time(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()
        for name in ("c", "a", "b"):
            await look(guard, machine)
            clock.wait(100)
            await wire.stream(asks(name, model=name))
        machine.headroom_gib = TIGHT

        async def none_is_ending() -> bool:
            rows = (await house.models()).values()
            return all(one["state"] != "suspending" for one in rows)

        states = []
        for _ in range(6):
            await look(guard, machine)
            await until(none_is_ending)
            states.append({name: one["state"] for name, one in (await house.models()).items()})
            clock.wait(2)

        assert [one["c"] == "ready" for one in states[:4]] == [True, True, False, False]
        assert states[3]["a"] != "ready"
        # It answered within the last minute.
        assert states[5]["b"] == "ready"

    with_guard(story, serve, FakeModel(), FakeModel(), FakeModel())


def test_a_pinned_model_goes_last_and_only_before_the_machine_swaps(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()
        await look(guard, machine)
        clock.wait(100)
        await wire.stream(asks("pinned", model="a", keep_alive_s=-1))
        await look(guard, machine)
        clock.wait(100)
        await wire.stream(asks("later", model="b"))

        async def looks(headroom_gib: float) -> dict[str, str]:
            machine.headroom_gib = headroom_gib
            for _ in range(8):
                await look(guard, machine)
                clock.wait(20)
            return {name: row["state"] for name, row in (await house.models()).items()}

        async def rests() -> bool:
            return bool((await house.models())["b"]["state"] == "suspended")

        tight = await looks(TIGHT)
        await until(rests)
        severe = await looks(SHORT)

        # The pinned one was used longer ago.
        assert (tight["a"], severe["a"] == "ready") == ("ready", False)
        assert tight["b"] != "ready"

    with_guard(story, serve, FakeModel(), FakeModel())


def test_everything_comes_back_once_memory_has_been_easy(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()
        machine.headroom_gib = TIGHT
        for _ in range(2):
            await look(guard, machine)
            clock.wait(2)
        assert "little is parked" in (await model(wire))["gave_up"]

        machine.headroom_gib = PLENTY
        for _ in range(3):
            await look(guard, machine)
            clock.wait(31)

        assert guard.stage is Stage.NOTHING
        assert (await model(wire))["gave_up"] is None

    with_guard(story, serve)


def test_an_engine_that_was_restarted_is_told_again(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()
        machine.headroom_gib = TIGHT
        await look(guard, machine)
        await wire.stream(asks(1, "crash_once@2"))

        async def is_back() -> bool:
            return bool((await model(wire))["restarts"] == 1)

        await until(is_back)
        machine.headroom_gib = 1.6  # neither short nor easy
        await look(guard, machine)

        assert guard._told["a"].pid == (await model(wire))["pid"]
        assert guard._told["a"].share == 0.5

    with_guard(story, serve)


def test_a_suspended_model_can_be_loaded_and_unloaded(serve: Serve) -> None:
    async def story(house: House, guard: MemoryGuard, machine: Machine, clock: HandClock) -> None:
        wire = await house.connect()

        assert house.daemon._supervisor.suspend("a", "for a test")
        assert (await wire.ask(Load(id="load", model="a")))["state"] == "ready"

        assert house.daemon._supervisor.suspend("a", "for a test")
        await wire.ask(Unload(id="unload", model="a"))
        assert await house.models() == {}

    with_guard(story, serve)


def test_the_daemon_reads_by_itself_and_metrics_show_it(serve: Serve) -> None:
    machine = Machine(SHORT)

    async def scene() -> None:
        async with serve(pressure=machine) as house:
            wire = await house.connect()

            async def gave_up() -> bool:
                card = await wire.ask(Metrics(id="metrics"))
                return bool(card["memory_given_up"] == "models" and card["models_suspended"] == 1)

            await until(gave_up)
            card = await wire.ask(Metrics(id="metrics"))
            assert card["memory_strain"] == "severe"
            assert card["memory_stage"] == 3
            assert card["memory_headroom_gb"] == pytest.approx(0.1 * GIB / 1e9, abs=0.01)

    run(scene())


def test_a_daemon_without_a_guard_gives_nothing_up(serve: Serve) -> None:
    async def scene() -> None:
        async with serve(pressure=Machine(SHORT), memory_guard=False) as house:
            wire = await house.connect()
            await asyncio.sleep(0)

            card = await wire.ask(Metrics(id="metrics"))

            assert "memory_given_up" not in card
            assert (await model(wire))["state"] == "ready"

    run(scene())


def test_a_reading_that_hangs_holds_one_thread_and_the_guard_goes_on_after_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umad.daemon.pressure.READ_S", 0.01)
    machine, held = Machine(SHORT), threading.Event()
    n_begun = 0

    def read() -> MemoryReading:
        nonlocal n_begun
        n_begun += 1
        held.wait(30)
        return machine()

    async def scene() -> None:
        async with serve(pressure=read) as house:
            wire = await house.connect()
            for _ in range(20):
                assert (await wire.ask(Metrics(id="metrics")))["memory_given_up"] == "nothing"
            assert n_begun == 1

            held.set()

            async def gave_up() -> bool:
                card = await wire.ask(Metrics(id="metrics"))
                return bool(card["memory_stage"] > 0)

            await until(gave_up)

    run(scene())
