"""A model as an entry of a list: what is known of it, under the names that clients look for."""

from typing import Any

import pytest

from umad.gateway.dialects.openai.codex_models import codex_entry
from umad.gateway.model_entries import entry_of, file_type, parameter_size

FACTS: dict[str, Any] = {
    "name": "coder",
    "state": "ready",
    "architecture": "qwen2",
    "description": "qwen2 7B Q4_K - Medium",
    "ctx": 32768,
    "n_ctx_train": 131072,
    "n_params": 7_615_616_512,
    "n_vocab": 152064,
    "size_bytes": 4_683_073_184,
    "modified_s": 1_764_444_444,
    "takes_tools": True,
    "thinking": ("<think>", "</think>"),
}


@pytest.mark.parametrize(
    ("description", "named"),
    [
        ("qwen2 7B Q4_K - Medium", "Q4_K - Medium"),
        ("llama ?B F16", "F16"),
        ("llama4 17Bx16E (Scout) Q8_0", "Q8_0"),
        ("llama 1B", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_type_of_a_file_is_the_end_of_its_description(description: Any, named: str) -> None:
    assert file_type(description) == named


@pytest.mark.parametrize(
    ("count", "written"),
    [(7_615_616_512, "7.6B"), (360_000_000, "360.0M"), (7_000, "7.0K"), (12, "12"), (None, "")],
)
def test_a_number_of_parameters_is_written_short(count: Any, written: str) -> None:
    assert parameter_size(count) == written


def test_an_entry_has_the_sizes_and_the_time_of_the_file() -> None:
    entry = entry_of("coder", FACTS, aliases=["gpt-4o"])

    assert (entry["created"], entry["created_at"]) == (1_764_444_444, "2025-11-29T19:27:24Z")
    assert entry["aliases"] == ["gpt-4o"]
    assert entry["meta"] == {
        "n_vocab": 152064,
        "n_ctx": 32768,
        "n_ctx_train": 131072,
        "n_params": 7_615_616_512,
        "size": 4_683_073_184,
        "ftype": "Q4_K - Medium",
    }


def test_a_model_that_only_embeds_writes_no_text() -> None:
    modalities = entry_of("embeds", {**FACTS, "generates": False})["architecture"]

    assert modalities == {"input_modalities": ["text"], "output_modalities": []}


def test_codex_asks_a_thinking_model_to_think_as_it_likes_unless_told() -> None:
    thinks = codex_entry("coder", FACTS, priority=1)
    plain = codex_entry("plain", {**FACTS, "thinking": None}, priority=2)

    levels = [one["effort"] for one in thinks["supported_reasoning_levels"]]
    assert thinks["default_reasoning_level"] == "high"
    assert thinks["default_reasoning_level"] in levels
    assert (plain["default_reasoning_level"], plain["supported_reasoning_levels"]) == (None, [])
    assert thinks["details"]["parameter_size"] == "7.6B"
    assert thinks["details"]["quantization_level"] == "Q4_K_M"
