"""Saved sessions that somebody made up: no memory, no wait and no crash, whatever they say.

Their digests are no signatures: who may write the folder could make a file that fits. So nobody but
the user may, and what a file says of its own size is held against how large it is.
"""

import hashlib
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umad.engine.sessions.file import MAGIC, BadSessionFile, read_head
from umad.engine.sessions.folder import SessionFolder

ABOUT = {"format": 1, "slab": [256, 4096]}
NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="gives files away, which root can")


def folder_at(root: Path) -> SessionFolder:
    return SessionFolder(root, model=Path("/models/m.gguf"), about=ABOUT, most_bytes=2**30)


def digest(before: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(before + data, digest_size=16).digest()


def forged(head: Any, rest: bytes = b"") -> bytes:
    """A file whose digest is right, as anybody can make it."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    begin = MAGIC + len(text).to_bytes(4, "little") + text
    return begin + rest + digest(b"", begin + rest)


def head(**fields: Any) -> dict[str, Any]:
    return {"about": ABOUT, "session": "s", "n_tokens": 4, "slabs": [], **fields}


TOKENS = np.arange(4, dtype="<i4").tobytes()
FORGED: dict[str, bytes] = {
    "a head nested deeply": forged(b"[" * 500_000),
    "maps nested deeply": forged(b'{"a":' * 100_000),
    "half a character": forged(head(session="\ud800"), TOKENS),
    "sixteen million tokens": forged(head(n_tokens=2**24)),
    "a slab of 2**62 bytes": forged(head(slabs=[2**62]), TOKENS),
    "half a million slabs": forged(head(slabs=[1] * 500_000), TOKENS),
    "slabs that are none": forged(head(slabs={"a": 1}), TOKENS),
    "slabs of text": forged(head(slabs=["a"]), TOKENS),
    "a state of 2**62 bytes": forged(head(states=[[4, 2**62]]), TOKENS),
    "a state beyond the tokens": forged(head(states=[[5, 1]]), TOKENS),
    "a state before the tokens": forged(head(states=[[0, 1]]), TOKENS),
    "two states of one place": forged(head(states=[[4, 1], [4, 1]]), TOKENS),
    "states without order": forged(head(states=[[4, 1], [3, 1]]), TOKENS),
    "states that are none": forged(head(states=7), TOKENS),
    "states of text": forged(head(states=["ab"]), TOKENS),
    "a state of truth": forged(head(states=[[True, True]]), TOKENS),
    "a state of nothing": forged(head(states=[[4, 0]]), TOKENS),
    "no tokens": forged(head(n_tokens=0)),
    "tokens without number": forged(head(n_tokens=float("nan"))),
    "about nothing": forged(head(about=[])),
    "about another build": forged(head(about={**ABOUT, "llama.cpp": "evil"}), TOKENS),
    "no head": MAGIC + (2**32 - 1).to_bytes(4, "little"),
    "nothing": b"",
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_file_is_refused_and_removed_for_next_to_nothing(
    what: str, tmp_path: Path
) -> None:
    folder = folder_at(tmp_path / "sessions")
    folder.close()
    path = folder.path / f"{hashlib.sha256(b's').hexdigest()[:32]}.kv"
    path.write_bytes(FORGED[what])
    path.chmod(0o600)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    again = folder_at(tmp_path / "sessions")

    assert again.found == {}
    assert not path.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 40_000
    again.close()


@pytest.mark.parametrize(
    "what", ["sixteen million tokens", "a slab of 2**62 bytes", "a state of 2**62 bytes"]
)
def test_what_it_says_of_its_size_is_not_read_ahead(what: str, tmp_path: Path) -> None:
    path = tmp_path / "s.kv"
    path.write_bytes(FORGED[what])

    with path.open("rb") as file, pytest.raises(BadSessionFile, match="cut short"):
        read_head(file, ABOUT)


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "a pipe": lambda path, _: os.mkfifo(path, 0o600),
    "a link": lambda path, outside: path.symlink_to(outside),
    "a folder": lambda path, _: path.mkdir(),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_no_file_keeps_no_engine_from_starting(what: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = folder_at(tmp_path / "sessions")
    folder.close()
    PLANTED[what](folder.path / f"{'0' * 32}.kv", outside)

    again = folder_at(tmp_path / "sessions")

    assert again.found == {}
    assert outside.read_bytes() == b"precious"
    again.close()


@pytest.mark.parametrize("bits", [0o777, 0o770 | 0o002, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(bits: int, tmp_path: Path) -> None:
    root = tmp_path / "sessions"
    root.mkdir()
    root.chmod(bits)

    with pytest.raises(PermissionError, match="others may write"):
        folder_at(root)


@as_root
def test_a_folder_or_a_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    root = tmp_path / "sessions"
    folder = folder_at(root)
    folder.close()
    path = folder.path / f"{hashlib.sha256(b's').hexdigest()[:32]}.kv"
    path.write_bytes(forged(head(), TOKENS))
    os.chown(path, NOBODY, NOBODY)

    again = folder_at(root)
    assert again.found == {}
    again.close()
    os.chown(root, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to another user"):
        folder_at(root)
