"""Describes models as Ollama does: the rows of tags and ps, and the answer of show. Pure.

Facts come from the daemon's `models`. A fact that umad does not know (a model's license) stays
empty; nothing is made up. The context's length is that of one stream.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from umad.gateway.file_time import written_at
from umad.gateway.model_entries import parameter_size
from umad.model_names import quantization_of

# The tag that Ollama gives a name without one.
LATEST = ":latest"
# When a model is unloaded that stays until another one needs its room.
NEVER = "9999-12-31T23:59:59Z"
_RUNNING = ("ready", "yielding")
Facts = Mapping[str, Any]
# The keys of a GGUF file that Ollama tells, behind the architecture, and umad's facts.
_INFO = (
    ("context_length", "ctx"),
    ("block_count", "n_layer"),
    ("embedding_length", "n_embd"),
    ("attention.head_count_kv", "n_head_kv"),
    ("vocab_size", "n_vocab"),
)


def tags(models: Sequence[Facts]) -> list[dict[str, Any]]:
    """Rows of the models, and of the presets that mean them: in Ollama's words those were made of
    them, and clients look for what they have made.
    """
    presets = [
        tag_row({**model, "name": name}) for model in models for name in model.get("presets") or ()
    ]
    return [*map(tag_row, models), *presets]


def tag_row(model: Facts) -> dict[str, Any]:
    """A row of `/api/tags`. A name has a tag, which may be its own."""
    name = str(model["name"])
    if ":" not in name.rpartition("/")[2]:
        name += LATEST
    return {
        "name": name,
        "model": name,
        "modified_at": written_at(model),
        "size": model.get("size_bytes") or 0,
        "digest": _digest(model),
        "details": details(model),
    }


def running_row(model: Facts, now: datetime) -> dict[str, Any]:
    """A row of `/api/ps`. `size_vram` is the whole size if there is a device, because umad maps the
    whole model.
    """
    row = tag_row(model)
    del row["modified_at"]
    on_device = bool(model.get("devices"))
    return row | {
        "expires_at": _expires(model, now),
        "size_vram": row["size"] if on_device else 0,
        "context_length": model.get("ctx") or 0,
    }


def running(models: Sequence[Facts], now: datetime) -> list[dict[str, Any]]:
    """Rows of the models that are in memory."""
    return [running_row(model, now) for model in models if model.get("state") in _RUNNING]


def _expires(model: Facts, now: datetime) -> str:
    """When a model is unloaded unless somebody uses it."""
    left_s = model.get("rests_in_s")
    if left_s is None:
        return NEVER
    at = now + timedelta(seconds=float(left_s))
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def shown(model: Facts, *, parameters: str = "") -> dict[str, Any]:
    """The answer of `/api/show`."""
    family = _family(model)
    info: dict[str, Any] = {"general.architecture": family, "general.basename": model["name"]}
    if (count := model.get("n_params")) is not None:
        info["general.parameter_count"] = count
    for key, fact in _INFO:
        if (value := model.get(fact)) is not None:
            info[f"{family}.{key}"] = value
    capabilities = _capabilities(model)
    return {
        "modelfile": f"FROM {model['name']}\n",
        "parameters": parameters,
        "template": _template(capabilities),
        "license": "",
        "details": details(model),
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": written_at(model),
    }


def details(model: Facts) -> dict[str, Any]:
    """The part of a model's description that Ollama calls details."""
    family = _family(model)
    return {
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": parameter_size(model.get("n_params")),
        "quantization_level": quantization_of(model.get("description")),
    }


def _capabilities(model: Facts) -> list[str]:
    """Clients offer tools and thinking only where a model says that it has them."""
    if not model.get("generates", True):
        return ["embedding"]
    found = ["completion"]
    media = model.get("media") or ()
    if "image" in media:
        found.append("vision")
    if "audio" in media:
        found.append("audio")
    if model.get("takes_tools"):
        found.append("tools")
    if model.get("thinking"):
        found.append("thinking")
    if {"prefix", "suffix", "middle"} <= set(model.get("fim_tokens") or ()):
        found.append("insert")
    return found


def _template(capabilities: Sequence[str]) -> str:
    """Names what umad fills into a prompt, in Ollama's language. Clients look there for what a
    model takes (Continue for `.Suffix`); the template that is run is the model's own, in Jinja.
    """
    if "completion" not in capabilities:
        return ""
    tools = "{{ .Tools }}" if "tools" in capabilities else ""
    chat = "{{ .System }}" + tools + "{{ .Prompt }}"
    if "insert" not in capabilities:
        return chat
    return "{{ if .Suffix }}{{ .Prompt }}{{ .Suffix }}{{ else }}" + chat + "{{ end }}"


def _family(model: Facts) -> str:
    return str(model.get("architecture") or "unknown")


def _digest(model: Facts) -> str:
    """An id that tells models apart, as Ollama's does. It is not a digest of the weights, which
    would take too long to read.
    """
    which = f"{model.get('name')}:{model.get('size_bytes')}"
    return hashlib.sha256(which.encode()).hexdigest()
