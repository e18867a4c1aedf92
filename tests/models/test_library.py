"""Names of the models of a machine: one name one model, and one text one meaning."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models import trees
from umad.errors import UnknownModel
from umad.models.catalogue import Catalogue, CatalogueEntry
from umad.models.files import ModelFiles
from umad.models.library import Library, machine_library
from umad.models.places.folder import ModelFolder
from umad.models.places.hugging_face import HubCache
from umad.models.places.listing import ModelPlace
from umad.models.store import Store, StoredModel
from umad.preset import Preset

FOX = CatalogueEntry(
    name="fox:3b",
    repository="org/Fox-3B-GGUF",
    does=("chat",),
    purpose="Jumps.",
    parameters="3B",
    context_tokens=4096,
    licence="mit",
)
CATALOGUE = Catalogue(entries={FOX.name: FOX}, aliases={"mine": "fox:3b", "plain": "Fox-3B-Q8_0"})


def hub(tmp_path: Path, *files: str, repository: str = "org/Fox-3B-GGUF") -> Library:
    trees.hub_cache(tmp_path / "hub", repository, {name: name.encode() for name in files})
    return Library([HubCache(tmp_path / "hub")], catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Fox-3B-Q4_K_M", "Fox-3B-Q4_K_M"),
        ("fox:3b", "Fox-3B-Q4_K_M"),
        ("fox", "Fox-3B-Q4_K_M"),
        ("FOX:3B", "Fox-3B-Q4_K_M"),
        ("mine", "Fox-3B-Q4_K_M"),
        ("Mine", "Fox-3B-Q4_K_M"),
        ("plain", "Fox-3B-Q8_0"),
        ("hf:org/Fox-3B-GGUF", "Fox-3B-Q4_K_M"),
        ("org/fox-3b-gguf:q8_0", "Fox-3B-Q8_0"),
        ("https://huggingface.co/org/Fox-3B-GGUF", "Fox-3B-Q4_K_M"),
        ("hf:org/Fox-3B-GGUF:Q2_K", None),
        ("hf:org/Other-GGUF", None),
        ("fox:7b", None),
        ("/etc/passwd", None),
        ("../Fox-3B-Q4_K_M.gguf", None),
        ("", None),
    ],
)
def test_a_model_is_found_by_name_alias_and_reference(
    tmp_path: Path, text: str, name: str | None
) -> None:
    library = hub(tmp_path, "Fox-3B-Q4_K_M.gguf", "Fox-3B-Q8_0.gguf")

    found = library.find(text)

    assert (found and found.name) == name


def test_a_repository_with_one_quantization_means_that_one(tmp_path: Path) -> None:
    found = hub(tmp_path, "Fox-3B-Q6_K.gguf").find("hf:org/Fox-3B-GGUF")

    assert found is not None
    assert found.quantization == "Q6_K"


def test_a_dynamic_quantization_is_one_of_its_kind(tmp_path: Path) -> None:
    found = hub(tmp_path, "Fox-3B-UD-Q4_K_M.gguf").find("fox:3b")

    assert found is not None
    assert found.name == "Fox-3B-UD-Q4_K_M"


def test_a_repository_that_may_mean_several_models_is_refused_with_them(tmp_path: Path) -> None:
    library = hub(tmp_path, "Fox-3B-Q6_K.gguf", "Fox-3B-Q8_0.gguf")

    with pytest.raises(UnknownModel, match="Fox-3B-Q6_K, Fox-3B-Q8_0; say which"):
        library.find("hf:org/Fox-3B-GGUF")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Fox-3B-Q6_K", "Fox-3B-Q6_K"),
        ("hf:org/Fox-3B-GGUF:Q6_K", "Fox-3B-Q6_K"),
        ("hf:org/Fox-3B-GGUF", None),
        ("fox:3b", None),
    ],
)
def test_who_may_not_look_around_has_to_say_exactly_which(
    tmp_path: Path, text: str, name: str | None
) -> None:
    library = hub(tmp_path, "Fox-3B-Q6_K.gguf")

    found = library.find(text, whole=True)

    assert (found and found.name) == name


def test_models_of_one_name_have_names_of_their_own(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m-Q8_0.gguf").write_bytes(folder.encode())
    trees.hub_cache(tmp_path / "hub", "org/M-GGUF", {"m-Q8_0.gguf": b"hub"})
    places: list[ModelPlace] = [
        ModelFolder(tmp_path / "one"),
        ModelFolder(tmp_path / "two"),
        HubCache(tmp_path / "hub"),
    ]

    names = [one.name for one in Library(places, taken=("nano",)).models()]

    assert names == ["m-Q8_0", "m-Q8_0@folder", "hf:org/M-GGUF:Q8_0"]


def test_one_file_in_two_places_is_one_model(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "m.gguf").write_bytes(b"1")
    (tmp_path / "two").symlink_to(tmp_path / "one")

    found = Library([ModelFolder(tmp_path / "one"), ModelFolder(tmp_path / "two")]).models()

    assert [one.name for one in found] == ["m"]


def test_a_name_that_is_taken_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "nano.gguf").write_bytes(b"another")

    (found,) = Library([ModelFolder(tmp_path)], taken=("nano",)).models()

    assert found.name == "nano@folder"


def test_a_model_that_comes_or_goes_is_seen_at_the_next_look(tmp_path: Path) -> None:
    library = hub(tmp_path, "Fox-3B-Q4_K_M.gguf")
    assert len(library.models()) == 1

    trees.hub_cache(tmp_path / "hub", "org/Hen-GGUF", {"Hen-Q8_0.gguf": b"1"})
    came = {one.name for one in library.models()}
    link = next((tmp_path / "hub").glob("*/snapshots/*/Fox*"))
    link.unlink()
    went = {one.name for one in library.models()}

    assert came == {"Fox-3B-Q4_K_M", "Hen-Q8_0"}
    assert went == {"Hen-Q8_0"}


def test_folders_that_have_not_changed_for_a_while_are_not_read_again(tmp_path: Path) -> None:
    library = hub(tmp_path, "Fox-3B-Q4_K_M.gguf")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if not path.is_symlink():
            os.utime(path, (1_700_000_000, 1_700_000_000))
    reads = 0
    place = library._places[0]
    look = place.find

    def counted() -> object:
        nonlocal reads
        reads += 1
        return look()

    place.find = counted  # type: ignore[method-assign, assignment]
    for _ in range(5):
        library.models()

    assert reads == 1


def test_a_model_of_the_store_is_listed_once_under_the_name_it_was_fetched_by(
    tmp_path: Path,
) -> None:
    environ = trees.machine(tmp_path, b"1")
    store = Store(tmp_path / "store")
    pulled = next((tmp_path / ".cache").rglob("Hub-1B-Q4_K_M.gguf"))
    store.add(
        StoredModel(
            name="hub:1b",
            files=ModelFiles(parts=(pulled,)),
            source="hf:org/Hub-1B-GGUF:Q4_K_M",
        )
    )

    library = machine_library({**environ, "UMAD_MODELS": str(store.folder)}, platform="linux")

    names = [one.name for one in library.models()]
    assert names[0] == "hub:1b"
    assert "Hub-1B-Q4_K_M" not in names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mine", "fox:3b is not on this machine; fetch it: umad pull fox:3b"),
        ("hen", "'hen' may be hen:1b or hen:7b; say which"),
        ("reviewr", "near are reviewer"),
    ],
)
def test_a_name_of_a_model_that_is_not_here_says_what_to_fetch(text: str, words: str) -> None:
    hens = {name: replace(FOX, name=name) for name in ("hen:1b", "hen:7b")}
    known = replace(
        CATALOGUE,
        entries={**CATALOGUE.entries, **hens},
        presets={"reviewer": Preset(name="reviewer", model="hen:7b")},
    )

    error = Library(catalogue=known).unknown(text)

    assert words in error.message


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS", "UMAD_MODELS"])
def test_a_variable_that_names_the_home_of_nobody_is_passed_over(
    tmp_path: Path, variable: str
) -> None:
    environ = {"HOME": str(tmp_path), variable: "~nobody-of-that-name/models"}

    assert machine_library(environ).find("fox") is None
