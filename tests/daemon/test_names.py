"""Which file a model's name means."""

from pathlib import Path

import pytest

from umad import nano
from umad.daemon.names import ModelNames, find_model_file
from umad.errors import ModelLoadFailed, UnknownModel
from umad.model_names import unknown_model
from umad.models.catalogue import Catalogue
from umad.models.library import Library


def test_nano_is_the_model_that_ships() -> None:
    file = find_model_file("nano")

    assert (file.name, file.path) == ("nano", nano.path())


def test_a_path_gives_its_stem_as_the_name(tmp_path: Path) -> None:
    path = tmp_path / "qwen-0.5b.q8.gguf"
    path.touch()

    file = find_model_file(str(path))

    assert (file.name, file.path) == ("qwen-0.5b.q8", path)


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").touch()
    monkeypatch.chdir(tmp_path)

    assert find_model_file("m.gguf").path == tmp_path / "m.gguf"


@pytest.mark.parametrize("model", ["/nowhere/m.gguf", "m.gguf", "models/m"])
def test_a_path_that_leads_nowhere_is_named_in_full(model: str) -> None:
    with pytest.raises(ModelLoadFailed, match=r"no such file: /.*m"):
        find_model_file(model)


@pytest.mark.parametrize("model", ["x" * 300 + ".gguf", "~nobody-at-all/m.gguf", "\0.gguf"])
def test_a_path_that_no_system_has_is_a_missing_file_too(model: str) -> None:
    with pytest.raises(ModelLoadFailed, match="gguf"):
        find_model_file(model)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match=f"a folder or device, not a GGUF file: {tmp_path}"):
        find_model_file(str(tmp_path))


def test_a_name_that_is_neither_is_unknown() -> None:
    with pytest.raises(UnknownModel, match="nano"):
        find_model_file("qwen")


def test_an_unknown_name_is_answered_with_the_nearest_loaded_ones_first() -> None:
    error = unknown_model("qwen-3b", ["nano", "qwen-3b-q8", "llama"])

    assert "loaded are qwen-3b-q8" in error.message


def test_with_nothing_loaded_the_message_says_how_to_load() -> None:
    assert "umad load x" in unknown_model("x", []).message


def folder_of(tmp_path: Path, *files: str) -> ModelNames:
    for file in files:
        (tmp_path / file).touch()
    return ModelNames(folders=[str(tmp_path)])


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("qwen-0.5b", "qwen-0.5b"),
        ("Qwen-0.5B:latest", "qwen-0.5b"),
        ("qwen:0.5b", "qwen-0.5b"),
        ("qwen-0.5b.gguf", "qwen-0.5b"),
        ("NANO:latest", "nano"),
        ("qwen", None),
        ("mistral", None),
        # Tags that nano's header contradicts.
        ("nano:70b", None),
        ("nano:f16", None),
    ],
)
def test_a_file_in_a_folder_is_known_by_its_whole_name(
    tmp_path: Path, asked: str, name: str | None
) -> None:
    found = folder_of(tmp_path, "qwen-0.5b.gguf", "notes.txt").near(asked)

    assert (found and found.name) == name


def test_an_alias_may_name_nano_and_models_of_the_configuration(tmp_path: Path) -> None:
    known = Catalogue(aliases={"gpt-4o": "nano", "Coder": "m"})
    names = ModelNames([str(tmp_path / "m.gguf")], library=Library(catalogue=known))

    found = [names.find(one, whole=True) for one in ("gpt-4o", "coder", "m", "hen")]

    assert [one and one.name for one in found] == ["nano", "m", "m", None]
