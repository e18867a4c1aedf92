"""Pulls of a registry of Ollama's."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models.fetching.one_file import QUICK
from tests.models.fetching.test_hub import model_bytes
from tests.models.fetching.waiting import closed_port
from tests.models.loopback_registry import LoopbackRegistry
from umad.errors import AccessNeeded, FetchFailed, UnknownModel
from umad.models.fetching import fetch
from umad.models.fetching.ollama import OllamaRegistry
from umad.models.found import FoundModel
from umad.models.ollama_layout import OllamaLayout, facts_beside, layout_in
from umad.models.places.ollama import OllamaFolder
from umad.models.reference import parse
from umad.models.removal import remove
from umad.models.store import Store

LICENCE = b"Apache License\nVersion 2.0, January 2004"


@pytest.fixture(scope="module")
def loopback_registry() -> Iterator[LoopbackRegistry]:
    with LoopbackRegistry() as one:
        yield one


@pytest.fixture
def registry(loopback_registry: LoopbackRegistry) -> LoopbackRegistry:
    """A registry with no model yet."""
    loopback_registry.reset()
    return loopback_registry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def pull(registry: LoopbackRegistry, name: str, store: Store) -> FoundModel:
    reference = parse(f"ollama:{registry.host}/{name}")
    return fetch(reference, on_progress=lambda told: None, limits=QUICK, store=store)


def test_a_model_comes_with_its_projector_and_what_its_maker_says(
    registry: LoopbackRegistry, store: Store
) -> None:
    registry.add(
        "library/fox:3b",
        {
            "model": model_bytes(1),
            "projector": model_bytes(2),
            "template": b"{{ .Prompt }}",
            "system": b"You are a fox.",
            "params": json.dumps({"temperature": 0.7, "stop": ["<end>"]}).encode(),
            "license": LICENCE,
            "license#": b"Use policy",
        },
    )

    found = pull(registry, "library/fox:3b", store)

    assert found.files.main.read_bytes() == model_bytes(1)
    assert found.files.projector is not None
    assert found.problem == ""
    kept = store.get(found.name)
    assert kept is not None
    assert kept.licence == "Apache License"
    facts = OllamaLayout(store.files_folder / "ollama").facts_of(
        parse(f"ollama:{registry.host}/library/fox:3b")
    )
    assert facts is not None
    assert (facts.template, facts.system) == ("{{ .Prompt }}", "You are a fox.")
    assert facts.params == {"temperature": 0.7, "stop": ["<end>"]}
    assert facts.licences == (LICENCE.decode(), "Use policy")
    # The reader of Ollama's folder finds the same files.
    listed = OllamaFolder(store.files_folder / "ollama").find().models
    assert [one.files for one in listed] == [found.files]


def test_a_second_pull_fetches_the_manifest_alone(registry: LoopbackRegistry, store: Store) -> None:
    registry.add("library/fox:latest", {"model": model_bytes(), "license": LICENCE})
    first = pull(registry, "library/fox", store)
    registry.seen.clear()

    again = pull(registry, "library/fox:latest", store)

    assert again == first
    assert registry.seen == ["/v2/library/fox/manifests/latest"]


def test_a_model_that_is_removed_leaves_nothing_that_was_its_alone(
    registry: LoopbackRegistry, store: Store
) -> None:
    texts = {"template": b"{{ .Prompt }}", "license": LICENCE}
    registry.add("library/fox:3b", {"model": model_bytes(1), "system": b"A fox.", **texts})
    registry.add("library/hen:3b", {"model": model_bytes(2), **texts})
    fox, hen = pull(registry, "library/fox:3b", store), pull(registry, "library/hen:3b", store)
    layout = layout_in(store)

    remove(fox, store)
    after_one = [one.files for one in OllamaFolder(store.files_folder / "ollama").find().models]
    facts = layout.facts_of(parse(hen.source))
    remove(hen, store)

    assert after_one == [hen.files]
    assert facts is not None
    assert facts.template == "{{ .Prompt }}", "what both had is the other's now"
    left = {one.name for one in store.folder.rglob("*") if one.is_file()}
    assert left == {"lock"}, "the store's own, and no text, no lock of a download"


def test_what_stands_beside_a_model_goes_with_its_last_name(
    registry: LoopbackRegistry, store: Store
) -> None:
    registry.add("library/fox:3b", {"model": model_bytes(), "system": b"A fox."})
    fox = pull(registry, "library/fox:3b", store)
    stored = store.get(fox.name)
    assert stored is not None
    store.add(replace(stored, name="vixen"))

    remove(fox, store)
    facts = facts_beside(replace(fox, name="vixen"))

    assert facts is not None
    assert facts.system == "A fox."


def test_the_name_is_the_one_that_ollama_gives_it() -> None:
    reference = parse("ollama:qwen3:0.6b")

    assert reference.repository == "library/qwen3"
    assert str(reference).removeprefix("ollama:") == "qwen3:0.6b"


def test_a_tag_that_is_not_there_is_said(registry: LoopbackRegistry, store: Store) -> None:
    with pytest.raises(UnknownModel, match=r"has no ollama:.*fox:9b"):
        pull(registry, "library/fox:9b", store)


def test_a_model_of_other_files_than_gguf_is_refused(
    registry: LoopbackRegistry, store: Store
) -> None:
    registry.add("library/fox:cloud", {"tensor": b"weights", "license": LICENCE})

    with pytest.raises(UnknownModel, match=r"has no GGUF file"):
        pull(registry, "library/fox:cloud", store)


def test_a_registry_that_wants_a_login_says_what_to_do(
    registry: LoopbackRegistry, store: Store
) -> None:
    registry.status = 401

    with pytest.raises(AccessNeeded, match=r"pull it with Ollama"):
        pull(registry, "library/fox", store)


@pytest.mark.parametrize(
    "manifest",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"layers": [1]}',
        b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "md5:1"}]}',
        b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "size": 1}]}',
        b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../x"}]}',
        b"[" * 100_000,
        b"x" * (2**20 + 1),
    ],
)
def test_a_manifest_that_is_none_is_one_line(
    registry: LoopbackRegistry, store: Store, manifest: bytes
) -> None:
    registry.put("library/fox:latest", manifest)

    with pytest.raises(FetchFailed, match=r"manifest"):
        pull(registry, "library/fox", store)

    assert store.models() == ()


def test_no_network_is_one_line(store: Store) -> None:
    with (
        closed_port() as port,
        pytest.raises(FetchFailed, match=r"cannot be reached \(.*\): is there a network\?"),
    ):
        fetch(
            parse(f"ollama:127.0.0.1:{port}/library/fox"),
            on_progress=lambda told: None,
            store=store,
        )


def test_another_host_is_asked_over_a_safe_line() -> None:
    asked = OllamaRegistry("registry.example", None)  # type: ignore[arg-type]

    assert asked._url == "https://registry.example"
