"""`umad ls`, `show`, `rm`, `cp`, `verify`, `search`: models on the disk, without a daemon."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Fakes, Umad
from tests.models import trees
from tests.models.gguf_bytes import adapter
from umad import nano
from umad.models.files import ModelFiles
from umad.models.presets import SavedPresets
from umad.models.store import Store, StoredModel
from umad.preset import Preset

NANO = nano.path().read_bytes()


@pytest.fixture
def home(umad: Umad) -> Path:
    """The user's home, with one model in each place."""
    folder = Path(os.environ["HOME"])
    trees.machine(folder, NANO)
    return folder


def rows(umad: Umad) -> dict[str, dict[str, Any]]:
    ended = umad("ls", "--json")
    assert (ended.code, ended.err) == (0, "")
    return {one["name"]: one for one in json.loads(ended.out)}


def kept(home: Path, name: str = "fox:3b") -> StoredModel:
    """A model of the store."""
    store = Store(home / ".local" / "share" / "umad" / "models")
    path = store.files_folder / "fox.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(NANO)
    added = StoredModel(name=name, files=ModelFiles(parts=(path,)), source="ollama:fox:3b")
    store.add(added)
    return added


# -- ls --------------------------------------------------------------------------------------------


def test_ls_shows_nano_and_the_models_of_every_place(umad: Umad, home: Path) -> None:
    kept(home)

    ended = umad("ls")
    lines = [line.split() for line in ended.out.splitlines()]

    assert ended.code == 0
    assert lines[0] == ["MODEL", "SIZE", "QUANT", "PARAMS", "USED", "PLACE"]
    assert [line[0] for line in lines[1:]] == ["nano", "fox:3b", *trees.NAMES]
    assert all("MB" in line for line in lines[1:])


def test_ls_shows_adapters_under_the_model_they_were_made_for(
    umad: Umad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "adapters"
    folder.mkdir()
    for name, base in (("pirate", "nano"), ("lost", "Orca 7B"), ("any", "")):
        (folder / f"{name}.gguf").write_bytes(adapter(name, base=base))
    monkeypatch.setenv("UMAD_MODEL_FOLDER", str(folder))

    ended = umad("ls")
    names = [line.split()[0] for line in ended.out.splitlines()[1:] if "MB" in line or "kB" in line]

    assert names == ["nano", "+any", "+pirate", "lost"]
    assert "lost is an adapter, and the model it was made for is not here" in ended.out
    assert "cannot be served" not in ended.out


def test_show_says_what_an_adapter_is_for(
    umad: Umad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pirate.gguf").write_bytes(adapter())
    monkeypatch.setenv("UMAD_MODEL_FOLDER", str(tmp_path))

    shown = umad("show", "pirate").out

    assert "MODEL+pirate" in shown
    assert "nano" in shown
    assert "on everything" in shown
    assert "cannot be served" not in shown


def test_ls_as_json_says_all_there_is_to_know(umad: Umad, home: Path) -> None:
    found = rows(umad)

    assert found["lama:1b"]["source"] == "ollama:lama:1b"
    assert found["lama:1b"]["place"] == "ollama"
    assert found["Hub-1B-Q4_K_M"]["size_bytes"] == len(NANO)
    assert found["Hub-1B-Q4_K_M"]["n_params"] == found["nano"]["n_params"] > 0
    assert found["Hub-1B-Q4_K_M"]["path"].startswith(str(home))
    assert {one["problem"] for one in found.values()} == {None}


def test_ls_says_which_models_cannot_be_served_and_why(umad: Umad, home: Path) -> None:
    (home / ".lmstudio" / "models" / "maker" / "Studio-1B-GGUF" / "bad.gguf").write_bytes(b"no")

    ended = umad("ls")

    assert "bad cannot be served: " in ended.out
    assert "is not a GGUF file" in ended.out


@pytest.mark.skipif(sys.platform == "darwin", reason="no file has such a name there")
def test_a_file_whose_name_is_no_text_is_listed_with_what_to_do(umad: Umad, home: Path) -> None:
    folder = home / ".lmstudio" / "models" / "maker" / "Studio-1B-GGUF"
    (folder / os.fsdecode(b"caf\xe9-Q8_0.gguf")).write_bytes(NANO)

    ended = umad("ls")
    found = rows(umad)

    assert (ended.code, ended.err) == (0, "")
    assert "caf\\udce9-Q8_0 cannot be served: the name of its file is no text" in ended.out
    assert found["Studio-1B-Q6_K"]["n_params"] > 0, "the others are as they were"


def test_without_other_programs_models_ls_shows_what_is_umads(
    umad: Umad, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMAD_MODEL_PLACES", "false")
    kept(home)

    assert set(rows(umad)) == {"nano", "fox:3b"}


# -- show ------------------------------------------------------------------------------------------


def test_show_says_what_the_header_says(umad: Umad, home: Path) -> None:
    ended = umad("show", "lama:1b")

    assert ended.code == 0
    said = dict(line.strip().split(None, 1) for line in ended.out.splitlines())
    assert said["architecture"] == "llama"
    assert said["place"] == "ollama"
    assert "parameters" in said
    assert "tokens" in ended.out


def test_show_says_what_would_fit_and_what_ollamas_maker_says(umad: Umad, home: Path) -> None:
    params = json.dumps({"temperature": 0.6, "stop": ["<end>", "<turn>"]}).encode()
    layers = {"model": NANO, "system": b"You are\na fox.", "params": params, "license": b"MIT\nx"}
    trees.ollama(home / ".ollama" / "models", "registry.ollama.ai/library/fox/3b", layers)

    ended = umad("show", "fox:3b")
    found = json.loads(umad("show", "fox:3b", "--json").out)

    lines = {" ".join(line.split()) for line in ended.out.splitlines()}
    assert "fits all 4,096 tokens fit, 4 such texts at once" in lines
    assert "its maker draws with temperature 0.6, stop '<end>' '<turn>'" in lines
    assert "its maker's system prompt You are a fox." in lines
    assert found["memory"]["fits"] is True
    assert found["ollama"]["params"]["temperature"] == 0.6
    assert found["ollama"]["licences"] == ["MIT\nx"]


def test_show_of_a_model_that_cannot_be_served_says_why(umad: Umad, home: Path) -> None:
    (home / ".lmstudio" / "models" / "maker" / "Studio-1B-GGUF" / "bad.gguf").write_bytes(b"no")

    ended = umad("show", "bad")

    assert ended.code == 0
    assert "cannot be served" in ended.out
    assert "is not a GGUF file" in ended.out


def test_show_says_what_the_users_own_entry_says(umad: Umad, home: Path) -> None:
    path = home / ".config" / "umad" / "models.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "models:\n"
        "  hub:1b:\n"
        "    {repository: org/Hub-1B-GGUF, does: [chat], for: Mine., parameters: 1B,\n"
        "     context: 4096, licence: mit,\n"
        "     sampling: {temperature: 0.5, stop: [END], ignore_eos: true}}\n"
    )

    ended = umad("show", "hub:1b")

    assert ended.code == 0
    assert "temperature 0.5, stop 'END', ignore_eos on" in ended.out


@pytest.mark.parametrize("name", ["hf:org/Hub-1B-GGUF", "org/Hub-1B-GGUF:Q4_K_M"])
def test_show_takes_a_reference_of_a_model_that_is_here(umad: Umad, home: Path, name: str) -> None:
    ended = umad("show", name, "--json")

    assert json.loads(ended.out)["name"] == "Hub-1B-Q4_K_M"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lama:2b", "near are lama:1b"),
        ("hub-1b-q4_k", "near are Hub-1B-Q4_K_M"),
        ("nanno", "near are nano"),
        ("qwen3-coder:30b", "fetch it: umad pull qwen3-coder:30b"),
        ("qwen3-codr:30b", "umad pull knows qwen3-coder:30b"),
        ("hf:org/Gone-GGUF", "fetch it: umad pull hf:org/Gone-GGUF"),
        ("zzzz", "umad ls lists"),
    ],
)
@pytest.mark.parametrize("command", ["show", "rm", "verify", "cp"])
def test_a_name_that_does_not_exist_names_near_ones_or_how_to_get_it(
    umad: Umad, home: Path, command: str, name: str, words: str
) -> None:
    ended = umad(command, name, *(["new"] if command == "cp" else []))

    assert ended.code == 1
    assert words in ended.err
    assert ended.err.count("\n") == 1


# -- rm, cp ----------------------------------------------------------------------------------------


def test_a_second_name_costs_nothing_and_both_are_served(umad: Umad, home: Path) -> None:
    before = trees.digest_of(home / ".ollama")

    ended = umad("cp", "lama:1b", "my-lama")
    found = rows(umad)
    gone = umad("rm", "my-lama")

    assert (ended.code, ended.out) == (0, "my-lama is lama:1b\n")
    assert found["my-lama"]["path"] == found["lama:1b"]["path"]
    assert (gone.code, gone.out) == (0, "my-lama is removed, 0 B freed\n")
    assert set(rows(umad)) == {"nano", *trees.NAMES}
    assert trees.digest_of(home / ".ollama") == before


@pytest.mark.parametrize("new", ["nano", "lama:1b", "a/b", "x.gguf", "two words", ""])
def test_a_name_that_is_taken_or_is_none_is_refused(umad: Umad, home: Path, new: str) -> None:
    ended = umad("cp", "lama:1b", new)

    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert set(rows(umad)) == {"nano", *trees.NAMES}


def test_rm_removes_what_is_umads_and_says_what_that_freed(umad: Umad, home: Path) -> None:
    added = kept(home)

    ended = umad("rm", "fox:3b")

    assert ended.code == 0
    assert "is removed" in ended.out
    assert "MB freed" in ended.out
    assert not added.files.main.exists()
    assert "fox:3b" not in rows(umad)


def test_rm_takes_a_name_that_is_there_twice_once(umad: Umad, home: Path) -> None:
    kept(home)

    ended = umad("rm", "fox:3b", "ollama:fox:3b", "fox:3b")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("is removed") == 1


@pytest.mark.parametrize("name", ["nano", *trees.NAMES])
def test_rm_leaves_what_is_not_umads(umad: Umad, home: Path, name: str) -> None:
    before = trees.digest_of(home)

    ended = umad("rm", name)

    assert ended.code == 4
    assert "not umad's to remove" in ended.err
    assert trees.digest_of(home) == before


def test_rm_of_a_model_that_is_loaded_names_who_uses_it(
    asking: Umad, home: Path, fakes: Fakes
) -> None:
    store = Store(home / ".local" / "share" / "umad" / "models")
    store.add(StoredModel(name="loaded", files=ModelFiles(parts=(fakes.model,))))

    ended = asking("rm", "loaded")

    assert ended.code == 4
    assert "is loaded by the daemon (pid" in ended.err
    assert "unload it first: umad unload m" in ended.err
    assert [one.name for one in store.models()] == ["loaded"]


def test_rm_of_a_second_name_leaves_a_loaded_model_alone(
    asking: Umad, home: Path, fakes: Fakes
) -> None:
    store = Store(home / ".local" / "share" / "umad" / "models")
    for name in ("loaded", "second"):
        store.add(StoredModel(name=name, files=ModelFiles(parts=(fakes.model,))))

    ended = asking("rm", "second")

    assert (ended.code, ended.err) == (0, "")
    assert [one.name for one in store.models()] == ["loaded"]


def test_rm_removes_a_preset_that_was_saved_and_cp_takes_no_presets_name(
    umad: Umad, home: Path
) -> None:
    kept(home)
    saved = SavedPresets(home / ".local" / "share" / "umad" / "models")
    saved.save(Preset(name="brief", model="fox:3b", system="Be brief."))

    copied = umad("cp", "fox:3b", "brief")
    removed = umad("rm", "brief")

    assert copied.code == 2
    assert "brief is a model already" in copied.err
    assert (removed.code, removed.out) == (0, "brief is removed; it was a preset\n")
    assert saved.current() == {}


# -- verify ----------------------------------------------------------------------------------------


def test_verify_looks_at_everything_and_says_how(umad: Umad, home: Path) -> None:
    ended = umad("verify")

    assert ended.code == 0
    assert ended.out.count("good (every byte)") == 2
    assert ended.out.count("good (header and length; no checksum is known)") == 3


def test_verify_exits_1_where_a_byte_is_wrong(umad: Umad, home: Path) -> None:
    blob = next((home / ".ollama" / "models" / "blobs").glob("sha256-*"))
    for blob in (home / ".ollama" / "models" / "blobs").iterdir():
        if blob.stat().st_size == len(NANO):
            blob.write_bytes(NANO[:-1] + bytes([NANO[-1] ^ 1]))

    ended = umad("verify", "lama:1b", "Hub-1B-Q4_K_M", "--json")

    problems = {one["name"]: one["problem"] for one in json.loads(ended.out)}
    assert ended.code == 1
    assert problems["Hub-1B-Q4_K_M"] is None
    assert "not those that were published" in problems["lama:1b"]


# -- search ----------------------------------------------------------------------------------------


def test_search_shows_what_umad_knows_itself_where_the_hub_cannot_be_asked(
    umad: Umad, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umad.errors import FetchFailed  # noqa: PLC0415

    def unreachable(words: str, *, limit: int) -> None:
        raise FetchFailed("the hub cannot be reached")

    monkeypatch.setattr("umad.cli.search.search_hub", unreachable)

    ended = umad("search", "fill", "in")

    assert "qwen2.5-coder:7b" in ended.out
    assert ended.code == 1
    assert ended.err == "umad: the hub cannot be reached\n"
