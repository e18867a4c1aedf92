"""Knows well-known models by short names: their repositories, purposes, and makers' defaults.

A name says family and size, as Ollama's do: `qwen3-coder:30b`. A family alone means its model where
it has only one.
Not: the files it is read from (`umad.models.catalogue_file`), whether a model is on this machine
(`umad.models.library`), nor how it is fetched. Pure.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from umad.errors import UnknownModel
from umad.models.reference import ModelReference
from umad.preset import Preset

# What a model can do. "fill in": it completes code between two texts, as editors ask for.
Skill = Literal["chat", "think", "tools", "code", "fill in", "see", "hear", "embed", "rerank"]
SKILLS: tuple[str, ...] = get_args(Skill)
QUANTIZATION = "Q4_K_M"
_MOST_LISTED = 8
_QUOTED_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One model that has a short name."""

    name: str
    # On the hub.
    repository: str
    does: tuple[str, ...]
    # One line for a person.
    purpose: str
    # Weights, such as "30.5B"; and those that a token touches, where they are fewer.
    parameters: str
    active: str = ""
    # The most tokens of one text.
    context_tokens: int
    # As the hub writes it: apache-2.0.
    licence: str
    # What is fetched unless somebody says otherwise.
    quantization: str = QUANTIZATION
    # One file of the repository, where its names do not say the quantization.
    file: str = ""
    # What its maker recommends, under the names of `umad.request`.
    sampling: Mapping[str, Any] = field(default_factory=dict)
    # What its card puts before a text, by the task that the vector is for; None where the card was
    # not looked at.
    prefixes: Mapping[str, str] | None = None

    def reference(self, quantization: str = "") -> ModelReference:
        """The reference that this name fetches."""
        owner, _, name = self.repository.partition("/")
        tag = "" if self.file else quantization or self.quantization
        return ModelReference(kind="hub", owner=owner, name=name, tag=tag, file=self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All names that somebody has written down."""

    entries: Mapping[str, CatalogueEntry] = field(default_factory=dict)
    # Other names of models, and what they mean.
    aliases: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=dict)
    # As `CatalogueEntry.prefixes`, of models by the names that requests use.
    prefixes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def entry(self, name: str) -> CatalogueEntry:
        """The entry of a name. Raises `UnknownModel`, which names near ones or those of the
        family.
        """
        found = self.get(name)
        if found is not None:
            return found
        family = self._family(name)
        if family:
            raise UnknownModel(
                f"{name[:_QUOTED_CHARS]!r} may be {_either(family)}; say which", field="model"
            )
        near = difflib.get_close_matches(name.lower(), list(self.entries), n=3, cutoff=0.5)
        hint = f"near are {', '.join(near)}" if near else "umad search finds models"
        raise UnknownModel(
            f"no model is called {name[:_QUOTED_CHARS]!r}; {hint}; "
            "a repository is written hf:org/repo",
            field="model",
        )

    def get(self, name: str) -> CatalogueEntry | None:
        """The entry of a name, or of a family that has only one; None for another text."""
        plain = name.lower()
        found = self.entries.get(plain)
        family = self._family(name)
        return found or (self.entries[family[0]] if len(family) == 1 else None)

    def meant(self, name: str) -> str | None:
        """The text that an alias stands for, whatever the case of its letters; None where `name` is
        no alias.
        """
        plain = name.casefold()
        exact = self.aliases.get(name)
        return exact or next(
            (text for one, text in self.aliases.items() if one.casefold() == plain), None
        )

    def preset(self, name: str) -> Preset | None:
        """The preset of a name, whatever the case of its letters."""
        plain = name.casefold()
        exact = self.presets.get(name)
        return exact or next(
            (one for one in self.presets.values() if one.name.casefold() == plain), None
        )

    def has_family(self, name: str) -> bool:
        """True where models are called by a name and their sizes."""
        return bool(self._family(name))

    def of_repository(self, repository: str) -> CatalogueEntry | None:
        """The entry of a repository on the hub."""
        plain = repository.lower()
        return next((e for e in self.entries.values() if e.repository.lower() == plain), None)

    def titled(self, title: str) -> CatalogueEntry | None:
        """The entry of a model by the name that its maker gave it, such as "Nomic Embed Text v1.5".
        Only letters and digits count, and all of them have to be the same.
        """
        wanted = _letters(title)
        if not wanted:
            return None
        by_name = (e for e in self.entries.values() if _letters(e.name) == wanted)
        of_family = (e for e in self.entries.values() if _letters(e.name.split(":")[0]) == wanted)
        return next(by_name, None) or next(of_family, None)

    def search(self, words: str) -> tuple[CatalogueEntry, ...]:
        """The entries that have every one of some words in name, repository, skills or purpose."""
        wanted = words.lower().split()
        return tuple(
            entry
            for entry in self.entries.values()
            if all(
                word in " ".join((entry.name, entry.repository, *entry.does, entry.purpose)).lower()
                for word in wanted
            )
        )

    def _family(self, name: str) -> list[str]:
        return [one for one in self.entries if one.startswith(f"{name.lower()}:")]


def _letters(name: str) -> str:
    return "".join([one for one in name.casefold() if one.isalnum()])


def _either(names: list[str]) -> str:
    listed = names[:_MOST_LISTED]
    if len(names) > _MOST_LISTED:
        listed.append(f"{len(names) - _MOST_LISTED} more")
    return f"{', '.join(listed[:-1])} or {listed[-1]}"
