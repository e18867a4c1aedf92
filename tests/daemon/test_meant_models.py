"""Which engine the daemon gives a name to: what is loaded, what may be loaded, and who asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.daemon.house import PATIENCE_S, fake_launcher, run
from tests.daemon.test_supervisor import Nobody
from umad.asker import MACHINE_USER, Asker
from umad.clock import MonotonicClock
from umad.config import LimitSettings
from umad.daemon.names import ModelNames
from umad.daemon.supervisor import Supervisor
from umad.errors import ModelLoadFailed, UmadError, UnknownModel
from umad.testing import FakeModel

USER = Asker(owner="key:alice", role="user")
LOADED, OTHER, UNLOADED = "qwen2.5-0.5b-q8", "llama-3.2-1b", "qwen3-4b"


@asynccontextmanager
async def supervisor(folder: Path) -> AsyncIterator[Supervisor]:
    """Two models are loaded; a third lies in the folder."""
    for name in (LOADED, OTHER, UNLOADED):
        FakeModel().write(folder / f"{name}.gguf")
    one = Supervisor(
        launcher=fake_launcher,
        limits=LimitSettings(),
        clock=MonotonicClock(),
        events=Nobody(),
        names=ModelNames(folders=[str(folder)]),
    )
    try:
        for name in (LOADED, OTHER):
            await asyncio.wait_for(one.load(name), PATIENCE_S)
        yield one
    finally:
        await one.stop()


@pytest.mark.parametrize(
    ("asked", "admins", "users"),
    [
        pytest.param(LOADED, LOADED, LOADED, id="its name"),
        pytest.param("qwen2.5:0.5b", LOADED, LOADED, id="Ollama's name"),
        pytest.param("qwen", LOADED, LOADED, id="the beginning of the only loaded one"),
        pytest.param("LLAMA-3.2:latest", OTHER, OTHER, id="other letters"),
        pytest.param(f"{{folder}}/{OTHER}.gguf", OTHER, None, id="its path, which users have not"),
        pytest.param(f"/elsewhere/{OTHER}.gguf", None, None, id="another path"),
        pytest.param(UNLOADED, None, None, id="a model that is not loaded"),
        pytest.param("mistral", None, None, id="no model"),
    ],
)
def test_a_request_goes_to_the_loaded_model_that_is_meant(
    tmp_path: Path, asked: str, admins: str | None, users: str | None
) -> None:
    async def test() -> None:
        async with supervisor(tmp_path) as one:
            name = asked.format(folder=tmp_path)
            for asker, expected in ((MACHINE_USER, admins), (USER, users)):
                if expected is not None:
                    assert one.find(name, asker).name == expected
                    continue
                with pytest.raises(UnknownModel) as refusal:
                    one.find(name, asker)
                assert LOADED in refusal.value.message

    run(test())


@pytest.mark.parametrize(
    ("asked", "admins", "users"),
    [
        pytest.param(UNLOADED, UNLOADED, UNLOADED, id="its name"),
        pytest.param("Qwen3-4B:latest", UNLOADED, UNLOADED, id="in other letters, with a tag"),
        pytest.param("qwen3:4b", UNLOADED, UNLOADED, id="Ollama's name"),
        pytest.param("qwen3", UNLOADED, UnknownModel, id="its beginning: files are not users'"),
        pytest.param("qwen", UnknownModel, LOADED, id="the beginning of two, one of them loaded"),
        pytest.param("qwen2", LOADED, LOADED, id="the beginning of a loaded one"),
        pytest.param("nano.gguf", "nano", "nano", id="a file that is only a name"),
        pytest.param("/no/qwen3-4b.gguf", ModelLoadFailed, UnknownModel, id="a path to nothing"),
        pytest.param("mistral", UnknownModel, UnknownModel, id="no model"),
    ],
)
def test_a_model_is_loaded_by_what_its_asker_may_know(
    tmp_path: Path, asked: str, admins: str | type[UmadError], users: str | type[UmadError]
) -> None:
    async def test() -> None:
        async with supervisor(tmp_path) as one:
            for asker, expected in ((MACHINE_USER, admins), (USER, users)):
                if isinstance(expected, str):
                    assert one.file(asked, asker).name == expected
                    continue
                with pytest.raises(expected):
                    one.file(asked, asker)

    run(test())


def test_a_name_that_several_loaded_models_have_is_refused_with_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with supervisor(tmp_path) as one:
            await asyncio.wait_for(one.load(UNLOADED), PATIENCE_S)

            for asked, asker in (("qwen", MACHINE_USER), ("QWEN:latest", USER)):
                with pytest.raises(UnknownModel, match="may be") as refusal:
                    one.find(asked, asker)
                assert LOADED in refusal.value.message
                assert UNLOADED in refusal.value.message
            with pytest.raises(UnknownModel, match="may be"):
                await one.unload("qwen")

    run(test())


def test_a_model_that_is_not_loaded_is_advised_by_its_whole_name(tmp_path: Path) -> None:
    async def test() -> None:
        async with supervisor(tmp_path) as one:
            with pytest.raises(UnknownModel) as to_admin:
                one.find("qwen3")
            with pytest.raises(UnknownModel) as to_user:
                one.find("qwen3", USER)

        assert to_admin.value.message.endswith(f"umad load {UNLOADED}")
        assert UNLOADED not in to_user.value.message

    run(test())


def test_a_model_is_unloaded_by_a_name_as_clients_write_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with supervisor(tmp_path) as one:
            await one.unload("Llama-3.2:1b")

            assert [engine.name for engine in one] == [LOADED]

    run(test())
