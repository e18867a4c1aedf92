"""Finds the texts that a bug report must not have, and takes them out.

A report is made of an allowlist (`umad.doctor.report`); this is the second line of defence, for
texts that get into an error message or a finding. Every place that names a person, a machine, a
file or a secret of this user is looked up, and each occurrence is replaced. Before the report is
written it is searched once more.
Not: what a report has. Reads the environment, the password file and the file of keys.
"""

import os
import pwd
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umad.config import Settings
from umad.doctor.surroundings import Surroundings
from umad.engine.library.choice import AUTO
from umad.gateway.door.check import UNIX

# A variable whose name has one of these is taken for a secret.
_SECRET_NAMES = re.compile(
    r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|SESSION|DSN|PRIVATE", re.IGNORECASE
)
# Shorter texts are found in everything, and tell nothing.
_LEAST_CHARS = 3
_LEAST_SECRET_CHARS = 6
_MOST_KEY_FILE_BYTES = 2**20
_WORD = re.compile(r"[^\s:,\"'\[\]{}#]+")
# What a path may look like in an error of somebody else's. The report has no paths at all.
_PATH = re.compile(r"(?<![\w.])(?:~|\.{1,2})?/(?:[^\s,;:'\"()|]+)")
# These are everybody's: a report that names them tells nothing about this user.
_PUBLIC_PATHS = ("/dev/", "/proc/", "/sys/")
# Words that a user's name may be, and that say nothing alone.
_COMMON = frozenset({"root", "user", "umad", "admin", "localhost"})


@dataclass(frozen=True, slots=True)
class Private:
    """One text, and the word that takes its place."""

    text: str
    stands_for: str


class Privacy:
    """Takes private texts out. `about` collects them."""

    def __init__(self, texts: Iterable[Private]) -> None:
        known = {one.text: one for one in texts if len(one.text) >= _LEAST_CHARS}
        # Longer ones first: a path has its user's name in it.
        self._texts = sorted(known.values(), key=lambda one: -len(one.text))
        self._patterns = [(_whole(one.text), f"<{one.stands_for}>") for one in self._texts]

    def clean(self, value: Any) -> Any:
        """`value` without private texts: a text, or lists and maps of texts."""
        match value:
            case str():
                return self._cleaned(value)
            case Mapping():
                return {self._cleaned(str(key)): self.clean(one) for key, one in value.items()}
            case list() | tuple():
                return [self.clean(one) for one in value]
            case _:
                return value

    def found_in(self, text: str) -> list[str]:
        """The words for those private texts that are in `text`, though they should not be."""
        return [
            one.stands_for
            for one, (pattern, _) in zip(self._texts, self._patterns, strict=True)
            if pattern.search(text)
        ]

    def _cleaned(self, text: str) -> str:
        for pattern, word in self._patterns:
            text = pattern.sub(word, text)
        return _PATH.sub(_path_word, text)


def about(around: Surroundings, more: Sequence[str] = ()) -> Privacy:
    """The private texts of this user and machine. more: those that findings name."""
    return Privacy(
        [
            *_person(around.environ),
            *_secrets(around.environ),
            *_settings(around.settings),
            *_keys(around.settings.http.api_key_file),
            *[Private(one, "private") for one in more],
        ]
    )


def _person(environ: Mapping[str, str]) -> Iterator[Private]:
    homes, names = {environ.get("HOME", "")}, {environ.get("USER", ""), environ.get("LOGNAME", "")}
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:  # a user without an entry, as in a container
        pass
    else:
        homes.add(entry.pw_dir)
        names |= {entry.pw_name, *entry.pw_gecos.split(",")}
    homes |= {os.path.realpath(one) for one in homes if one}
    for home in homes - {"", "/"}:
        yield Private(home, "home")
        names.add(Path(home).name)
    for name in names - _COMMON:
        yield Private(name, "user")
    host = socket.gethostname()
    for one in {host, host.partition(".")[0], environ.get("HOSTNAME", "")} - _COMMON:
        yield Private(one, "host")
    for folder in {os.environ.get("PWD", ""), environ.get("PWD", "")} - {"/"}:
        yield Private(folder, "folder")


def _secrets(environ: Mapping[str, str]) -> Iterator[Private]:
    for name, value in environ.items():
        if _SECRET_NAMES.search(name) and len(value) >= _LEAST_SECRET_CHARS:
            yield Private(value, "secret")


def _settings(settings: Settings) -> Iterator[Private]:
    """Every text of the configuration that is not a word of umad's own."""
    listen = settings.http.listen or ""
    paths = [
        *settings.models,
        *settings.preload,
        *settings.model_folders,
        settings.socket,
        settings.engine.session_dir,
        settings.logging.scorecard_csv,
        settings.logging.file,
        settings.http.api_key_file,
        settings.http.team,
        settings.http.router,
        settings.http.store,
        settings.llama_library,
        *settings.backends,
        settings.engine.mmproj,
        settings.engine.draft,
        listen.removeprefix(UNIX) if listen.startswith(UNIX) else None,
    ]
    for path in paths:
        if path and path not in ("nano", AUTO):
            yield Private(path, "path")
            yield Private(os.path.expanduser(path), "path")
            yield Private(Path(path).name, "file")
            yield Private(Path(path).stem, "file")
    for pattern, _ in settings.keep_alive:
        yield Private(pattern, "model")
    for rule in settings.apps:
        yield Private(rule.app, "app")
    for pattern, model in settings.http.aliases:
        yield Private(pattern, "alias")
        if model != "nano":
            yield Private(model, "model")
    for place in (*settings.http.hosts, *settings.http.cors_origins, listen):
        yield Private(place, "address")
    if settings.socket_owner:
        yield Private(settings.socket_owner, "user")


def _keys(path: str | None) -> Iterator[Private]:
    """Every word of the file of keys: keys, names and apps."""
    if path is None:
        return
    try:
        with open(Path(path).expanduser(), "rb") as file:
            text = file.read(_MOST_KEY_FILE_BYTES).decode(errors="replace")
    except OSError:
        return
    for word in _WORD.findall(text):
        if len(word) >= _LEAST_SECRET_CHARS:
            yield Private(word, "key")


def _whole(text: str) -> re.Pattern[str]:
    """The text where it stands alone. A name within a longer word is another word."""
    before = r"(?<!\w)" if text[:1].isalnum() else ""
    after = r"(?!\w)" if text[-1:].isalnum() else ""
    return re.compile(before + re.escape(text) + after, re.IGNORECASE)


def _path_word(found: re.Match[str]) -> str:
    path = found[0]
    return path if path.startswith(_PUBLIC_PATHS) else "<path>"
