"""The store: records that are whole or not there, and an index that can be lost."""

import json
import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.security.nobody import as_nobody, needs_root
from umad import nano
from umad.errors import Refused, UnknownModel
from umad.models.files import ModelFiles
from umad.models.index import Index
from umad.models.library import Library
from umad.models.places.folder import ModelFolder
from umad.models.store import Store, StoredModel, store_folder


def model(store: Store, name: str = "fox:3b") -> StoredModel:
    path = store.files_folder / f"{name.replace('/', '-')}.gguf"
    return StoredModel(
        name=name,
        files=ModelFiles(parts=(path,), projector=Path("/somewhere/mmproj.gguf")),
        source="hf:org/Fox-3B-GGUF:Q4_K_M",
        fetched_s=1_700_000_000,
        licence="mit",
        digests={path: "ab" * 32},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize(
    "name",
    ["fox:3b", "me/mine:v1", "../up", "ä ö", "hf.co/a/b:Q4_K_M", "狐" * 60, "x" * 300],
)
def test_what_is_added_is_found_as_it_was(store: Store, name: str) -> None:
    added = model(store, name)

    store.add(added)

    assert store.get(name) == added
    assert Store(store.folder).models() == (added,)
    records = list(store.records_folder.iterdir())
    assert len(records) == 1
    assert records[0].stat().st_mode & 0o777 == 0o600


def test_long_names_that_begin_alike_are_names_of_two_models(store: Store) -> None:
    names = {"狐" * 60 + end for end in ("a", "b")}

    for name in names:
        store.add(model(store, name))

    assert {one.name for one in store.models()} == names


def test_names_that_differ_in_capitals_alone_have_files_that_no_system_takes_for_one(
    store: Store,
) -> None:
    """The file systems of macOS and Windows do not tell `Fox.json` from `fox.json`."""
    for name in ("fox", "Fox", "FOX", "\N{LATIN CAPITAL LETTER A WITH DIAERESIS}"):
        store.add(model(store, name))

    files = {path.name.lower() for path in store.records_folder.iterdir()}
    assert len(files) == 4
    assert {one.name for one in store.models()} >= {"fox", "Fox", "FOX"}


def test_only_one_is_alone_with_a_store_and_the_next_one_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    other = threading.Thread(target=lambda: alone(order, "second"))

    def alone(order: list[str], who: str) -> None:
        with Store(store.folder).alone():
            order.append(who)

    with store.alone():
        other.start()
        other.join(0.1)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]

    monkeypatch.setattr("umad.models.store._LOCK_S", 0.05)
    with store.alone(), pytest.raises(Refused, match="another process has been changing"):
        alone(order, "third")


def test_a_store_may_be_moved_with_the_files_that_are_its_own(store: Store, tmp_path: Path) -> None:
    store.add(model(store))
    store.folder.rename(tmp_path / "elsewhere")

    (moved,) = Store(tmp_path / "elsewhere").models()

    assert moved.files.main == tmp_path / "elsewhere" / "files" / "fox:3b.gguf"
    assert moved.files.projector == Path("/somewhere/mmproj.gguf")
    assert list(moved.digests) == [moved.files.main]


def test_a_name_that_is_forgotten_is_unknown(store: Store) -> None:
    store.add(model(store))

    store.forget("fox:3b")

    assert store.models() == ()
    with pytest.raises(UnknownModel, match="fox:3b"):
        store.forget("fox:3b")


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"name": "", "parts": ["x"]}',
        b'{"name": "a", "parts": []}',
        b'{"name": "a", "parts": [7]}',
        b'{"name": "a", "parts": ["x\\u0000y"]}',
        b'{"name": "a", "parts": ["x"], "fetched_s": "soon"}',
        b'{"name": "a", "parts": ["x"], "fetched_s": 1e999}',
        b'{"name": "a", "parts": ["x"], "digests": null}',
        b'{"name": "a", "parts": ["x"], "digests": []}',
        b'{"name": "a", "parts": ["\\ud800"]}',
        b'{"name": "\\ud800", "parts": ["x"]}',
        b'{"name": "another", "parts": ["x"]}',
        b"[" * 99_999,
        b"\xff\xfe",
    ],
)
def test_a_damaged_record_is_left_out_and_the_others_stay(
    store: Store, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.add(model(store))
    (store.records_folder / "a.json").write_bytes(damage)

    with caplog.at_level(logging.WARNING):
        found = store.models()

    assert [one.name for one in found] == ["fox:3b"]
    assert "a.json" in caplog.text
    assert store.get("a") is None


def test_a_kill_in_the_middle_of_an_addition_leaves_no_half_of_it(store: Store) -> None:
    program = (
        "import os, sys, pathlib; from umad.models.store import *; "
        "from umad.models.files import ModelFiles; "
        "s = Store(pathlib.Path(sys.argv[1])); "
        "os.replace = lambda *a, **k: os._exit(9); pathlib.Path.replace = os.replace; "
        "s.add(StoredModel(name='a', files=ModelFiles(parts=(pathlib.Path('/m.gguf'),))))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(store.folder)], timeout=60, check=False
    )

    assert done.returncode == 9
    assert store.models() == ()
    store.add(model(store, "a"))
    assert [one.name for one in store.models()] == ["a"]


@pytest.mark.parametrize(
    ("environ", "platform", "folder"),
    [
        ({"HOME": "/h"}, "linux", "/h/.local/share/umad/models"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/d"}, "linux", "/d/umad/models"),
        ({"HOME": "/h", "XDG_DATA_HOME": "d"}, "linux", "/h/.local/share/umad/models"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/umad/models"),
        ({"HOME": "/h", "UMAD_MODELS": "/m"}, "darwin", "/m"),
    ],
)
def test_the_store_lies_where_the_platform_keeps_data(
    environ: dict[str, str], platform: str, folder: str
) -> None:
    assert store_folder(environ, platform) == Path(folder)


# -- the index -------------------------------------------------------------------------------------


def library(tmp_path: Path) -> Library:
    folder = tmp_path / "models"
    folder.mkdir(exist_ok=True)
    for name in ("a", "b"):
        if not (folder / f"{name}.gguf").exists():
            (folder / f"{name}.gguf").write_bytes(nano.path().read_bytes())
    return Library([ModelFolder(folder)], store=Store(tmp_path / "store"))


def corrupted(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 1000)


def cut(path: Path) -> None:
    os.truncate(path, 5000)


def with_wrong_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[200:] = random.Random(1).randbytes(len(data) - 200)
    path.write_bytes(data)


def of_another_version(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("create table uses (when_it_was text)")
        db.execute("create table facts (x text)")
    db.close()


def noting(facts: str) -> object:
    """Harm to what is noted of the files, which SQLite itself cannot see."""

    def harm(path: Path) -> None:
        with sqlite3.connect(path) as db:
            db.execute(f"update facts set facts = {facts}")
        db.close()

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        corrupted,
        cut,
        with_wrong_pages,
        of_another_version,
        noting("cast(x'ff00' as text)"),
        noting("x'00'"),
        noting("7"),
        noting("'[]'"),
        noting("'{}'"),
        noting("'[['"),
    ],
)
def test_a_damaged_index_costs_reading_the_headers_again_and_nothing_else(
    tmp_path: Path, harm: object
) -> None:
    here = library(tmp_path)
    before = [one for one, _ in here.described()]
    assert here.store is not None
    here.store.add(model(here.store))
    harm(tmp_path / "store" / "models.sqlite3")  # type: ignore[operator]

    again = library(tmp_path)
    after = [one for one, _ in again.described()]
    assert again.store is not None
    again.store.index.note_use("a")

    assert [one.name for one in after] == ["fox:3b", "a", "b"]
    assert after[1:] == before
    if harm is not of_another_version:
        assert list(again.store.index.last_uses()) == ["a"]


def test_what_a_header_says_is_not_read_again_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = library(tmp_path)
    first = list(here.described())
    reads: list[Path] = []
    real = sys.modules["umad.models.found"].whole_headers

    def counted(path: Path) -> object:
        reads.append(path)
        return real(path)

    monkeypatch.setattr("umad.models.found.whole_headers", counted)
    again = list(library(tmp_path).described())
    assert reads == []
    (tmp_path / "models" / "b.gguf").write_bytes(b"no model any more")
    changed = {one.name: one.problem for one, _ in library(tmp_path).described()}

    assert [one for one, _ in again] == [one for one, _ in first]
    assert [f and (f.n_params, f.architecture) for _, f in again] == [
        f and (f.n_params, f.architecture) for _, f in first
    ]
    assert changed["a"] == ""
    assert "not a GGUF file" in changed["b"]


def test_many_threads_note_their_uses_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One after the other, each waits for the disk.
    monkeypatch.setattr("umad.models.index._WAIT_S", 100.0)
    index = Index(tmp_path / "models.sqlite3")
    threads = [threading.Thread(target=index.note_use, args=(f"m{n}",)) for n in range(16)]

    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert set(index.last_uses()) == {f"m{n}" for n in range(16)}


def test_an_index_that_another_holds_keeps_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umad.models.index._WAIT_S", 0.05)
    index = Index(tmp_path / "models.sqlite3")
    index.note_use("before")
    holder = sqlite3.connect(tmp_path / "models.sqlite3", isolation_level=None)
    holder.execute("begin exclusive")

    index.note_use("after")
    held = index.last_uses()
    holder.rollback()
    holder.close()

    assert held == {}
    assert list(index.last_uses()) == ["before"]


# -- a store that cannot be written ----------------------------------------------------------------


@needs_root
def test_a_store_that_cannot_be_written_is_read_and_says_why_it_does_not_change(
    short_tmp_path: Path,
) -> None:
    store = Store(short_tmp_path / "store")
    short_tmp_path.chmod(0o755)
    store.add(model(store))
    store.index.note_use("fox:3b")
    for path in (store.folder, store.records_folder, *store.records_folder.iterdir()):
        path.chmod(0o755)
    (store.folder / "models.sqlite3").chmod(0o644)
    added = replace(model(store), name="other")

    def visit() -> tuple[list[str], list[str], str, str]:
        said = []
        for change in (lambda: store.add(added), lambda: store.forget("fox:3b")):
            try:
                change()
                said.append("it was changed")
            except Refused as error:
                said.append(error.message)
        store.index.note_use("other")
        names = [one.name for one in store.models()]
        return names, list(store.index.last_uses()), said[0], said[1]

    names, uses, to_add, to_forget = as_nobody(visit)

    assert names == ["fox:3b"]
    assert uses == ["fox:3b"]
    for line in (to_add, to_forget):
        assert "cannot be written" in line
        assert "UMAD_MODELS" in line


def test_a_store_in_a_place_where_nothing_can_be_made_says_so() -> None:
    store = Store(Path("/proc/umad/models"))

    assert store.models() == ()
    assert store.index.last_uses() == {}
    store.index.note_use("x")
    with pytest.raises(Refused, match="/proc/umad/models cannot be written"):
        store.add(model(store))


def test_a_record_says_everything_a_person_may_want_to_look_at(store: Store) -> None:
    store.add(model(store))

    said = json.loads(next(store.records_folder.iterdir()).read_bytes())

    assert said["name"] == "fox:3b"
    assert said["source"] == "hf:org/Fox-3B-GGUF:Q4_K_M"
    assert said["parts"] == ["files/fox:3b.gguf"]
