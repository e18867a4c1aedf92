"""Describes a model as an entry of a list: OpenAI's fields, Anthropic's, and llama-server's.

Their clients ask the same paths, so an entry has the fields of all. llama-server's `status` says
which models may be asked about without loading them, and `meta` has the sizes: editors take a
model's context from there. A fact that is not known yet is left out. Source: `get_res_model_info`
and `get_router_models` in llama.cpp's tools/server. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.gateway.file_time import written_at, written_s
from umad.gateway.model_facts import has_told

# umad's states in llama-server's words. A suspended model has its name and no process, and its next
# request starts it: llama-server calls that sleeping.
_STATUS = {
    "waiting": "loading",
    "starting": "loading",
    "reopening": "loading",
    "dead": "loading",
    "ready": "loaded",
    "yielding": "loaded",
    "suspending": "sleeping",
    "suspended": "sleeping",
}
# llama-server's names of facts, and umad's.
_META = {
    "n_vocab": "n_vocab",
    "n_ctx": "ctx",
    "n_ctx_train": "n_ctx_train",
    "n_embd": "n_embd",
    "n_params": "n_params",
    "size": "size_bytes",
}
# llama-server's name of the part of a load that reads the weights, which is the only one here.
_STAGE = "text_model"
Facts = Mapping[str, Any]


def entry_of(name: str, facts: Facts, *, aliases: Sequence[str] = ()) -> dict[str, Any]:
    """The entry of a model under one of its names. aliases: its other names."""
    return {
        "id": name,
        "object": "model",
        "created": written_s(facts),
        "owned_by": "umad",
        "type": "model",
        "kind": kind_of(facts),
        "display_name": name,
        "created_at": written_at(facts),
        "lifecycle": "active",
        "max_input_tokens": facts.get("ctx"),
        "context_length": facts.get("ctx"),
        "max_model_len": facts.get("ctx"),
        "state": facts.get("state"),
        "aliases": list(aliases),
        "tags": [],
        "status": status_of(facts),
        "architecture": {
            "input_modalities": input_modalities(facts),
            "output_modalities": ["text"] if _writes(facts) else [],
        },
        "meta": _meta(facts) if has_told(facts) else None,
    }


def input_modalities(facts: Facts) -> list[str]:
    """What a model takes: "text", "image", "audio"."""
    return ["audio"] if facts.get("transcribes") else ["text", *(facts.get("media") or ())]


def kind_of(facts: Facts) -> str:
    """What a model is for: "text", "embedding" (also ranking), or "speech"."""
    if facts.get("transcribes"):
        return "speech"
    return "text" if facts.get("generates", True) else "embedding"


def _writes(facts: Facts) -> bool:
    return kind_of(facts) != "embedding"


def is_asleep(facts: Facts) -> bool:
    """Whether a question about the model would start it again."""
    return _status(facts) not in ("loaded", "loading")


def status_of(facts: Facts) -> dict[str, Any]:
    """llama-server's `status` of a model, in lists."""
    status: dict[str, Any] = {"value": _status(facts)}
    if facts.get("state") == "failed":
        status["failed"] = True
    if (progress := _progress(facts)) is not None:
        status["progress"] = progress
    return status


def _status(facts: Facts) -> str:
    return _STATUS.get(str(facts.get("state")), "unloaded")


def _progress(facts: Facts) -> dict[str, Any] | None:
    """How far a load is; None where that is not known, or not the caller's to see."""
    share = facts.get("load_share")
    if share is None:
        return None
    return {"stages": [_STAGE], "current": _STAGE, "value": share}


def _meta(facts: Facts) -> dict[str, Any]:
    found = {ours: facts.get(theirs) for ours, theirs in _META.items()}
    found["ftype"] = file_type(facts.get("description")) or None
    return {name: value for name, value in found.items() if value is not None}


def file_type(description: object) -> str:
    """llama.cpp's name of a file's quantization, such as "Q4_K - Medium", from its description of
    the model, which is architecture, size and that. Empty where there is none.
    """
    words = description.split() if isinstance(description, str) else []
    # Sizes of some models have a second word: "17Bx16E (Scout)".
    return " ".join([one for one in words[2:] if not one.startswith("(")])


def parameter_size(count: object) -> str:
    """A number of parameters as Ollama writes it: "7.6B". Empty where it is not known."""
    if not isinstance(count, int):
        return ""
    for unit, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
