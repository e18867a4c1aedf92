"""Reads catalogues: the one that ships, config/models.yaml, and the user's own.

The user's file is `models.yaml` beside the configuration. It adds models or puts others in their
places, and has three things more: `aliases`, other names of models; `presets`, a model together
with a system prompt, sampling and a lane; and `prefixes`, what is put before texts that a model
embeds. A key that is not known fails with file, line and the
nearest one. Not: what the entries mean (`umad.models.catalogue`).
"""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from umad.embedding import MAX_PREFIX_CHARS, task_named
from umad.errors import BadConfig, BadRequest
from umad.models.catalogue import QUANTIZATION, SKILLS, Catalogue, CatalogueEntry
from umad.models.reference import parse
from umad.preset import Preset
from umad.private_file import read_named
from umad.request import SAMPLING_FIELDS, SamplingParams

log = logging.getLogger(__name__)

FILE = "models.yaml"
_MOST_BYTES = 2**20
_QUOTED_CHARS = 128
# libyaml's is ten times as fast, where PyYAML has it, and ends the process for what is nested too
# deeply. So it reads umad's own file alone.
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def shipped() -> Catalogue:
    """The catalogue that ships with umad."""
    here = Path(__file__).with_name(FILE)
    # In the working tree it is a file for people to read; the wheel has it in the package.
    path = here if here.is_file() else Path(__file__).parents[2] / "config" / FILE
    return read_catalogue(path.read_text(encoding="utf-8"), str(path), loader=_FAST_LOADER)


def with_users(catalogue: Catalogue, path: Path) -> Catalogue:
    """`catalogue` with the user's own file on top; itself where there is no such file. Raises
    `BadConfig`.
    """
    try:
        text = read_named(path, _MOST_BYTES + 1)
    except FileNotFoundError:
        return catalogue
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error
    if len(text) > _MOST_BYTES:
        raise BadConfig(f"{path}: a file of models is at most {_MOST_BYTES} bytes")
    own = read_catalogue(text.decode("utf-8", "replace"), str(path))
    return Catalogue(
        entries={
            **own.entries,
            **{n: e for n, e in catalogue.entries.items() if n not in own.entries},
        },
        aliases=own.aliases,
        presets=own.presets,
        prefixes=own.prefixes,
    )


class UsersPresets:
    """The presets of the user's own file, read again whenever it has changed. Owner: one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Of the file that was read last; None where there was none.
        self._stamp: tuple[int, int] | None = None
        self._presets: Mapping[str, Preset] = {}

    def current(self) -> Mapping[str, Preset]:
        """Those of now. A file with a slip of the pen changes nothing, and the log says where it
        is.
        """
        try:
            found = self._path.stat()
            stamp = found.st_mtime_ns, found.st_size
        except OSError:
            self._stamp, self._presets = None, {}
            return self._presets
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._presets = with_users(Catalogue(), self._path).presets
            except BadConfig as error:
                log.warning("presets stay as they were: %s", error.message)
        return self._presets


def read_catalogue(text: str, source: str, *, loader: Any = yaml.SafeLoader) -> Catalogue:
    """The catalogue of a file's text. Raises `BadConfig` with source, line and nearest key."""
    try:
        root = yaml.compose(text, Loader=loader)
    except RecursionError:
        raise BadConfig(f"{source}: it is nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it is no YAML"
        raise BadConfig(f"{source}{line}: {what}") from None
    reader = _Reader(source)
    if root is None:
        return Catalogue()
    parts = reader.map(root, "the file", ("models", "aliases", "presets", "prefixes"))
    entries = [reader.entry(*one) for one in reader.pairs(parts.get("models"), "models")]
    presets = [reader.preset(*one) for one in reader.pairs(parts.get("presets"), "presets")]
    aliases = {
        name: reader.model(node, f"aliases.{name}")
        for name, node in reader.pairs(parts.get("aliases"), "aliases")
    }
    prefixes = {
        name: reader.prefixes(node, f"prefixes.{name}")
        for name, node in reader.pairs(parts.get("prefixes"), "prefixes")
    }
    return Catalogue(
        entries={one.name: one for one in entries},
        aliases=aliases,
        presets={one.name: one for one in presets},
        prefixes=prefixes,
    )


class _Reader:
    """Takes the nodes of one file apart."""

    def __init__(self, source: str) -> None:
        self._source = source

    def entry(self, name: str, node: yaml.Node) -> CatalogueEntry:
        at = f"models.{name}"
        said = self.map(node, at, _ENTRY)
        for key in _NEEDED:
            if key not in said:
                raise self._bad(node, f"{at} has no {key!r}")
        does = self.texts(said["does"], f"{at}.does")
        for skill in does:
            if skill not in SKILLS:
                raise self._bad(said["does"], f"{at}.does: {_unknown(skill, SKILLS)}")
        entry = CatalogueEntry(
            name=name.lower(),
            repository=self.text(said["repository"], f"{at}.repository"),
            does=does,
            purpose=self.text(said["for"], f"{at}.for"),
            parameters=self.text(said["parameters"], f"{at}.parameters"),
            active=self.text(said.get("active"), f"{at}.active"),
            context_tokens=self.whole(said["context"], f"{at}.context"),
            licence=self.text(said["licence"], f"{at}.licence"),
            quantization=self.text(said.get("quantization"), f"{at}.quantization").upper()
            or QUANTIZATION,
            file=self.text(said.get("file"), f"{at}.file"),
            sampling=self.sampling(said.get("sampling"), f"{at}.sampling"),
            prefixes=self.prefixes(said["prefixes"], f"{at}.prefixes")
            if "prefixes" in said
            else None,
        )
        try:
            parse(str(entry.reference()))
            named = parse(name)
        except BadRequest as error:
            raise self._bad(node, f"{at}: {error.message}") from None
        if named.kind != "catalogue":
            raise self._bad(node, f"{at}: a name has no slash, and does not end in .gguf")
        return entry

    def preset(self, name: str, node: yaml.Node) -> Preset:
        at = f"presets.{name}"
        said = self.map(node, at, _PRESET)
        if "model" not in said:
            raise self._bad(node, f"{at} has no 'model'")
        return Preset(
            name=name,
            model=self.model(said["model"], f"{at}.model"),
            system=self.text(said.get("system"), f"{at}.system"),
            sampling=self.sampling(said.get("sampling"), f"{at}.sampling"),
            lane=self.text(said.get("lane"), f"{at}.lane"),
        )

    def sampling(self, node: yaml.Node | None, at: str) -> Mapping[str, Any]:
        said = {} if node is None else self.map(node, at, _KINDS)
        values = {key: self._value(one) for key, one in said.items()}
        if "stop" in values:
            stop = values["stop"]
            values["stop"] = tuple(stop) if isinstance(stop, list) else (stop,)
        for key, value in values.items():
            if not _is_of_field(key, value):
                raise self._bad(said[key], f"{at}.{key}: {_KINDS[key]} is wanted")
        try:
            SamplingParams(**values).check()
        except BadRequest as error:
            raise self._bad(node, f"{at}: {error.message}") from None
        return values

    def prefixes(self, node: yaml.Node, at: str) -> Mapping[str, str]:
        """Prefixes by tasks, each exactly as it is written: the blank at its end counts."""
        said: dict[str, str] = {}
        for name, one in self.pairs(node, at):
            task = task_named(name)
            if task in said:
                raise self._bad(one, f"{at}: {name!r} is there twice, under two names")
            if not isinstance(one, yaml.ScalarNode):
                raise self._bad(one, f"{at}.{name} wants a text")
            if len(one.value) > MAX_PREFIX_CHARS:
                raise self._bad(one, f"{at}.{name} has more than {MAX_PREFIX_CHARS} characters")
            said[task] = "" if self._is_null(one) else str(one.value)
        return said

    def map(self, node: yaml.Node, at: str, known: Iterable[str]) -> dict[str, yaml.Node]:
        pairs = dict(self.pairs(node, at))
        for key in pairs:
            if key not in known:
                raise self._bad(node, f"{at}: {_unknown(key, known)}")
        return pairs

    def pairs(self, node: yaml.Node | None, at: str) -> Iterator[tuple[str, yaml.Node]]:
        if node is None or self._is_null(node):
            return
        if not isinstance(node, yaml.MappingNode):
            raise self._bad(node, f"{at} wants a map of names")
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if not name or name in seen:
                raise self._bad(key, f"{at}: {name!r} is " + ("there twice" if name else "no name"))
            seen.add(name)
            yield name, value

    def text(self, node: yaml.Node | None, at: str) -> str:
        if node is None or self._is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            raise self._bad(node, f"{at} wants a text")
        return str(node.value).strip()

    def model(self, node: yaml.Node, at: str) -> str:
        text = self.text(node, at)
        if not text:
            raise self._bad(node, f"{at} names no model")
        return text

    def texts(self, node: yaml.Node, at: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._bad(node, f"{at} wants a list")
        return tuple(self.text(one, at) for one in node.value)

    def whole(self, node: yaml.Node, at: str) -> int:
        value = self._value(node)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._bad(node, f"{at} wants a whole number above 0")
        return value

    def _value(self, node: yaml.Node) -> Any:
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_object(node, deep=True)
        except (yaml.YAMLError, *_UNREADABLE):
            # A tag of somebody's own, a date that is none, a list that has itself in it.
            raise self._bad(node, "a value is a number, a text or a list of texts") from None
        finally:
            loader.dispose()

    def _is_null(self, node: yaml.Node) -> bool:
        return bool(node.tag == "tag:yaml.org,2002:null")

    def _bad(self, node: yaml.Node | None, what: str) -> BadConfig:
        line = "" if node is None else f":{node.start_mark.line + 1}"
        return BadConfig(f"{self._source}{line}: {what}")


_NEEDED = ("repository", "does", "for", "parameters", "context", "licence")
_ENTRY = (*_NEEDED, "active", "quantization", "file", "sampling", "prefixes")
_PRESET = tuple(one.name for one in fields(Preset) if one.name != "name")
# What each field of the sampling wants, in words. `logit_bias` is not among them: it has numbers of
# tokens, which mean something to one model alone.
_WHOLE, _SWITCH, _NUMBER = "a whole number", "true or false", "a number"
_TEXTS = "a text or a list of texts"
_KINDS: Mapping[str, str] = {
    **{name: _NUMBER for name in SAMPLING_FIELDS if name != "logit_bias"},
    **dict.fromkeys(("top_k", "penalty_last_n", "seed", "max_tokens"), _WHOLE),
    **dict.fromkeys(("logprobs", "prompt_logprobs"), _WHOLE),
    **dict.fromkeys(("fit", "ignore_eos"), _SWITCH),
    "stop": _TEXTS,
}

# What PyYAML raises for values that are not of their tag (`!!bool maybe`).
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def _is_of_field(key: str, value: object) -> bool:
    kind = _KINDS[key]
    if kind == _TEXTS:
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    if isinstance(value, bool) or kind == _SWITCH:
        return isinstance(value, bool) and kind == _SWITCH
    return isinstance(value, int) or (kind == _NUMBER and isinstance(value, float))


def _unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown key {key[:_QUOTED_CHARS]!r}; {hint}"
