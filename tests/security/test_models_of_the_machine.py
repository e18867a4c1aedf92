"""A key that is no admin's loads a model by its whole name, and learns nothing of what is here."""

from pathlib import Path

import pytest

from tests.daemon.house import fake_launcher
from tests.daemon.test_supervisor import Nobody
from tests.models import trees
from umad.asker import MACHINE_USER, Asker
from umad.clock import MonotonicClock
from umad.config import LimitSettings
from umad.daemon.authority import told_to
from umad.daemon.names import ModelNames
from umad.daemon.supervisor import Supervisor
from umad.errors import ModelLoadFailed, UnknownModel
from umad.models.library import machine_library

USER = Asker(owner="key:alice", role="user")


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    environ = trees.machine(tmp_path / "home", b"GGUF")
    store = {"UMAD_MODELS": str(tmp_path / "store")}
    return Supervisor(
        launcher=fake_launcher,
        limits=LimitSettings(),
        clock=MonotonicClock(),
        events=Nobody(),
        names=ModelNames(library=machine_library({**environ, **store}, platform="linux")),
    )


@pytest.mark.parametrize("name", [*trees.NAMES, "hf:org/Hub-1B-GGUF:Q4_K_M", "ollama:lama:1b"])
def test_a_whole_name_is_enough_for_everybody(supervisor: Supervisor, name: str) -> None:
    for asker in (MACHINE_USER, USER):
        assert supervisor.file(name, asker).name in trees.NAMES


@pytest.mark.parametrize(
    "probe",
    ["Hub", "lama", "lama:2b", "Hub-1B", "hf:org/Hub-1B-GGUF", "Studio-1B-Q6", "qwen3-coder:30b"],
)
def test_a_guess_tells_a_key_the_same_whatever_is_here(supervisor: Supervisor, probe: str) -> None:
    told = []
    for text in (probe, "nothing-of-that-name"):
        with pytest.raises(UnknownModel) as caught:
            supervisor.file(text, USER)
        told.append(caught.value.message.replace(text, "X"))

    assert told[0] == told[1]


def test_a_key_sees_no_path_of_a_model_that_cannot_be_loaded(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    for blob in (tmp_path / "home" / ".ollama" / "models" / "blobs").iterdir():
        blob.unlink()

    with pytest.raises(ModelLoadFailed) as caught:
        supervisor.start("lama:1b", USER)

    assert "is not there" in caught.value.message
    assert "sha256" in caught.value.message, "the machine's user is told which file"
    told = told_to(USER, caught.value, "lama:1b").message
    assert told == "lama:1b cannot be had now; the log of the daemon says why"


def test_a_path_of_another_programs_folder_is_no_name(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    path = next((tmp_path / "home").rglob("Studio-1B-Q6_K.gguf"))

    with pytest.raises(UnknownModel):
        supervisor.file(str(path), USER)

    assert supervisor.file(str(path), MACHINE_USER).path == path


def test_the_machines_user_is_told_near_names_and_how_to_fetch(supervisor: Supervisor) -> None:
    for text, words in (
        ("lama:2b", "near are lama:1b"),
        ("hf:org/Gone-GGUF", "umad pull hf:org/Gone-GGUF"),
    ):
        with pytest.raises(UnknownModel, match=words):
            supervisor.file(text, MACHINE_USER)
