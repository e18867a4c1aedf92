"""Whisper models on the disk: their header, their names, and what is wrong with a damaged one."""

import os
import struct
from pathlib import Path

import pytest

from tests.models.loopback_hub import LoopbackHub
from umad.daemon.names import ModelNames, find_model_file
from umad.errors import ModelLoadFailed
from umad.models.fetching import FetchLimits, fetch
from umad.models.fetching.hub import HubAccess
from umad.models.files import is_model_name, stem_of
from umad.models.found import described, file_facts
from umad.models.library import machine_library
from umad.models.reference import parse
from umad.models.store import Store
from umad.models.whisper import MAGIC, is_speech_file, read_whisper
from umad.testing.whisper_file import write_whisper


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "ggml-tiny.en.bin"
    write_whisper(path)
    return path


def test_the_header_says_what_the_model_is(model: Path) -> None:
    header = read_whisper(model)

    assert header.title == "Whisper tiny.en"
    assert header.quantization == "F16"
    assert (header.is_multilingual, header.audio_ctx, header.mels) == (False, 1500, 80)
    # The embedding of its words alone has as many.
    assert header.n_params > 51_864 * 64


def test_a_model_of_all_languages_is_told_from_an_english_one(tmp_path: Path) -> None:
    path = tmp_path / "ggml-tiny.bin"
    write_whisper(path, multilingual=True)

    assert read_whisper(path).is_multilingual
    assert read_whisper(path).title == "Whisper tiny"


def test_a_file_that_is_cut_short_anywhere_is_refused(model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    cut = tmp_path / "ggml-cut.bin"
    for n_bytes in (2, 20, 60, 40_000, 300_000, 5_000_000, len(whole) - 1):
        cut.write_bytes(whole[:n_bytes])
        with pytest.raises(ModelLoadFailed):
            read_whisper(cut)


@pytest.mark.parametrize(
    ("at", "value"), [(0, -1), (0, 2**30), (4, 100_000), (9, 0), (2, 2**20), (12, 2**20)]
)
def test_a_header_with_an_impossible_number_is_refused_in_one_line(
    model: Path, tmp_path: Path, at: int, value: int
) -> None:
    data = bytearray(model.read_bytes())
    struct.pack_into("<i", data, len(MAGIC) + 4 * at, value)
    bad = tmp_path / "ggml-bad.bin"
    bad.write_bytes(data)

    with pytest.raises(ModelLoadFailed) as refused:
        read_whisper(bad)

    assert "\n" not in refused.value.message
    assert str(bad) in refused.value.message


def test_a_folder_a_pipe_and_another_file_are_no_speech_models(tmp_path: Path) -> None:
    pipe, text = tmp_path / "ggml-pipe.bin", tmp_path / "ggml-text.bin"
    os.mkfifo(pipe)
    text.write_text("hello")

    for path in (tmp_path, pipe, text, tmp_path / "ggml-none.bin"):
        assert not is_speech_file(path)
        with pytest.raises(ModelLoadFailed):
            read_whisper(path)


def test_a_whisper_file_is_a_model_by_its_name_and_is_called_whisper() -> None:
    assert stem_of("ggml-base.en.bin") == "whisper-base.en"
    assert stem_of("ggml-large-v3-turbo-q5_0.bin") == "whisper-large-v3-turbo-q5_0"
    assert is_model_name("ggml-base.en.bin")
    # It tells speech from silence and transcribes nothing.
    assert not is_model_name("ggml-silero-v5.1.2.bin")
    assert not is_model_name("pytorch_model.bin")


def test_a_folder_of_models_has_whisper_models_under_their_names(model: Path) -> None:
    library = machine_library({}, folders=[str(model.parent)], others=False, has_store=False)

    ((found, facts),) = library.described()

    assert (found.name, found.kind, found.problem) == ("whisper-tiny.en", "speech", "")
    assert facts is not None
    assert (facts.architecture, found.quantization) == ("whisper", "F16")
    assert ModelNames(folders=[str(model.parent)]).find("whisper-tiny.en") is not None


def test_a_damaged_one_is_listed_with_its_problem(model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "ggml-tiny.en.bin"
    bad.write_bytes(model.read_bytes()[:100_000])
    library = machine_library({}, folders=[str(tmp_path)], others=False, has_store=False)

    (found,) = library.models()

    assert "cut short" in described(found)[0].problem


def test_a_file_is_named_by_its_path(model: Path) -> None:
    assert find_model_file(str(model)).name == "whisper-tiny.en"
    assert parse("./ggml-tiny.en.bin").kind == "file"
    assert file_facts(model)[0].kind == "speech"


def test_a_pull_of_a_file_that_is_here_gives_it_a_name(model: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    found = fetch(parse(str(model)), on_progress=lambda told: None, store=store)

    assert (found.name, found.kind) == ("whisper-tiny.en", "speech")
    assert store.get("whisper-tiny.en") is not None


def test_a_pull_of_a_repository_brings_the_whisper_file_that_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"ggml-tiny.en.bin": model.read_bytes(), "README.md": b"# Speech"}
    with LoopbackHub() as hub:
        hub.add("org/whisper", files, plain=frozenset({"README.md"}))
        access = HubAccess(endpoint=hub.url, cache=tmp_path / "cache")
        monkeypatch.setattr(HubAccess, "of_client", classmethod(lambda cls: access))

        found = fetch(
            parse("hf:org/whisper/ggml-tiny.en.bin"),
            on_progress=lambda told: None,
            limits=FetchLimits(),
            store=Store(tmp_path / "store"),
        )

    assert (found.name, found.kind) == ("whisper-tiny.en", "speech")
    assert found.source == "hf:org/whisper/ggml-tiny.en.bin"
    assert found.files.main.read_bytes() == model.read_bytes()
