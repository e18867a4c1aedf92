"""Writes what a bug report needs into one JSON file, with nothing private in it.

It has versions, hardware, findings, the options that are numbers or words of umad's own, and the
figures of models and scorecard. It has no prompts, answers, keys, names of people, programs or
files, and no paths: they are not on the list of what it takes (below), and what slips into a
sentence is taken out by `umad.doctor.privacy`. A person reads it before it is sent.
Not: sending it.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from umad.configuration.option import Option
from umad.configuration.options import ALIASES, APPS, KEEP, LISTS, MODEL, OPTIONS, QOS
from umad.doctor import engine, service
from umad.doctor.finding import Finding
from umad.doctor.privacy import Privacy, about
from umad.doctor.surroundings import Surroundings
from umad.engine.library.choice import VARIABLE
from umad.engine.llamacpp.processor import processor_name
from umad.errors import BadConfig, InternalError
from umad.version import __version__

_FORMAT = 1
_FILE_MODE = 0o600
# The facts of a model that are figures or words of llama.cpp's own. Its name and file are left out.
_MODEL_FACTS = (
    "state",
    "architecture",
    "description",
    "size_bytes",
    "n_params",
    "n_layer",
    "n_embd",
    "n_head_kv",
    "n_vocab",
    "n_ctx_train",
    "n_cells",
    "max_seqs",
    "kv_type",
    "kv_cell_bytes",
    "window_tokens",
    "state_bytes",
    "park_bytes",
    "shares_at",
    "flash_attention",
    "backend",
    "devices",
    "threads",
    "chat_family",
    "rope",
    "load_ms",
    "warmup_ms",
    "decode_ms",
    "restarts",
    "live",
    "waiting",
)
# Texts of the scorecard that are umad's own words.
_CARD_WORDS = ("memory_given_up", "memory_strain")
# Options whose values are texts of the user's.
_STRUCTURED = (MODEL, KEEP, QOS, APPS, ALIASES, *LISTS)
_USERS_UNITS = frozenset({"a text", "a path", "a path, or auto", "an address", "a lane", "origins"})


def report(around: Surroundings, found: Sequence[Finding]) -> dict[str, Any]:
    """The report, before private texts are taken out."""
    try:
        # Where another library lies may tell a user's name.
        library: Mapping[str, Any] = {**engine.look(), "library": _which()}
    except engine.EngineUnknown as error:
        library = {"error": str(error)}
    told = service.ask(around)
    memory = psutil.virtual_memory()
    return {
        "format": _FORMAT,
        "umad": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor_name(),
        "cores": [psutil.cpu_count(logical=False), psutil.cpu_count(logical=True)],
        "memory_bytes": memory.total,
        "findings": [one.as_map() for one in found],
        "llama_cpp": library,
        "options": _options(around),
        "daemon": "absent" if told.is_absent else "silent" if told.error else "running",
        "models": [
            {name: model.get(name) for name in _MODEL_FACTS}
            | {"error": (model.get("error") or {}).get("code")}
            for model in told.models
        ],
        "scorecard": _figures(told.card),
    }


def _which() -> str:
    return "another" if os.environ.get(VARIABLE) else "its own"


def cleaned(made: Mapping[str, Any], privacy: Privacy) -> str:
    """The report's text. Raises `InternalError` where something private would be in it."""
    text = json.dumps(privacy.clean(made), indent=1, ensure_ascii=False) + "\n"
    left = privacy.found_in(text)
    if left:
        raise InternalError(f"no report was written: {', '.join(left)} would have been in it")
    return text


def write_report(path: Path, around: Surroundings, found: Sequence[Finding]) -> None:
    """Write the report to a new file that only this user may read. Raises `BadConfig`."""
    named = [text for one in found for text in one.private]
    text = cleaned(report(around, found), about(around, named))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(path, flags, _FILE_MODE), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadConfig(f"{path} is there already; name another file") from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be written: {error.strerror}") from error


def _options(around: Surroundings) -> dict[str, str]:
    """The options that the user set. Of texts only that they are set."""
    return {
        option.name: _value(option, around)
        for option in OPTIONS
        if option.name in around.loaded.origins
    }


def _value(option: Option, around: Surroundings) -> str:
    if option in _STRUCTURED or option.kind.unit in _USERS_UNITS:
        return "set"
    value: Any = around.settings
    for name in option.target:
        value = getattr(value, name)
    return option.kind.write(value)


def _figures(card: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in card.items()
        if isinstance(value, int | float) or name in _CARD_WORDS
    }
