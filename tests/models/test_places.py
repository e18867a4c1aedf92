"""Models that other programs have put on the machine: found as they lie, and left as they are."""

import json
import os
from pathlib import Path

import pytest

from tests.models import trees
from tests.security.nobody import as_nobody, needs_root
from umad import nano
from umad.models.found import described
from umad.models.library import machine_library
from umad.models.places.hugging_face import HubCache
from umad.models.places.listing import MOST_ENTRIES
from umad.models.places.llama_cpp_cache import LlamaCppCache
from umad.models.places.lm_studio import lm_studio_folders
from umad.models.places.ollama import OllamaFolder, ollama_folders

MODEL = b"GGUF and so on"


def test_one_model_of_each_place_is_listed_with_where_it_comes_from(tmp_path: Path) -> None:
    environ = trees.machine(tmp_path, MODEL)

    found = machine_library(environ, platform="linux").models()

    assert {one.name: (one.place, one.source, one.quantization) for one in found} == {
        "Hub-1B-Q4_K_M": ("hugging face", "hf:org/Hub-1B-GGUF:Q4_K_M", "Q4_K_M"),
        "Old-1B-Q8_0": ("llama.cpp", "hf:org/Old-1B-GGUF:Q8_0", "Q8_0"),
        "lama:1b": ("ollama", "ollama:lama:1b", ""),
        "Studio-1B-Q6_K": ("lm studio", "hf:maker/Studio-1B-GGUF:Q6_K", "Q6_K"),
    }
    assert {one.size_bytes for one in found} == {len(MODEL)}
    assert not [one.problem for one in found if one.problem]


def test_looking_changes_nothing_not_even_a_time(tmp_path: Path) -> None:
    environ = trees.machine(tmp_path / "home", nano.path().read_bytes())
    before = trees.digest_of(tmp_path / "home")
    store = {"UMAD_MODELS": str(tmp_path / "store")}

    library = machine_library({**environ, **store}, platform="linux")
    facts = [facts for _, facts in library.described()]
    again = [one for one, _ in library.described()]

    assert len(facts) == len(again) == len(trees.NAMES)
    assert all(one is not None and one.architecture == "llama" for one in facts)
    assert trees.digest_of(tmp_path / "home") == before


def test_a_machine_without_any_of_them_has_no_models(tmp_path: Path) -> None:
    assert machine_library({"HOME": str(tmp_path / "nobody")}, platform="linux").models() == ()


@needs_root
def test_places_that_this_user_may_not_read_have_no_models_and_raise_nothing(
    tmp_path: Path,
) -> None:
    """Ollama's service has a home of its own, which may be closed to everybody else."""
    environ = trees.machine(tmp_path, MODEL)
    folders = {"HF_HOME": "hf", "OLLAMA_MODELS": "x", "LLAMA_CACHE": "x", "UMAD_MODELS": "x"}
    closed = {name: str(tmp_path / inner) for name, inner in folders.items()}
    tmp_path.chmod(0o700)

    def visit() -> list[str]:
        ollama = ollama_folders({"HOME": "/nowhere"}, system=tmp_path / ".ollama" / "models")
        here = machine_library({**environ, **closed}, platform="linux")
        return [str(one) for one in ollama] + [one.name for one in here.models()]

    assert as_nobody(visit) == []


@needs_root
def test_a_model_whose_blobs_may_not_be_read_says_so(short_tmp_path: Path) -> None:
    short_tmp_path.chmod(0o755)
    at = trees.ollama(short_tmp_path / "o", "registry.ollama.ai/library/lama/1b", {"model": MODEL})
    for path in (at, *at.rglob("*")):
        path.chmod(0o755)
    (at / "blobs").chmod(0o700)

    (problem,) = as_nobody(lambda: [one.problem for one in OllamaFolder(at).find().models])

    assert problem.endswith("lies in a folder that you may not read")


# -- Hugging Face ----------------------------------------------------------------------------------


def test_a_split_model_of_the_hub_has_all_its_parts_and_its_projector(tmp_path: Path) -> None:
    trees.hub_cache(
        tmp_path,
        "org/Big-GGUF",
        {
            "Q4_K_M/Big-Q4_K_M-00001-of-00002.gguf": b"1",
            "Q4_K_M/Big-Q4_K_M-00002-of-00002.gguf": b"2",
            "mmproj-BF16.gguf": b"3",
            "mmproj-F16.gguf": b"4",
        },
    )

    (found,) = HubCache(tmp_path).find().models

    assert found.name == "Big-Q4_K_M"
    assert [path.name[:-5] for path in found.files.parts] == [
        "Big-Q4_K_M-00001-of-00002",
        "Big-Q4_K_M-00002-of-00002",
    ]
    assert found.files.projector is not None
    assert found.files.projector.name == "mmproj-F16.gguf"
    assert found.source == "hf:org/Big-GGUF:Q4_K_M"


def test_a_part_whose_blob_is_gone_is_a_problem_with_its_name(tmp_path: Path) -> None:
    trees.hub_cache(
        tmp_path,
        "org/Big-GGUF",
        {"b-Q8_0-00001-of-00002.gguf": b"1", "b-Q8_0-00002-of-00002.gguf": b"2"},
    )
    (before,) = HubCache(tmp_path).find().models
    os.unlink(os.path.realpath(before.files.parts[1]))

    (found,) = HubCache(tmp_path).find().models

    assert "b-Q8_0-00002-of-00002.gguf is not there" in found.problem


def test_a_file_of_an_older_commit_is_there_once(tmp_path: Path) -> None:
    trees.hub_cache(tmp_path, "org/A-GGUF", {"a-Q4_0.gguf": b"old"}, commit="a" * 40)
    trees.hub_cache(tmp_path, "org/A-GGUF", {"a-Q8_0.gguf": b"new"}, commit="b" * 40)
    trees.hub_cache(tmp_path, "org/A-GGUF", {"a-Q4_0.gguf": b"newer"}, commit="b" * 40)

    found = {one.name: one.size_bytes for one in HubCache(tmp_path).find().models}

    assert found == {"a-Q4_0": len(b"newer"), "a-Q8_0": len(b"new")}


def test_two_files_of_one_quantization_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    trees.hub_cache(tmp_path, "org/A-GGUF", {"a-Q4_0.gguf": b"1", "a-instruct-Q4_0.gguf": b"2"})

    sources = {one.source for one in HubCache(tmp_path).find().models}

    assert sources == {"hf:org/A-GGUF/a-Q4_0.gguf", "hf:org/A-GGUF/a-instruct-Q4_0.gguf"}


def test_a_file_whose_name_says_nothing_is_called_after_its_repository(tmp_path: Path) -> None:
    trees.hub_cache(tmp_path, "org/Fox-3B-GGUF", {"ggml-model-Q4_K_M.gguf": b"1"})

    (found,) = HubCache(tmp_path).find().models

    assert found.name == "Fox-3B-Q4_K_M"


@pytest.mark.parametrize(
    "variables",
    [
        {"LLAMA_CACHE": "{at}"},
        {"HF_HUB_CACHE": "{at}"},
        {"HF_HOME": "{at}/..", "_link": "hub"},
        {"XDG_CACHE_HOME": "{at}/../..", "_link": "huggingface/hub"},
    ],
)
def test_the_cache_is_where_the_hubs_own_client_has_it(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    at = tmp_path / "x" / variables.pop("_link", "somewhere")
    trees.hub_cache(at, "org/A-GGUF", {"a-Q4_0.gguf": b"1"})
    environ = {name: str(Path(text.format(at=at)).resolve()) for name, text in variables.items()}

    found = machine_library({"HOME": str(tmp_path / "home"), **environ}, platform="linux").models()

    assert [one.name for one in found] == ["a-Q4_0"]


# -- llama.cpp -------------------------------------------------------------------------------------


def test_the_manifest_says_where_the_name_of_a_repository_ends(tmp_path: Path) -> None:
    trees.llama_cpp(
        tmp_path,
        {
            "org_my_own_repo_my_file-Q8_0.gguf": b"1",
            "org_my_own_repo_mmproj-F16.gguf": b"2",
            "manifest=org=my_own_repo=latest.json": b"{}",
            "fetched-by-address.gguf": b"3",
            "half.gguf.downloadInProgress": b"4",
        },
    )

    found = {one.name: one for one in LlamaCppCache(tmp_path).find().models}

    assert set(found) == {"my_file-Q8_0", "fetched-by-address"}
    assert found["my_file-Q8_0"].source == "hf:org/my_own_repo:Q8_0"
    assert found["my_file-Q8_0"].files.projector is not None
    assert found["fetched-by-address"].source == ""
    assert found["fetched-by-address"].files.projector is None


# -- Ollama ----------------------------------------------------------------------------------------


def test_ollamas_names_are_written_as_ollama_writes_them(tmp_path: Path) -> None:
    for name in (
        "registry.ollama.ai/library/qwen3/0.6b",
        "registry.ollama.ai/library/llama3.2/latest",
        "registry.ollama.ai/me/mine/v1",
        "hf.co/org/repo/Q4_K_M",
    ):
        trees.ollama(tmp_path, name, {"model": MODEL})

    found = {one.name: one.source for one in OllamaFolder(tmp_path).find().models}

    assert found == {
        "qwen3:0.6b": "ollama:qwen3:0.6b",
        "llama3.2": "ollama:llama3.2:latest",
        "me/mine:v1": "ollama:me/mine:v1",
        "hf.co/org/repo:Q4_K_M": "ollama:hf.co/org/repo:Q4_K_M",
    }


def test_a_projector_and_an_adapter_of_ollama_belong_to_their_model(tmp_path: Path) -> None:
    layers = {"model": b"1", "projector": b"2", "adapter": b"3", "license": b"4"}
    trees.ollama(tmp_path, "registry.ollama.ai/library/a/b", layers)

    (found,) = OllamaFolder(tmp_path).find().models

    assert [path.read_bytes() for path in found.files.all] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"not json",
        b"[]",
        b'{"layers": "many"}',
        b'{"layers": [1]}',
        b'{"layers": [{"mediaType": "image.model", "digest": "sha256:../../etc/passwd"}]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_a_problem_and_leads_nowhere(tmp_path: Path, manifest: bytes) -> None:
    path = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "a" / "b"
    path.parent.mkdir(parents=True)
    path.write_bytes(manifest)

    (found,) = OllamaFolder(tmp_path).find().models

    assert "manifest is damaged" in found.problem
    assert found.name == "a:b"


def test_a_pipe_in_the_place_of_a_manifest_keeps_nobody_waiting(tmp_path: Path) -> None:
    path = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "a" / "b"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)

    (found,) = OllamaFolder(tmp_path).find().models

    assert "manifest is damaged" in found.problem


def test_a_model_of_safetensors_is_none_of_ours(tmp_path: Path) -> None:
    trees.ollama(tmp_path, "registry.ollama.ai/library/a/b", {"tensor": b"1", "json": b"{}"})

    assert OllamaFolder(tmp_path).find().models == ()


def test_a_blob_that_llama_cpp_cannot_read_says_why(tmp_path: Path) -> None:
    from tests.models.gguf_bytes import gguf  # noqa: PLC0415

    blob = gguf({"general.architecture": "gemma3"}, [("v.blk.0.attn_q.weight", (32,), 0, 128)])
    trees.ollama(tmp_path, "registry.ollama.ai/library/gemma3/4b", {"model": blob})

    found, facts = described(OllamaFolder(tmp_path).find().models[0])

    assert "only Ollama's engine reads it" in found.problem
    assert facts is not None


def test_ollamas_service_has_a_folder_of_its_own(tmp_path: Path) -> None:
    own = trees.ollama(tmp_path / "home" / ".ollama" / "models", "h/n/m/t", {"model": b"1"})
    service = trees.ollama(tmp_path / "service", "h/n/m/t", {"model": b"1"})

    folders = ollama_folders({"HOME": str(tmp_path / "home")}, system=service)

    assert folders == (own, service)


# -- LM Studio -------------------------------------------------------------------------------------


def test_lm_studios_folder_is_where_its_pointer_and_settings_say(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    lm_home = trees.lm_studio(tmp_path / "lm", "a/b", {"m.gguf": b"1"})
    (lm_home / "settings.json").write_text(json.dumps({"downloadsFolder": str(elsewhere)}))
    home.mkdir()
    (home / ".lmstudio-home-pointer").write_text(f"{lm_home}\n")
    elsewhere.mkdir()

    assert lm_studio_folders({"HOME": str(home)}) == (elsewhere, lm_home / "models")


@pytest.mark.parametrize("settings", ["", "{", "[]", '{"downloadsFolder": 3}', "[" * 99_999])
def test_settings_of_lm_studio_that_say_nothing_change_nothing(
    tmp_path: Path, settings: str
) -> None:
    trees.lm_studio(tmp_path / ".lmstudio", "a/b", {"m.gguf": b"1"})
    (tmp_path / ".lmstudio" / "settings.json").write_text(settings)

    assert lm_studio_folders({"HOME": str(tmp_path)}) == (tmp_path / ".lmstudio" / "models",)


@pytest.mark.parametrize("pointed", [b"/a\0b", b"\xff", b"/" + b"x" * 5000, b"../up"])
def test_a_pointer_of_lm_studio_that_leads_nowhere_changes_nothing(
    tmp_path: Path, pointed: bytes
) -> None:
    trees.lm_studio(tmp_path / ".lmstudio", "a/b", {"m.gguf": b"1"})
    (tmp_path / ".lmstudio-home-pointer").write_bytes(pointed)

    folders = lm_studio_folders({"HOME": str(tmp_path)})

    assert folders in ((), (tmp_path / ".lmstudio" / "models",))


@pytest.mark.parametrize("folder", ["/a\0b", "/" + "x" * 5000, "/\ud800"])
def test_a_folder_of_lm_studio_that_cannot_be_is_none(tmp_path: Path, folder: str) -> None:
    trees.lm_studio(tmp_path / ".lmstudio", "a/b", {"m.gguf": b"1"})
    (tmp_path / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": folder}))

    assert lm_studio_folders({"HOME": str(tmp_path)}) == (tmp_path / ".lmstudio" / "models",)


# -- what no program would lay out -----------------------------------------------------------------


def test_a_folder_that_leads_to_itself_ends(tmp_path: Path) -> None:
    home = tmp_path / ".lmstudio"
    trees.lm_studio(home, "a/b", {"m.gguf": b"1"})
    (home / "models" / "a" / "b" / "again").symlink_to(home / "models" / "a")
    (home / "models" / "loop").symlink_to(home / "models")

    found = machine_library({"HOME": str(tmp_path)}, platform="linux").models()

    assert "m" in {one.name for one in found}


def test_a_folder_with_more_names_than_any_cache_is_read_to_a_bound(tmp_path: Path) -> None:
    folder = trees.llama_cpp(tmp_path / ".cache" / "llama.cpp", {})
    for number in range(MOST_ENTRIES + 500):
        (folder / f"{number}.txt").touch()

    listing = LlamaCppCache(folder).find()

    assert listing.models == ()
