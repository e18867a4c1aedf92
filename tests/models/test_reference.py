"""What users write to name a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.errors import BadRequest
from umad.models.reference import parse


@pytest.mark.parametrize(
    ("text", "kind", "spelling"),
    [
        ("qwen3-coder:30b", "catalogue", "qwen3-coder:30b"),
        ("Qwen3-Coder:30B", "catalogue", "qwen3-coder:30b"),
        ("gemma4:latest", "catalogue", "gemma4"),
        ("hf:org/repo", "hub", "hf:org/repo"),
        ("hf:org/repo:q4_k_m", "hub", "hf:org/repo:Q4_K_M"),
        ("hf:org/repo:latest", "hub", "hf:org/repo"),
        ("hf:org/repo/folder/model.gguf", "hub", "hf:org/repo/folder/model.gguf"),
        ("hf://org/repo", "hub", "hf:org/repo"),
        ("org/repo", "hub", "hf:org/repo"),
        ("org/repo:UD-Q4_K_XL", "hub", "hf:org/repo:UD-Q4_K_XL"),
        ("hf.co/org/repo:Q8_0", "hub", "hf:org/repo:Q8_0"),
        ("https://huggingface.co/org/repo", "hub", "hf:org/repo"),
        ("https://huggingface.co/org/repo/tree/main", "hub", "hf:org/repo"),
        (
            "https://huggingface.co/org/repo/blob/main/x/m.gguf?download=true",
            "hub",
            "hf:org/repo/x/m.gguf",
        ),
        ("ollama:qwen3", "ollama", "ollama:qwen3:latest"),
        ("ollama:qwen3:0.6b", "ollama", "ollama:qwen3:0.6b"),
        ("ollama:me/mine:v2", "ollama", "ollama:me/mine:v2"),
        ("ollama:host.example:5000/me/mine:v2", "ollama", "ollama:host.example:5000/me/mine:v2"),
        ("https://ollama.com/library/qwen3:0.6b", "ollama", "ollama:qwen3:0.6b"),
        ("./file.gguf", "file", "./file.gguf"),
        ("~/models/file.gguf", "file", "~/models/file.gguf"),
        ("/models/some folder/file.gguf", "file", "/models/some folder/file.gguf"),
        ("file.GGUF", "file", "file.GGUF"),
    ],
)
def test_every_way_to_write_a_model_is_one_of_four_kinds(
    text: str, kind: str, spelling: str
) -> None:
    reference = parse(text)

    assert reference.kind == kind
    assert str(reference) == spelling
    assert parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no name of a model"),
        ("qwen\x003", "no name of a model"),
        ("x" * 2000, "no name of a model"),
        ("hf:org", "hf:org/repo"),
        ("hf:../../etc", "no name of a repository"),
        ("hf:org/..", "no name of a repository"),
        ("hf:org/repo:", "quantization behind its colon"),
        ("hf:org/repo/model.safetensors", r"no \.gguf"),
        ("hf:org/repo/../../m.gguf", "hf:org/repo/file.gguf"),
        ("https://huggingface.co/org/repo/blob/v2/m.gguf", "revision 'v2'"),
        ("https://example.org/m.gguf", "neither the hub nor Ollama"),
        ("ollama:../../etc/passwd", "ollama:name:tag"),
        ("ollama:a/b/c/d", "ollama:name:tag"),
        ("two words", "hf:org/repo"),
    ],
)
def test_what_is_no_reference_is_refused_in_a_line_that_says_how_to_write_one(
    text: str, words: str
) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        parse(text)

    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.field == "model"


@given(st.text(max_size=60))
def test_any_text_is_a_reference_that_means_itself_or_is_refused(text: str) -> None:
    try:
        reference = parse(text)
    except BadRequest:
        return

    assert parse(str(reference)) == reference
    if reference.kind in ("hub", "ollama"):
        for part in (reference.owner, reference.name, *reference.file.split("/")):
            assert part not in (".", "..")
