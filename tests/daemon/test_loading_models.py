"""Models are loaded and unloaded: who waits, what a failure says, which processes there are."""

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.daemon.house import (
    Serve,
    asks,
    model,
    run,
    tokens_of,
)
from umad.protocol.messages import Load, Tokenize, Unload
from umad.service import Failed
from umad.testing import FakeModel


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
        # Nobody else has to be ready within that time.
        async with serve(empty=True, load_s=0.2) as house:
            wire = await house.connect()

            answer = await wire.ask(Load(id=1, model=str(path)))

            assert isinstance(answer, Failed)
            assert answer.code == "model_load_failed"
            assert "not ready within 0.2 s" in answer.message

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
