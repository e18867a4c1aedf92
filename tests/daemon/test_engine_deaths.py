"""Engines die, hang and fail; their clients see a pause or a clear error, and nobody else anything.

Every engine here is a process, and every death a real one.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.daemon.house import (
    Serve,
    asks,
    model,
    run,
    standstill,
    tokens_of,
    until,
    until_generating,
    wire_has_arrived,
)
from umad.daemon import crashes
from umad.protocol.messages import Cancel, Load, Sessions, Tokenize
from umad.service import Tokens
from umad.testing import FakeModel


def test_sixteen_streams_survive_kill_9_with_no_token_lost_and_none_repeated(
    serve: Serve, tmp_path: Path
) -> None:
    async def test() -> None:
        gate = tmp_path / "gate"
        async with serve(FakeModel(pace_ms=2, gate=str(gate))) as house:
            wires = [await house.connect() for _ in range(4)]
            for number, wire in enumerate(wires):
                seeds = [10 * number + i for i in range(4)]
                # None ends before the kill, however late that is.
                wire.send(*[asks(i, "a gate@299", seed=seeds[i], max_tokens=300) for i in range(4)])
            await until_generating(house, 16)
            before = await model(await house.connect())

            os.kill(before["pid"], signal.SIGKILL)
            gate.touch()

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


def test_a_cancel_that_crosses_the_engines_death_still_ends_the_request(
    serve: Serve, tmp_path: Path
) -> None:
    async def test() -> None:
        gate = tmp_path / "gate"
        async with serve(FakeModel(gate=str(gate))) as house:
            wire = await house.connect()
            wire.send(
                asks(1, "a gate@1999", max_tokens=2000),
                asks(2, "a gate@399", seed=2, max_tokens=400),
            )
            await until_generating(house, 2)
            pid = (await model(await house.connect()))["pid"]

            os.kill(pid, signal.SIGSTOP)
            wire.send(Cancel(id=3, own_id=1))
            os.kill(pid, signal.SIGKILL)
            gate.touch()

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


def test_a_hanging_engine_is_killed_and_its_other_streams_go_on(
    serve: Serve, tmp_path: Path
) -> None:
    async def test() -> None:
        async with serve(FakeModel(gate=f"{tmp_path}/never"), stall_s=0.4) as house:
            wire = await house.connect()
            wire.send(asks(1, "a gate@199", seed=1, max_tokens=200))
            await until_generating(house, 1)
            wire.send(asks(2, "hang@0", seed=2))

            streams = await wire.collect(1, 2)

            assert streams[1].ids == tokens_of(1, len(streams[1].ids))
            assert streams[2].failed is not None
            assert "said nothing for" in streams[2].failed.message

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
