"""Describes models as Codex reads them from /v1/models: its array `models`, beside OpenAI's `data`.

Without the array Codex cannot read the list, and works with metadata that it makes up. Source:
`ModelInfo` in codex-rs/protocol/src/openai_models.rs; a field without a default there is required
here. An entry also has the names under which llama-server's own array lists a model. Pure.
"""

from collections.abc import Mapping
from typing import Any

from umad.gateway.model_entries import input_modalities, parameter_size
from umad.gateway.model_facts import context_tokens
from umad.model_names import quantization_of

# Codex sends these instead of its own where it takes a model's metadata from the server. They are
# short, because local models have short contexts.
INSTRUCTIONS = (
    "You are a coding agent in a terminal. You work in the user's folder with the tools that you "
    "are given. Read the files that a task concerns before you change them. Change what was asked "
    "and nothing else. Keep to the style of the code. Run the project's tests where there are "
    "some. When a command fails, read its output and mend the cause. Never say that something "
    "works unless you have seen it work. End with a short summary of what you did."
)
_EFFORTS = (
    ("none", "Answers at once"),
    ("low", "Thinks briefly"),
    ("medium", "Thinks longer"),
    ("high", "Thinks as long as it likes"),
)
# A tool's output is cut to a quarter of the context, and to Codex's own limit.
_MOST_OUTPUT_TOKENS = 10_000


def codex_entry(name: str, facts: Mapping[str, Any], *, priority: int) -> dict[str, Any]:
    """One element of the array. priority: its place in Codex's picker, the lowest first."""
    context = context_tokens(facts) or None
    thinks = bool(facts.get("thinking")) or facts.get("chat_family") == "harmony"
    return {
        "slug": name,
        "display_name": name,
        "description": str(facts.get("description") or ""),
        # Where none is asked for, a model thinks as long as it likes.
        "default_reasoning_level": "high" if thinks else None,
        "supported_reasoning_levels": [
            {"effort": effort, "description": text} for effort, text in _EFFORTS if thinks
        ],
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": INSTRUCTIONS,
        "supports_reasoning_summaries": thinks,
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": None,
        "truncation_policy": {
            "mode": "tokens",
            "limit": min(_MOST_OUTPUT_TOKENS, (context or _MOST_OUTPUT_TOKENS * 4) // 4),
        },
        "supports_parallel_tool_calls": bool(facts.get("takes_tools")),
        "context_window": context,
        "max_context_window": context,
        "experimental_supported_tools": [],
        "input_modalities": input_modalities(facts),
        # llama-server's names for the same.
        "name": name,
        "model": name,
        "type": "model",
        "capabilities": _capabilities(facts),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": str(facts.get("architecture") or ""),
            "families": [str(facts.get("architecture") or "")],
            "parameter_size": parameter_size(facts.get("n_params")),
            "quantization_level": quantization_of(facts.get("description")),
        },
    }


def _capabilities(facts: Mapping[str, Any]) -> list[str]:
    """llama-server's documentation tells clients to look here before they send an image."""
    found = ["completion"]
    if facts.get("media"):
        found.append("multimodal")
    if facts.get("takes_tools"):
        found.append("tools")
    return found
