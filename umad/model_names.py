"""Finds the model that a client means, from a name as clients write it.

Clients write one model in many ways: with Ollama's tag (`nano:latest`), as Hugging Face names a
repository (`org/nano-GGUF:Q4_K_M`), as its file (`nano.gguf`), in other letters (`Nano`), or by its
beginning (`qwen`). `resolve` is the one rule for all of them; every dialect, the socket and the
command line use it. It goes from strict to lenient and stops at the first rung where a model fits,
so a name that fits exactly never means another model:

    1. the name itself, or the path of its file
    2. the same without `:latest`, `.gguf`, folders and the case of letters; `.`, `_`, `:` and `-`
       count as one character
    3. without its tag, unless the tag names a size or a quantization that is not the model's
    4. its beginning, and the words of its tag anywhere behind it

Several models on one rung are an error that lists them. A place in the file system (`/a/nano.gguf`,
`~/x`, `../x`) means only the file at that place.
Not: aliases (`umad.gateway.aliases`), nor files that are not known yet (`umad.daemon.names`). Pure.
"""

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umad.errors import UnknownModel

LATEST = "latest"
_FILE = ".gguf"
_QUOTED_CHARS = 128
_MOST_LISTED = 8
# Characters between the words of a name: people and makers write one for the other.
_BETWEEN = re.compile(r"[\s.:_-]+")
# The end of the name of a Hugging Face repository of such files.
_REPOSITORY = re.compile(r"-gguf$")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmb])")
_IN_PARAMETERS = {"k": 1e3, "m": 1e6, "b": 1e9}
# Names round: "7b" has 6.7 to 8 billion parameters, "0.5b" 0.49, "1b" up to 1.5.
_ROUNDED = (0.6, 1.7)
_QUANTIZATION = re.compile(r"(?:i?q|tq)\d.*|b?f16|f32|fp16|mxfp4.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that a name may mean. What is not known is empty and contradicts nothing."""

    name: str
    # Where its file lies; empty for whom may not know.
    path: str = ""
    n_params: int | None = None
    # Such as Q4_K_M.
    quantization: str = ""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "KnownModel":
        """The model of a row of `Service.models`."""
        return cls(
            name=str(row["name"]),
            path=str(row.get("path") or ""),
            n_params=row.get("n_params") or None,
            quantization=quantization_of(row.get("description")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A name taken apart. `base` and `whole` are in plain letters (`_plain`)."""

    # Without the tag.
    base: str
    # With the tag; the same as `base` without one.
    whole: str
    # The words of the tag, as the client wrote them, in small letters.
    tag: tuple[str, ...]


def resolve(asked: str, known: Sequence[KnownModel], *, whole: bool = False) -> KnownModel | None:
    """The model that `asked` means; None where it means none of `known`.

    whole: only names that are given whole (the first three rungs), for lists whose names are not
    everybody's to find out. Raises `UnknownModel` where `asked` may mean several.
    """
    for one in known:
        if asked == one.name or (one.path and asked == one.path):
            return one
    words = _taken_apart(asked)
    if words is None:
        return None
    rungs: list[Callable[[KnownModel], bool]] = [
        lambda one: _plain(one.name) == words.whole,
        lambda one: _plain(one.name) == words.base and _agrees(words.tag, one),
    ]
    if not whole:
        rungs.append(lambda one: _begins(_plain(one.name), words.whole))
        if words.tag:
            rungs.append(lambda one: _has_words(_plain(one.name), words))
    for fits in rungs:
        found = {one.name: one for one in known if fits(one)}
        if len(found) > 1:
            raise UnknownModel(
                f"{_quoted(asked)} may be {_either(list(found))}; say which", field="model"
            )
        if found:
            return next(iter(found.values()))
    return None


def unknown_model(asked: str, loaded: Iterable[str], *, load: str | None = None) -> UnknownModel:
    """The error for a name that no loaded model has; it lists the nearest loaded names. load: the
    name to load instead, where it is known.
    """
    near = difflib.get_close_matches(asked, list(loaded), n=3, cutoff=0.0)
    there_is = f"loaded are {', '.join(near)}" if near else "nor is any other"
    return UnknownModel(
        f"{_quoted(asked)} is not loaded{';' if near else ','} {there_is}; "
        f"load it: {load_command(load or asked)}",
        field="model",
    )


def near_names(asked: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names that `asked` may be a slip of, whatever the case of its letters."""
    folded = {one.casefold(): one for one in names}
    found = difflib.get_close_matches(asked.casefold(), folded, n=3, cutoff=0.5)
    return tuple(folded[one] for one in found)


def load_command(model: str) -> str:
    """The command that loads `model`. The name is quoted, because it may hold any character."""
    return f"umad load {shlex.quote(model)}"


def quantization_of(description: object) -> str:
    """The quantization in llama.cpp's description of a model, under its usual name: "qwen2 1B
    Q4_K - Medium" is Q4_K_M. Empty where there is none.
    """
    words = description.split() if isinstance(description, str) else []
    for at, word in enumerate(words[1:], start=1):
        if _QUANTIZATION.fullmatch(word.lower()):
            rest = words[at + 1 : at + 3]
            size = rest[1] if len(rest) > 1 and rest[0] == "-" else ""
            return f"{word}_{size[0]}" if size in ("Small", "Medium", "Large") else word
    return ""


def _taken_apart(asked: str) -> _Asked | None:
    """The words of a name; None for a place in the file system, and for nothing at all."""
    if asked.startswith(("/", "~")) or {".", ".."} & set(asked.split("/")):
        return None
    last = asked.rpartition("/")[2]
    base, colon, tag = last.rpartition(":")
    if not colon:
        base, tag = last, ""
    base, tag = _without_file(base), _without_file(tag)
    if tag.lower() == LATEST:
        tag = ""
    plain = _REPOSITORY.sub("", _plain(base))
    if not plain:
        return None
    whole = f"{plain}-{_plain(tag)}" if tag else plain
    return _Asked(base=plain, whole=whole, tag=tuple(tag.lower().split("-")) if tag else ())


def _without_file(text: str) -> str:
    return text[: -len(_FILE)] if text.lower().endswith(_FILE) else text


def _plain(name: str) -> str:
    return _BETWEEN.sub("-", name.casefold()).strip("-")


def _agrees(tag: tuple[str, ...], model: KnownModel) -> bool:
    """Whether no word of a tag names another size or quantization than the model's."""
    return all(_is_size(word, model) and _is_quantization(word, model) for word in tag)


def _is_size(word: str, model: KnownModel) -> bool:
    found = _SIZE.fullmatch(word)
    if found is None or model.n_params is None:
        return True
    named = float(found[1]) * _IN_PARAMETERS[found[2]]
    low, high = _ROUNDED
    return low * named <= model.n_params <= high * named


def _is_quantization(word: str, model: KnownModel) -> bool:
    if not model.quantization or not _QUANTIZATION.fullmatch(word):
        return True
    said, real = _plain(word), _plain(model.quantization)
    return real.startswith(said) or said.startswith(real)


def _begins(name: str, beginning: str) -> bool:
    """Whether a name begins so. A number is not the beginning of another: `llama-3` is not that of
    `llama-30b`.
    """
    after = name[len(beginning) : len(beginning) + 1]
    return name.startswith(beginning) and not (beginning[-1].isdigit() and after.isdigit())


def _has_words(name: str, asked: _Asked) -> bool:
    rest = f"-{name.removeprefix(asked.base).strip('-')}-"
    return _begins(name, asked.base) and all(f"-{_plain(word)}-" in rest for word in asked.tag)


def _either(names: Sequence[str]) -> str:
    listed = list(names[:_MOST_LISTED])
    if len(names) > _MOST_LISTED:
        listed.append(f"{len(names) - _MOST_LISTED} more")
    return f"{', '.join(listed[:-1])} or {listed[-1]}"


def _quoted(asked: str) -> str:
    return repr(asked[:_QUOTED_CHARS])
