"""The supervisor alone, where a daemon around it would hide what happens."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.house import PATIENCE_S, fake_launcher, run, until
from umad.clock import MonotonicClock
from umad.config import LimitSettings
from umad.daemon.engine import Engine
from umad.daemon.engine_process import Launcher
from umad.daemon.engine_state import EngineState
from umad.daemon.names import ModelFile
from umad.daemon.supervisor import Supervisor
from umad.errors import EngineFailed, UmadError
from umad.protocol.frames import encode_frame
from umad.protocol.link import EngineReady, EngineReply, StepReport, ToEngine, encode
from umad.testing import FakeModel


class Nobody:
    """Hears what engines do and tells nobody."""

    def engine_ready(self, engine: Engine) -> None: ...
    def engine_report(self, engine: Engine, report: StepReport, now_ns: int) -> None: ...
    def engine_tokens(self, engine: Engine, unpacked: Sequence[Any], now_ns: int) -> None: ...
    def engine_died(self, engine: Engine) -> None: ...
    def engine_suspended(self, engine: Engine) -> None: ...
    def engine_gave_way(self, engine: Engine) -> None: ...
    def engine_waits(self, engine: Engine) -> None: ...
    def engine_ended(self, engine: Engine, error: UmadError) -> None: ...


def supervise(launcher: Launcher) -> Supervisor:
    return Supervisor(
        launcher=launcher, limits=LimitSettings(), clock=MonotonicClock(), events=Nobody()
    )


def test_a_first_word_that_comes_before_anybody_listens_is_heard(tmp_path: Path) -> None:
    """The loop is held up from the process's start until long after it said it is ready."""
    ready = encode_frame(encode(EngineReady(facts={})))

    def launcher(file: ModelFile, fd: int) -> list[str]:
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        program = f"import os; os.write({fd}, {ready!r}); os.read({fd}, 1)"
        return [sys.executable, "-I", "-S", "-c", program]

    async def test() -> None:
        supervisor = supervise(launcher)
        path = FakeModel().write(tmp_path / "a.gguf")

        engine = await asyncio.wait_for(supervisor.load(str(path)), PATIENCE_S)

        assert engine.state is EngineState.READY
        await supervisor.stop()

    run(test())


def test_a_load_is_given_up_once_nobody_waits_for_it(tmp_path: Path) -> None:
    def launcher(file: ModelFile, fd: int) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", f"import os; os.read({fd}, 1)"]

    async def test() -> None:
        supervisor = supervise(launcher)
        path = FakeModel().write(tmp_path / "a.gguf")
        first, second = (asyncio.create_task(supervisor.load(str(path))) for _ in range(2))
        while (engine := supervisor.get("a")) is None or engine.pid is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

        first.cancel()
        await asyncio.wait({first})
        assert not supervisor.give_up_load("a"), "somebody else waits for it"
        second.cancel()
        await asyncio.wait({second})
        assert supervisor.give_up_load("a")

        await asyncio.wait_for(supervisor._keepers["a"].ended(), PATIENCE_S)
        assert engine.state is EngineState.STOPPED
        assert not supervisor.give_up_load("a")
        await supervisor.stop()

    run(test())


def test_a_bug_while_an_engine_is_started_fails_its_load_instead_of_hanging(
    tmp_path: Path,
) -> None:
    def launcher(file: ModelFile, fd: int) -> list[str]:
        raise ZeroDivisionError

    async def test() -> None:
        supervisor = supervise(launcher)
        path = FakeModel().write(tmp_path / "a.gguf")

        with pytest.raises(EngineFailed, match="unexpected ZeroDivisionError"):
            await asyncio.wait_for(supervisor.load(str(path)), PATIENCE_S)

        await supervisor.stop()

    run(test())


def test_an_engine_is_told_once_what_the_engines_before_it_take(tmp_path: Path) -> None:
    """So one that is started again after a crash has the pool that it had."""
    facts = {"size_bytes": 5_000, "context_bytes": 700, "park_bytes": 30}
    ready = encode_frame(encode(EngineReady(facts=facts)))
    told: list[tuple[str, int]] = []

    def launcher(file: ModelFile, fd: int) -> list[str]:
        told.append((file.name, file.beside_bytes))
        program = f"import os; os.write({fd}, {ready!r}); os.read({fd}, 1)"
        return [sys.executable, "-I", "-S", "-c", program]

    async def test() -> None:
        supervisor = supervise(launcher)
        first, second, third = [
            str(FakeModel().write(tmp_path / f"{name}.gguf")) for name in ("a", "b", "c")
        ]
        await supervisor.load(first)
        engine = await supervisor.load(second)
        await supervisor.load(third)

        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)

        async def is_back() -> bool:
            return len(told) == 4 and engine.state is EngineState.READY

        await until(is_back)
        await supervisor.stop()

    run(test())

    assert told == [("a", 0), ("b", 5_730), ("c", 11_460), ("b", 5_730)]


def test_work_for_a_model_that_was_unloaded_just_now_ends_with_an_error(tmp_path: Path) -> None:
    """A request is given its engine, and something else happens before it gives it work."""

    async def test() -> None:
        supervisor = supervise(fake_launcher)
        path = FakeModel().write(tmp_path / "a.gguf")
        engine = await asyncio.wait_for(supervisor.load(str(path)), PATIENCE_S)
        await supervisor.unload("a")

        with pytest.raises(EngineFailed, match="a was unloaded; try again"):
            await asyncio.wait_for(engine.work("embed", {}), PATIENCE_S)

        await supervisor.stop()

    run(test())


def test_what_the_daemon_asks_for_itself_loads_no_model(tmp_path: Path) -> None:
    """The guard of memory would have a model loaded again that has just given memory back."""

    async def test() -> None:
        supervisor = supervise(fake_launcher)
        path = FakeModel().write(tmp_path / "a.gguf")
        engine = await asyncio.wait_for(supervisor.load(str(path)), PATIENCE_S)
        assert supervisor.suspend("a", "nobody uses it")

        with pytest.raises(EngineFailed, match="a has no process"):
            await asyncio.wait_for(engine.call("spare", {"share": 0.5}), PATIENCE_S)

        assert engine.state in (EngineState.SUSPENDING, EngineState.SUSPENDED)
        await supervisor.stop()

    run(test())


class Silent:
    """A process that says nothing."""

    def send(self, *messages: ToEngine) -> None: ...


def test_a_model_that_yields_has_room_to_give_once_it_answered_the_daemon_itself() -> None:
    """While memory is short the daemon asks for some, and then the model is to leave."""
    rested: list[bool] = []

    async def test() -> None:
        engine = Engine("a", Path("a.gguf"), state=EngineState.READY)
        engine.connect(Silent())
        engine.rests = lambda: rested.append(engine.has_run_out)
        sparing = asyncio.create_task(engine.call("spare", {"share": 0.5}))
        await asyncio.sleep(0)
        engine.begin_to_yield()
        assert not engine.has_run_out

        engine.replied(EngineReply(call=1, value={}))
        await sparing

    run(test())
    assert rested == [True]
