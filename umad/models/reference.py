"""Reads what a user writes to name a model that is to be fetched or opened.

    qwen3-coder:30b                     a name of the catalogue (`umad.models.catalogue`)
    hf:org/repo  hf:org/repo:Q4_K_M     a repository of the Hugging Face hub, and its quantization
    hf:org/repo/folder/file.gguf        one file of it; ggml-base.en.bin for a Whisper model
    ollama:qwen3:0.6b                   a model of Ollama's registry, or of another host's
    ./file.gguf  /models/file.gguf      a file

Other spellings with one obvious meaning are taken too: `org/repo` as llama-server has it, addresses
copied from a browser, and other letters. `str` of a reference is the spelling above, which every
list and record shows.
Not: whether any of it exists. Pure.
"""

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from typing_extensions import override

from umad.errors import BadRequest
from umad.models.whisper import is_speech_name

Kind = Literal["catalogue", "hub", "ollama", "file"]

OLLAMA_HOST = "registry.ollama.ai"
OLLAMA_OWNER = "library"
LATEST = "latest"
_MOST_CHARS = 1024
_QUOTED_CHARS = 128
# A part of a repository's name, as the hub allows it.
_HUB_PART = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
# A part of a name of Ollama's, and a tag of either.
_WORD = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][\w.-]{0,127}", re.ASCII)
_HOST = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::\d{1,5})?", re.ASCII)
_FILE = ".gguf"
_HUB_HOSTS = ("huggingface.co/", "hf.co/")
_OLLAMA_HOSTS = ("ollama.com/library/", "ollama.com/", f"{OLLAMA_HOST}/")
_WEB = re.compile(r"https?://", re.IGNORECASE)
# Between a repository and a file in an address of the hub.
_PAGES = ("blob", "resolve", "tree", "raw")
_MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """A model, as somebody named it. Which fields say something depends on `kind`."""

    kind: Kind
    # The catalogue's name, the repository's, Ollama's; or a path as it was written.
    name: str
    # The hub's organisation or user; Ollama's namespace.
    owner: str = ""
    # Ollama's registry.
    host: str = ""
    # The quantization wanted of a repository, in capitals; Ollama's tag. Empty for the default.
    tag: str = ""
    # One file of a repository, by its path there.
    file: str = ""

    @property
    def repository(self) -> str:
        """`org/repo` on the hub, `namespace/name` in a registry."""
        return f"{self.owner}/{self.name}"

    @override
    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        match self.kind:
            case "hub":
                return f"hf:{self.repository}{'/' if self.file else ''}{self.file}{tag}"
            case "ollama" if self.host != OLLAMA_HOST:
                return f"ollama:{self.host}/{self.repository}{tag}"
            case "ollama" if self.owner != OLLAMA_OWNER:
                return f"ollama:{self.repository}{tag}"
            case "ollama":
                return f"ollama:{self.name}{tag}"
            case _:
                return self.name


def parse(text: str) -> ModelReference:
    """The reference that `text` is. Raises `BadRequest`, which says what is wrong and how it is
    written.
    """
    if not text or len(text) > _MOST_CHARS or not text.isprintable():
        _refuse(text, "is no name of a model")
    web = _WEB.match(text)
    if web is not None:
        return _address(text, text[web.end() :].partition("?")[0].rstrip("/"))
    for scheme, of_kind in (("hf:", _hub), ("ollama:", _ollama)):
        if text.lower().startswith(scheme):
            return of_kind(text, text[len(scheme) :].removeprefix("//"))
    if is_path(text):
        return ModelReference(kind="file", name=text)
    for hosts, of_kind in ((_HUB_HOSTS, _hub), (_OLLAMA_HOSTS, _ollama)):
        for host in hosts:
            if text.lower().startswith(host):
                return of_kind(text, text[len(host) :])
    if "/" in text:
        return _hub(text, text)
    return _catalogue(text)


def is_path(text: str) -> bool:
    """True for a text without a scheme that looks like a place in the file system."""
    if text.startswith(("/", "~", "./", "../")) or text in (".", ".."):
        return True
    # `org/repo/file.gguf` too: a file of a repository is written with `hf:`.
    return _is_model_file(text)


def _is_model_file(text: str) -> bool:
    return text.lower().endswith(_FILE) or is_speech_name(text)


def _address(text: str, place: str) -> ModelReference:
    for host in _HUB_HOSTS:
        if place.lower().startswith(host):
            return _hub(text, place[len(host) :])
    for host in _OLLAMA_HOSTS:
        if place.lower().startswith(host):
            return _ollama(text, place[len(host) :])
    _refuse(text, "is an address of neither the hub nor Ollama; fetch it and give the file's path")


def _hub(text: str, place: str) -> ModelReference:
    parts = place.split("/")
    if len(parts) < 2:
        _refuse(text, "names no repository: write hf:org/repo, or hf:org/repo:Q4_K_M")
    if len(parts) > 3 and parts[2] in _PAGES:
        if parts[3] != _MAIN:
            _refuse(text, f"names the revision {parts[3]!r}; umad fetches {_MAIN}")
        parts[2:4] = []
    last, colon, tag = parts[-1].partition(":")
    parts[-1] = last
    owner, name, *folders = parts
    if not (_HUB_PART.fullmatch(owner) and _HUB_PART.fullmatch(name)):
        _refuse(text, "is no name of a repository: write hf:org/repo, or hf:org/repo:Q4_K_M")
    if colon and not _WORD.fullmatch(tag):
        _refuse(text, "has no quantization behind its colon, such as Q4_K_M")
    file = "/".join(folders)
    if file and not _is_model_file(file):
        _refuse(text, f"names a file that is no {_FILE}: {file[:_QUOTED_CHARS]}")
    if file and (tag or not all(map(_is_name, folders))):
        _refuse(text, "names no file of a repository: write hf:org/repo/file.gguf")
    wanted = "" if tag.lower() == LATEST else tag.upper()
    return ModelReference(kind="hub", owner=owner, name=name, tag=wanted, file=file)


def _is_name(part: str) -> bool:
    return bool(part.strip(".")) and part.isprintable()


def _ollama(text: str, place: str) -> ModelReference:
    parts = place.split("/")
    name, colon, tag = parts[-1].partition(":")
    tag = tag if colon else LATEST
    owner = parts[-2] if len(parts) > 1 else OLLAMA_OWNER
    host = parts[0] if len(parts) > 2 else OLLAMA_HOST
    words = _WORD.fullmatch(name) and _WORD.fullmatch(owner) and _WORD.fullmatch(tag)
    if len(parts) > 3 or not words or not _HOST.fullmatch(host):
        _refuse(text, "is no name of a registry: write ollama:name, or ollama:name:tag")
    return ModelReference(kind="ollama", host=host, owner=owner, name=name, tag=tag)


def _catalogue(text: str) -> ModelReference:
    name, colon, tag = text.partition(":")
    if not _WORD.fullmatch(name) or (colon and not _WORD.fullmatch(tag)):
        _refuse(text, "is no name of a model; a repository is hf:org/repo, a file ./file.gguf")
    plain = name.lower() if not colon or tag.lower() == LATEST else f"{name}:{tag}".lower()
    return ModelReference(kind="catalogue", name=plain)


def _refuse(text: str, why: str) -> NoReturn:
    raise BadRequest(f"{text[:_QUOTED_CHARS]!r} {why}", field="model")
