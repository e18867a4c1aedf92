"""What somebody writes becomes an order that means the same wherever it is carried out."""

from pathlib import Path

import pytest

from umad.errors import BadRequest, UnknownModel
from umad.jobs.ordering import pull_order
from umad.jobs.surroundings import surroundings
from umad.models.catalogue import Catalogue, CatalogueEntry
from umad.models.fetching.choice import choose

ENTRY = CatalogueEntry(
    name="fox:3b",
    repository="org/Fox-3B-GGUF",
    does=("chat",),
    purpose="tests",
    parameters="3B",
    context_tokens=4096,
    licence="mit",
)
KNOWN = Catalogue(entries={"fox:3b": ENTRY}, aliases={"mine": "fox:3b", "far": "ollama:far"})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("fox:3b", "hf:org/Fox-3B-GGUF:Q4_K_M"),
        ("fox", "hf:org/Fox-3B-GGUF:Q4_K_M"),
        ("mine", "hf:org/Fox-3B-GGUF:Q4_K_M"),
        ("far", "ollama:far:latest"),
        ("hf:a/b", "hf:a/b"),
        ("a/b:q8_0", "hf:a/b:Q8_0"),
        ("/models/x.gguf", "/models/x.gguf"),
    ],
)
def test_a_name_is_settled_before_it_goes_to_another_process(written: str, meant: str) -> None:
    assert pull_order(written, KNOWN).reference == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("fox:3b", "hf:org/Fox-3B-GGUF"), ("hf:a/b", "hf:a/b"), ("hf:a/b:bf16", "hf:a/b:BF16")],
)
def test_whole_weights_are_asked_for_where_they_are_to_be_quantized(
    written: str, meant: str
) -> None:
    order = pull_order(written, KNOWN, quantize="Q4_K_M")

    assert (order.reference, order.quantize) == (meant, "q4_k_m")
    assert order.what == f"{meant} as q4_k_m"


@pytest.mark.parametrize(
    ("written", "more", "error", "says"),
    [
        ("fix:3b", {}, UnknownModel, "near are fox:3b"),
        ("./x.gguf", {}, BadRequest, "name the whole path"),
        ("~/x.gguf", {}, BadRequest, "name the whole path"),
        ("hf:", {}, BadRequest, "names no repository"),
        ("hf:a/b", {"quantize": "int4"}, BadRequest, "quantize is one of"),
        ("hf:a/b:Q8_0", {"quantize": "q4_k_m"}, BadRequest, "hf:a/b:Q8_0 is quantized already"),
    ],
)
def test_what_cannot_be_fetched_is_refused_before_there_is_a_job(
    written: str, more: dict[str, str], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        pull_order(written, KNOWN, **more)  # type: ignore[arg-type]


def test_of_whole_weights_the_ones_of_training_come_first() -> None:
    names = ["fox-Q4_K_M.gguf", "fox-F32.gguf", "fox-F16.gguf", "fox-BF16.gguf"]

    assert choose(names, repository="org/fox", whole=True).files.main.name == "fox-BF16.gguf"
    assert choose(names[:3], repository="o/f", whole=True).files.main.name == "fox-F16.gguf"
    assert choose(["fox.gguf"], repository="o/f", whole=True).files.main.name == "fox.gguf"
    with pytest.raises(UnknownModel, match=r"no file of F16, BF16 or F32 .* it has: Q4_K_M"):
        choose(names[:1], repository="org/fox", whole=True)


def test_surroundings_are_the_same_unless_another_hub_token_or_folder_is_meant() -> None:
    plain = {"HOME": "/home/me", "PATH": "/bin", "HF_TOKEN": "secret", "LANG": "C"}
    same = {**plain, "PATH": "/other", "TERM": "xterm", "UMAD_MODELS": ""}

    assert surroundings(plain) == surroundings(same)
    for name in ("HF_TOKEN", "HF_ENDPOINT", "UMAD_MODELS", "HOME", "https_proxy"):
        assert surroundings({**plain, name: "another"}) != surroundings(plain)
    assert "secret" not in surroundings(plain)


def test_a_folder_that_is_named_relative_to_the_working_folder_is_another_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative, whole = {"HF_HUB_CACHE": "hub"}, {"HF_HUB_CACHE": str(tmp_path / "hub")}
    assert surroundings(relative) == surroundings(whole)

    monkeypatch.chdir("/")
    assert surroundings(relative) != surroundings(whole)
