"""Engines die, hang and fail; their clients see a pause or a clear error, and nobody else anything.

Every engine here is a process, and every death a real one.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.daemon.house import (
    PATIENCE_S,
    House,
    Serve,
    Wire,
    asks,
    run,
    standstill,
    tokens_of,
    until,
)
from umad.clock import MonotonicClock
from umad.config import LimitSettings
from umad.daemon import crashes
from umad.daemon.engine import Engine, State
from umad.daemon.keeper import Launcher
from umad.daemon.names import ModelFile
from umad.daemon.supervisor import Supervisor
from umad.errors import EngineFailed, UmadError
from umad.protocol.frames import encode_frame
from umad.protocol.link import Ready, StepReport, encode
from umad.protocol.messages import Cancel, Load, Models, Ping, Sessions, Tokenize, Unload
from umad.service import Failed, Tokens
from umad.testing import FakeModel


async def model(wire: Wire, name: str = "a") -> Mapping[str, Any]:
    rows: dict[str, Mapping[str, Any]] = {
        row["name"]: row for row in await wire.ask(Models(id="models"))
    }
    return rows[name]


async def until_generating(house: House, n: int) -> None:
    wire = await house.connect()

    async def all_generate() -> bool:
        rows = await wire.ask(Sessions(id=1))
        return len([row for row in rows if row["generated"] > 3]) == n

    await until(all_generate)


def test_sixteen_streams_survive_kill_9_with_no_token_lost_and_none_repeated(
    serve: Serve,
) -> None:
    async def test() -> None:
        async with serve(FakeModel(pace_ms=2)) as house:
            wires = [await house.connect() for _ in range(4)]
            for number, wire in enumerate(wires):
                wire.send(*(asks(i, seed=10 * number + i, max_tokens=300) for i in range(4)))
            await until_generating(house, 16)
            before = await model(await house.connect())

            os.kill(before["pid"], signal.SIGKILL)

            for number, wire in enumerate(wires):
                streams = await wire.collect(*range(4))
                for i in range(4):
                    assert streams[i].ids == tokens_of(10 * number + i, 300)
                    assert streams[i].done is not None
                    assert streams[i].done.usage.prompt_tokens == 2
                    assert streams[i].done.usage.completion_tokens == 300
            after = await model(await house.connect())
            assert after["restarts"] == 1
            assert after["pid"] != before["pid"]

    run(test())


@pytest.mark.parametrize("death", ["tear_once@40", "crash_once@40", "silent_end@99"])
def test_a_death_at_the_worst_moment_loses_and_repeats_nothing(serve: Serve, death: str) -> None:
    """In the middle of a frame, between two tokens, between the last token and the word of it."""

    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            wire.send(asks(1, f"please {death}", max_tokens=100), asks(2, seed=2, max_tokens=150))

            streams = await wire.collect(1, 2)

            assert streams[1].ids == tokens_of(7, 100)
            assert streams[2].ids == tokens_of(2, 150)
            assert [s.done.finish_reason for s in streams.values() if s.done] == ["length"] * 2

    run(test())


def test_a_cancel_that_crosses_the_engines_death_still_ends_the_request(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            wire.send(asks(1, max_tokens=2000), asks(2, seed=2, max_tokens=400))
            await until_generating(house, 2)
            pid = (await model(await house.connect()))["pid"]

            os.kill(pid, signal.SIGSTOP)
            wire.send(Cancel(id=3, own_id=1))
            os.kill(pid, signal.SIGKILL)

            streams = await wire.collect(1, 2)
            assert streams[1].done is not None
            assert streams[1].done.finish_reason == "cancelled"
            assert streams[1].ids == tokens_of(7, len(streams[1].ids))
            assert streams[2].ids == tokens_of(2, 400)

    run(test())


def test_a_question_that_crosses_the_engines_death_is_asked_again(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            pid = (await model(wire))["pid"]

            os.kill(pid, signal.SIGSTOP)
            wire.send(Tokenize(id=1, text="a bb"))
            await wire_has_arrived(house)
            os.kill(pid, signal.SIGKILL)

            request_id, answer = await wire.next()
            assert request_id == 1
            assert getattr(answer, "value", None) == [1, 2]

    run(test())


async def wire_has_arrived(house: House) -> None:
    """What other connections sent before is handled once a new one has had its answer."""
    await (await house.connect()).ask(Ping(id=1))


def test_three_crashes_fail_the_model_and_only_that_one(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), FakeModel()) as house:
            wire, neighbour = await house.connect(), await house.connect()
            neighbour.send(asks(1, seed=3, max_tokens=600, model="b"))

            stream = await wire.stream(asks(1, "crash@10", max_tokens=20, model="a"))

            assert stream.ids == tokens_of(7, 10)
            assert stream.failed is not None
            assert stream.failed.code == "engine_failed"
            assert "crashed 3 times" in stream.failed.message
            assert "SIGKILL" in stream.failed.message
            refused = await wire.stream(asks(2, model="a"))
            assert refused.failed == stream.failed
            assert (await neighbour.collect(1))[1].ids == tokens_of(3, 600)
            assert (await model(wire, "a"))["state"] == "failed"
            assert (await model(wire, "b"))["restarts"] == 0

    run(test())


def test_loading_a_failed_model_again_gives_it_three_more_lives(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            await wire.stream(asks(1, "crash@1"))

            facts = await wire.ask(Load(id=2, model="a"))

            assert facts["state"] == "ready"
            stream = await wire.stream(asks(3, "crash_once@2"))
            assert stream.ids == tokens_of(7, 5)

    run(test())


def test_crashes_further_apart_than_the_window_do_not_fail_the_model(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crashes, "CRASH_WINDOW_NS", 0)

    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            for i in range(4):
                stream = await wire.stream(asks(i, "crash_once@2"))
                assert stream.ids == tokens_of(7, 5)

            assert (await model(wire))["restarts"] == 4

    run(test())


def test_an_engine_that_says_fatal_is_restarted_like_one_that_crashed(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, "fatal@3"))

            assert stream.ids == tokens_of(7, 3)
            assert stream.failed is not None
            assert stream.failed.code == "engine_failed"
            assert "told to" in stream.failed.message

    run(test())


def test_a_hanging_engine_is_killed_and_its_other_streams_go_on(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), stall_s=0.4) as house:
            wire = await house.connect()
            wire.send(asks(1, seed=1, max_tokens=200))
            await until_generating(house, 1)
            wire.send(asks(2, "hang@0", seed=2))

            streams = await wire.collect(1, 2)

            assert streams[1].ids == tokens_of(1, len(streams[1].ids))
            assert streams[2].failed is not None
            assert "said nothing for" in streams[2].failed.message

    run(test())


def test_an_idle_engine_and_a_paused_one_are_not_taken_for_hanging(serve: Serve) -> None:
    async def test() -> None:
        n = 20_000
        async with serve(
            FakeModel(pace_ms=0), stall_s=0.1, send_queue_bytes=4096, max_tokens=n
        ) as house:
            slow, observer = await house.connect(), await house.connect()
            slow.stop_reading()
            slow.send(asks(1, max_tokens=n))

            async def is_paused() -> bool:
                return [r["state"] for r in await observer.ask(Sessions(id=1))] == ["paused"]

            await until(is_paused)
            await asyncio.sleep(0.3)  # the time itself is what is tested
            slow.read_on()
            stream = (await slow.collect(1))[1]
            await asyncio.sleep(0.3)

            assert stream.ids == tokens_of(7, n)
            assert (await model(observer))["restarts"] == 0

    run(test())


def test_requests_for_a_loading_model_wait_and_then_run(serve: Serve, tmp_path: Path) -> None:
    async def test() -> None:
        gate = tmp_path / "gate"
        async with serve(FakeModel(wait_for=str(gate)), wait=False) as house:
            wire = await house.connect()
            wire.send(asks(1, seed=1), asks(2, seed=2), Tokenize(id=3, text="a bb"))
            await wire.next()
            assert (await model(await house.connect()))["state"] == "starting"

            gate.touch()

            streams = await wire.collect(1, 2)
            assert streams[1].ids == tokens_of(1, 5)
            assert streams[2].ids == tokens_of(2, 5)

    run(test())


def test_a_load_that_fails_says_why_and_others_run_on(serve: Serve, tmp_path: Path) -> None:
    async def test() -> None:
        path = FakeModel(fatal=("model_too_large", "needs 96 GiB, 16 are there")).write(
            tmp_path / "huge.gguf"
        )
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            answer = await wire.ask(Load(id=1, model=str(path)))

            assert isinstance(answer, Failed)
            assert answer.code == "model_too_large"
            assert "needs 96 GiB" in answer.message
            assert (await wire.stream(asks(2))).ids == tokens_of(7, 5)
            again = await wire.stream(asks(3, model="huge"))
            assert again.failed is not None
            assert again.failed.code == "model_too_large"

    run(test())


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(3, "model_load_failed", "exit status 3 (told to exit)"), (-9, "engine_failed", "SIGKILL")],
)
def test_an_engine_that_ends_before_it_is_ready_fails_its_load(
    serve: Serve, tmp_path: Path, status: int, code: str, words: str
) -> None:
    """Its own failure is final at once; a kill from outside is tried three times."""

    async def test() -> None:
        path = FakeModel(exit_status=status).write(tmp_path / "broken.gguf")
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            answer = await wire.ask(Load(id=1, model=str(path)))

            assert isinstance(answer, Failed)
            assert answer.code == code
            assert words in answer.message

    run(test())


def test_a_load_that_takes_too_long_is_given_up(serve: Serve, tmp_path: Path) -> None:
    async def test() -> None:
        path = FakeModel(wait_for=f"{tmp_path}/never").write(tmp_path / "slow.gguf")
        async with serve(FakeModel(), load_s=1.0) as house:
            wire = await house.connect()

            answer = await wire.ask(Load(id=1, model=str(path)))

            assert isinstance(answer, Failed)
            assert answer.code == "model_load_failed"
            assert "not ready within 1 s" in answer.message

    run(test())


def test_loading_twice_at_once_starts_one_engine(serve: Serve, tmp_path: Path) -> None:
    async def test() -> None:
        path = FakeModel().write(tmp_path / "more.gguf")
        async with serve(FakeModel()) as house:
            wires = [await house.connect() for _ in range(3)]

            facts = await asyncio.gather(*(wire.ask(Load(id=1, model=str(path))) for wire in wires))

            assert len({one["pid"] for one in facts}) == 1
            assert sorted(await house.models()) == ["a", "more"]

    run(test())


def test_two_files_of_one_name_are_not_mixed_up(serve: Serve, tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "other").mkdir()
        path = FakeModel().write(tmp_path / "other" / "a.gguf")
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            answer = await wire.ask(Load(id=1, model=str(path)))

            assert isinstance(answer, Failed)
            assert answer.code == "bad_request"
            assert "unload it first" in answer.message

    run(test())


def test_unloading_ends_the_process_and_its_requests_with_an_error(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel(), FakeModel()) as house:
            wire, boss = await house.connect(), await house.connect()
            wire.send(asks(1, model="a", max_tokens=2000))
            await wire.next()
            pid = (await model(boss, "a"))["pid"]

            answer = await boss.ask(Unload(id=1, model="a"))

            stream = (await wire.collect(1))[1]
            assert answer is None
            assert stream.failed is not None
            assert stream.failed.code == "unknown_model"
            assert not psutil.pid_exists(pid)  # reaped too
            assert list(await house.models()) == ["b"]
            # The next in line serves requests that name no model.
            assert (await wire.stream(asks(2))).ids == tokens_of(7, 5)

    run(test())


def test_an_unloaded_model_can_be_loaded_again(serve: Serve, tmp_path: Path) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()
            await wire.ask(Unload(id=1, model="a"))

            facts = await wire.ask(Load(id=2, model=str(tmp_path / "a.gguf")))

            assert facts["state"] == "ready"
            assert (await wire.stream(asks(3))).ids == tokens_of(7, 5)

    run(test())


def test_an_unknown_model_is_refused_with_the_nearest_name(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, model="aa"))
            load = await wire.ask(Load(id=2, model="qwen"))
            missing = await wire.ask(Load(id=3, model="/nowhere/qwen.gguf"))

            assert stream.failed is not None
            assert stream.failed.code == "unknown_model"
            assert "loaded are a" in stream.failed.message
            assert load.code == "unknown_model"
            assert missing.code == "model_load_failed"

    run(test())


def test_a_paused_stream_stays_paused_over_a_restart_and_is_complete_in_the_end(
    serve: Serve,
) -> None:
    async def test() -> None:
        n = 20_000
        async with serve(FakeModel(pace_ms=0), send_queue_bytes=4096, max_tokens=n) as house:
            slow, observer = await house.connect(), await house.connect()
            slow.stop_reading()
            slow.send(asks(1, max_tokens=n))

            async def is_paused() -> bool:
                return [r["state"] for r in await observer.ask(Sessions(id=1))] == ["paused"]

            async def is_back() -> bool:
                row = await model(observer)
                return bool(row["restarts"] == 1 and row["state"] == "ready")

            await until(is_paused)
            generated = await standstill(observer)
            os.kill((await model(observer))["pid"], signal.SIGKILL)
            await until(is_back)
            assert await standstill(observer) == generated
            assert await is_paused()
            slow.read_on()

            assert (await slow.collect(1))[1].ids == tokens_of(7, n)

    run(test())


def test_progress_is_not_told_twice_when_an_engine_catches_up(serve: Serve) -> None:
    async def test() -> None:
        async with serve(FakeModel()) as house:
            wire = await house.connect()

            stream = await wire.stream(asks(1, "crash_once@3"))

            kinds = [type(event).__name__ for event in stream.events]
            assert kinds == ["Accepted", "Progress", *["Tokens"] * 5, "Done"]
            assert all(len(e.ids) == 1 for e in stream.events if isinstance(e, Tokens))

    run(test())


class Nobody:
    """Hears what engines do and tells nobody."""

    def engine_ready(self, engine: Engine) -> None: ...
    def engine_report(self, engine: Engine, report: StepReport) -> None: ...
    def engine_tokens(self, engine: Engine, unpacked: Sequence[Any], now_ns: int) -> None: ...
    def engine_died(self, engine: Engine) -> None: ...
    def engine_ended(self, engine: Engine, error: UmadError) -> None: ...


def supervise(launcher: Launcher) -> Supervisor:
    return Supervisor(
        launcher=launcher, limits=LimitSettings(), clock=MonotonicClock(), events=Nobody()
    )


def test_a_first_word_that_comes_before_anybody_listens_is_heard(tmp_path: Path) -> None:
    """The loop is held up from the process's start until long after it said it is ready."""
    ready = encode_frame(encode(Ready(facts={})))

    def launcher(file: ModelFile, fd: int) -> list[str]:
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        program = f"import os; os.write({fd}, {ready!r}); os.read({fd}, 1)"
        return [sys.executable, "-I", "-S", "-c", program]

    async def test() -> None:
        supervisor = supervise(launcher)
        path = FakeModel().write(tmp_path / "a.gguf")

        engine = await asyncio.wait_for(supervisor.load(str(path)), PATIENCE_S)

        assert engine.state is State.READY
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
