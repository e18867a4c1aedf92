"""Describes one model that lies on this machine and can be served by name.

Values, and the one way from a model's files to what is known of them. Not: where models are looked
for (`umad.models.places`, `umad.models.store`), nor who may see a path (`umad.daemon.authority`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from umad.errors import ModelLoadFailed
from umad.models.facts import FileFacts, FileKind, facts_of, problem_of
from umad.models.files import ModelFiles, joined, whole_headers
from umad.models.whisper import facts_of_whisper, is_speech_file, read_whisper

# Where a model lies. "umad" is nano, which ships inside; "folder" is one of the configuration's.
Place = Literal["umad", "store", "folder", "hugging face", "llama.cpp", "ollama", "lm studio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model and its files. Made by a place from names alone; `described` reads the header."""

    # The name that requests use.
    name: str
    files: ModelFiles
    place: Place
    # A reference that fetches it again (`umad.models.reference`); empty where none is known.
    source: str = ""
    size_bytes: int = 0
    # Such as Q4_K_M: by the file's name until the header is read.
    quantization: str = ""
    # By the header; "model" until it is read.
    kind: FileKind = "model"
    # None until the header is read.
    n_params: int | None = None
    # Why it cannot be served by itself; empty for a model that can. An adapter is served with a
    # model (`umad.models.adapters`).
    problem: str = ""

    def as_map(self) -> Mapping[str, Any]:
        """For `--json` and for jobs: plain values under stable names."""
        projector = self.files.projector
        return {
            "name": self.name,
            "source": self.source,
            "files": [str(path) for path in self.files.parts],
            "projector": None if projector is None else str(projector),
            "size_bytes": self.size_bytes,
            "quantization": self.quantization or None,
            "n_params": self.n_params,
            "kind": self.kind,
            "problem": self.problem or None,
        }


def described(model: FoundModel) -> tuple[FoundModel, FileFacts | None]:
    """`model` with what its header says, and the facts themselves; None where they cannot be
    read. `problem` then says why.
    """
    if model.problem:
        return model, None
    try:
        facts, problem = file_facts(model.files.main)
    except ModelLoadFailed as error:
        return replace(model, problem=error.message), None
    return (
        replace(
            model,
            quantization=facts.quantization or model.quantization,
            n_params=facts.n_params,
            kind=facts.kind,
            problem=problem,
        ),
        facts,
    )


def file_facts(path: Path) -> tuple[FileFacts, str]:
    """What a model's file says, of either format, and why it cannot be served; empty for one that
    can. path: the first part. Raises `ModelLoadFailed`.
    """
    if is_speech_file(path):
        return facts_of_whisper(read_whisper(path)), ""
    whole = joined(whole_headers(path))
    return facts_of(whole), problem_of(whole)
