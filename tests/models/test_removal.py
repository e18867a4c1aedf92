"""Removing models: what is umad's goes whole, what is another's stays, nothing shared is lost."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models import trees
from umad import nano
from umad.errors import Refused, UnknownModel
from umad.models.copying import copy
from umad.models.files import ModelFiles
from umad.models.library import Library, machine_library
from umad.models.places.hugging_face import HubCache
from umad.models.removal import remove
from umad.models.store import Store, StoredModel
from umad.models.verifying import verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def kept_in(store: Store, name: str, data: bytes = b"weights") -> StoredModel:
    path = store.files_folder / "ollama" / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    added = StoredModel(name=name, files=ModelFiles(parts=(path,)))
    store.add(added)
    return added


def named(store: Store, name: str, *places: HubCache) -> Library:
    library = Library(places, store=store)
    assert library.find(name) is not None
    return library


def test_a_model_of_the_store_goes_with_its_files(store: Store) -> None:
    added = kept_in(store, "fox")
    found = named(store, "fox").find("fox")
    assert found is not None

    removed = remove(found, store)

    assert removed.freed_bytes == len(b"weights")
    assert not added.files.main.exists()
    assert not added.files.main.parent.exists(), "an empty folder is left"
    assert store.models() == ()


def test_a_model_that_is_listed_under_another_name_than_its_own_goes_too(store: Store) -> None:
    added = kept_in(store, "nano")
    store.add(replace(added, source="ollama:nano"))
    found = Library(store=store, taken=["nano"]).find("ollama:nano")
    assert found is not None
    assert found.name == "ollama:nano"

    remove(found, store)

    assert store.models() == ()
    assert not added.files.main.exists()


def test_files_stay_until_the_last_name_of_them_goes(store: Store) -> None:
    added = kept_in(store, "fox")
    store.add(replace(added, name="hen"))
    library = named(store, "fox")
    fox, hen = library.find("fox"), library.find("hen")
    assert fox is not None
    assert hen is not None

    first = remove(fox, store)
    there = added.files.main.exists()
    second = remove(hen, store)

    assert (first.freed_bytes, there) == (0, True)
    assert first.kept == added.files.parts
    assert second.freed_bytes == len(b"weights")
    assert not added.files.main.exists()


def test_another_name_of_anothers_model_is_only_a_name(store: Store, tmp_path: Path) -> None:
    trees.hub_cache(tmp_path / "hub", "org/A-GGUF", {"a-Q4_0.gguf": b"1"})
    before = trees.digest_of(tmp_path / "hub")
    place = HubCache(tmp_path / "hub")
    (found,) = place.find().models
    store.add(StoredModel(name="mine", files=found.files, owns_files=False))
    mine = named(store, "mine", place).find("mine")
    assert mine is not None

    remove(mine, store)

    assert trees.digest_of(tmp_path / "hub") == before


def pulled(
    store: Store, hub: Path, *names: str, repository: str = "org/A-GGUF"
) -> list[StoredModel]:
    """Models that umad has fetched into the hub's cache, with the projector they share."""
    folder = hub / f"models--{repository.replace('/', '--')}" / "snapshots" / trees.COMMIT
    found = []
    for name in names:
        files = ModelFiles(parts=(folder / f"{name}.gguf",), projector=folder / "mmproj-F16.gguf")
        one = StoredModel(name=name, files=files, source=f"hf:{repository}")
        store.add(one)
        found.append(one)
    return found


def test_a_model_in_the_hubs_cache_goes_with_its_blob_and_leaves_a_cache_that_is_whole(
    store: Store, tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    files = {"a-Q4_0.gguf": b"four", "a-Q8_0.gguf": b"eight", "mmproj-F16.gguf": b"eyes"}
    trees.hub_cache(hub, "org/A-GGUF", files)
    pulled(store, hub, "a-Q4_0", "a-Q8_0")
    library = named(store, "a-Q4_0")
    repository = hub / "models--org--A-GGUF"

    first = library.find("a-Q4_0")
    assert first is not None
    removed = remove(first, store)
    names = {path.name for path in (repository / "snapshots" / trees.COMMIT).iterdir()}
    blobs = {path.read_bytes() for path in (repository / "blobs").iterdir()}
    second = library.find("a-Q8_0")
    assert second is not None
    remove(second, store)

    assert removed.freed_bytes == len(b"four")
    assert names == {"a-Q8_0.gguf", "mmproj-F16.gguf"}
    assert blobs == {b"eight", b"eyes"}
    assert not repository.exists(), "a repository with no file is left"


def test_a_projector_that_another_programs_model_needs_stays(store: Store, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    files = {"a-Q4_0.gguf": b"four", "a-Q8_0.gguf": b"eight", "mmproj-F16.gguf": b"eyes"}
    trees.hub_cache(hub, "org/A-GGUF", files)
    pulled(store, hub, "a-Q4_0")
    found = named(store, "a-Q4_0").find("a-Q4_0")
    assert found is not None

    remove(found, store)

    (left,) = HubCache(hub).find().models
    assert left.name == "a-Q8_0"
    assert left.problem == ""
    assert left.files.projector is not None


def test_a_blob_that_another_commit_links_to_stays(store: Store, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    trees.hub_cache(hub, "org/A-GGUF", {"a-Q4_0.gguf": b"four"}, commit="f" * 40)
    trees.hub_cache(hub, "org/A-GGUF", {"a-Q4_0.gguf": b"four"})
    (one,) = pulled(store, hub, "a-Q4_0")
    store.add(replace(one, files=ModelFiles(parts=one.files.parts)))
    found = named(store, "a-Q4_0").find("a-Q4_0")
    assert found is not None

    removed = remove(found, store)

    (left,) = HubCache(hub).find().models
    assert removed.freed_bytes == 0
    assert left.files.main.read_bytes() == b"four"


def test_a_blob_that_a_link_in_a_deep_folder_needs_stays(store: Store, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    deep = "a/b/c/d/e/f/again-Q4_0.gguf"
    trees.hub_cache(hub, "org/A-GGUF", {"a-Q4_0.gguf": b"four", deep: b"four"})
    (one,) = pulled(store, hub, "a-Q4_0")
    store.add(replace(one, files=ModelFiles(parts=one.files.parts)))
    found = named(store, "a-Q4_0").find("a-Q4_0")
    assert found is not None

    removed = remove(found, store)

    assert removed.freed_bytes == 0
    assert (one.files.main.parent / deep).read_bytes() == b"four"


def test_where_there_are_no_links_a_model_goes_and_other_files_of_its_repository_stay(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "hub" / "models--org--A-GGUF" / "snapshots" / trees.COMMIT
    notes = folder / "a" / "b" / "c" / "d" / "e" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_bytes(b"mine")
    (folder / "a-Q4_0.gguf").write_bytes(b"four")
    (one,) = pulled(store, tmp_path / "hub", "a-Q4_0")
    store.add(replace(one, files=ModelFiles(parts=one.files.parts)))
    found = named(store, "a-Q4_0").find("a-Q4_0")
    assert found is not None

    removed = remove(found, store)

    assert removed.freed_bytes == len(b"four")
    assert notes.read_bytes() == b"mine"


def test_a_model_that_is_copied_and_removed_at_once_is_whole_or_gone(store: Store) -> None:
    kept_in(store, "fox")
    found = named(store, "fox").find("fox")
    assert found is not None
    remove(found, store)

    with pytest.raises(UnknownModel, match="was removed meanwhile"):
        copy(found, "reynard", store)
    assert store.models() == ()


def test_a_record_that_names_a_file_elsewhere_deletes_nothing_there(
    store: Store, tmp_path: Path
) -> None:
    """A record is a file, which may say anything."""
    precious = tmp_path / "precious.gguf"
    precious.write_bytes(b"precious")
    around = store.files_folder / ".." / ".." / "precious.gguf"
    store.files_folder.mkdir(parents=True)
    for name, path in (("a", precious), ("b", around)):
        store.add(StoredModel(name=name, files=ModelFiles(parts=(path,))))
        found = named(store, name).find(name)
        assert found is not None

        removed = remove(found, store)

        assert precious.read_bytes() == b"precious"
        assert removed.freed_bytes == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Hub-1B-Q4_K_M", "hf cache rm model/org/Hub-1B-GGUF"),
        ("Old-1B-Q8_0", "delete the file"),
        ("lama:1b", "ollama rm lama:1b"),
        ("Studio-1B-Q6_K", "LM Studio"),
    ],
)
def test_anothers_model_stays_and_the_error_says_how_it_is_removed(
    store: Store, tmp_path: Path, name: str, words: str
) -> None:
    environ = trees.machine(tmp_path / "home", b"1")
    before = trees.digest_of(tmp_path / "home")
    found = machine_library(environ, platform="linux").find(name)
    assert found is not None

    with pytest.raises(Refused, match="not umad's to remove") as caught:
        remove(found, store)

    assert words in caught.value.message
    assert trees.digest_of(tmp_path / "home") == before


# -- verify ----------------------------------------------------------------------------------------


def test_bytes_are_held_against_the_checksum_that_is_known(tmp_path: Path) -> None:
    data = nano.path().read_bytes()
    environ = trees.machine(tmp_path, data)
    read: list[int] = []
    results = {
        one.name: next(iter(verify(one.files, {}, on_bytes=read.append)))
        for one in machine_library(environ, platform="linux").models()
    }

    assert {name: (one.by, one.problem) for name, one in results.items()} == {
        "Hub-1B-Q4_K_M": ("bytes", ""),
        "Old-1B-Q8_0": ("shape", ""),
        "lama:1b": ("bytes", ""),
        "Studio-1B-Q6_K": ("shape", ""),
    }
    assert sum(read) == 2 * len(data)


@pytest.mark.parametrize("name", ["Hub-1B-Q4_K_M", "lama:1b"])
def test_one_wrong_byte_is_found(tmp_path: Path, name: str) -> None:
    environ = trees.machine(tmp_path, nano.path().read_bytes())
    found = machine_library(environ, platform="linux").find(name)
    assert found is not None
    blob = found.files.main.resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)

    (result,) = verify(found.files, {})

    assert "not those that were published" in result.problem


def test_a_file_of_unknown_checksum_that_is_cut_short_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(nano.path().read_bytes()[:-1000])

    (result,) = verify(ModelFiles(parts=(path,)), {})

    assert (result.by, "cut short" in result.problem) == ("shape", True)


def test_the_checksum_of_a_record_counts(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(nano.path().read_bytes())
    right = hashlib.sha256(path.read_bytes()).hexdigest()

    (good,) = verify(ModelFiles(parts=(path,)), {path: right})
    (bad,) = verify(ModelFiles(parts=(path,)), {path: "0" * 64})

    assert (good.by, good.problem) == ("bytes", "")
    assert "not those that were published" in bad.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (result,) = verify(ModelFiles(parts=(tmp_path / "gone.gguf",)), {})

    assert result.problem == "it is not there"
