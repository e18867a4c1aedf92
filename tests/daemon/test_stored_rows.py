"""Lists of models that are not loaded: which they are, what is known of them, and for whom."""

from pathlib import Path
from typing import Any

import pytest

from tests.daemon.house import Serve, run
from tests.models.gguf_bytes import adapter, gguf
from umad.asker import Asker
from umad.daemon.names import ModelNames
from umad.daemon.stored_rows import StoredRows
from umad.models.catalogue import Catalogue
from umad.models.library import Library, machine_library
from umad.models.places.folder import ModelFolder
from umad.models.presets import SavedPresets, with_saved
from umad.models.store import Store
from umad.preset import Preset
from umad.protocol.messages import Models

USER = Asker(owner="key:alice", role="user")
TEMPLATE = "{% if tools %}{{ tools }}{% endif %}{{ messages }}"


def model_bytes() -> bytes:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 4096,
        "tokenizer.chat_template": TEMPLATE,
    }
    return gguf(metadata, [("token_embd.weight", (64, 16), 0, 4 * 64 * 16)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    one = tmp_path / "models"
    one.mkdir()
    (one / "fox-F32.gguf").write_bytes(model_bytes())
    (one / "pirate.gguf").write_bytes(adapter())
    (one / "broken.gguf").write_bytes(b"no model")
    return one


def library(folder: Path, **presets: str) -> Library:
    known = {name: Preset(name=name, model=model) for name, model in presets.items()}
    return machine_library(
        {},
        folders=[str(folder)],
        others=False,
        has_store=False,
        catalogue=Catalogue(presets=known, aliases={"quick": "fox-F32"}),
    )


def listed(here: Library, *besides: str, is_on: bool = True) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    async def ask() -> None:
        stored = StoredRows(ModelNames(library=here), here, is_on=is_on)
        rows.extend(dict(one) for one in stored.with_presets(await stored.rows(besides)))

    run(ask())
    return rows


def test_a_model_that_a_request_would_load_is_listed_with_the_facts_of_its_header(
    folder: Path,
) -> None:
    (row,) = listed(library(folder))

    assert (row["name"], row["state"]) == ("fox-F32", "unloaded")
    assert row["path"] == str(folder / "fox-F32.gguf")
    assert (row["architecture"], row["description"]) == ("llama", "llama F32")
    assert (row["n_layer"], row["n_ctx_train"], row["n_params"]) == (2, 4096, 64 * 16)
    assert (row["generates"], row["takes_tools"], row["has_chat_template"]) == (True, True, True)
    assert row["modified_s"] > 0


def test_a_loaded_one_is_listed_once_and_none_is_where_requests_load_nothing(folder: Path) -> None:
    assert listed(library(folder), "fox-F32") == []
    assert listed(library(folder), is_on=False) == []


def test_a_row_has_the_presets_that_mean_its_model_by_whatever_name(folder: Path) -> None:
    here = library(folder, brief="quick", rude="fox-F32+pirate", lost="nobody")

    (row,) = listed(here)

    assert row["presets"] == ["brief", "rude"]


def test_a_preset_that_a_command_saves_or_removes_is_listed_or_not(
    folder: Path, tmp_path: Path
) -> None:
    saved = SavedPresets(tmp_path / "store")
    saved.save(Preset(name="brief", model="fox-F32"))
    written = Preset(name="mine", model="fox-F32")
    catalogue = with_saved(Catalogue(presets={"mine": written}), tmp_path / "store")
    place = ModelFolder(folder)
    here = Library([place], store=Store(tmp_path / "store"), catalogue=catalogue)
    stored = StoredRows(ModelNames(library=here), here, is_on=True)

    def presets() -> list[str]:
        (row,) = stored.with_presets([{"name": "fox-F32"}])
        return sorted(row.get("presets", ()))

    assert presets() == ["brief", "mine"]
    saved.save(Preset(name="rude", model="fox-F32"))
    assert presets() == ["brief", "mine", "rude"]
    for name in ("brief", "rude"):
        saved.remove(name)
    assert presets() == ["mine"]


def test_a_file_is_looked_into_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = library(folder)
    stored = StoredRows(ModelNames(library=here), here, is_on=True)

    async def ask() -> None:
        first = await stored.rows(())
        monkeypatch.setattr(Library, "described_of", None)
        assert await stored.rows(()) == first
        (folder / "fox-F32.gguf").unlink()
        assert await stored.rows(()) == []

    run(ask())


def test_an_admin_is_told_of_them_and_a_user_is_not(serve: Serve, folder: Path) -> None:
    async def scene() -> None:
        async with serve(empty=True, several={"model_folders": (str(folder),)}) as house:
            wire = await house.connect()

            plain = await wire.ask(Models(id=1))
            all_of_them = await wire.ask(Models(id=2, stored=True))
            users = await wire.ask(Models(id=3, stored=True, asker=USER))

            assert plain == users == []
            assert [one["name"] for one in all_of_them] == ["fox-F32"]

    run(scene())
