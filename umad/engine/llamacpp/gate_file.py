"""Builds the gate's library from `gate.c`, once a machine, and says where it is.

Its source ships with umad; what is built lies in umad's cache folder, under a digest of the source.
Where there is no C compiler ($CC, else cc) there is no gate, and no step on a GPU is cut.
Not: what the gate does (`gate`). Owner: the engine's main thread.
"""

import hashlib
import logging
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from umad.cache_path import cache_folder

log = logging.getLogger("umad.engine")

SOURCE = Path(__file__).with_name("gate.c")
# It takes a tenth of a second; a compiler that hangs must not hang a load.
_BUILD_S = 30
_WRITABLE_BY_OTHERS = 0o022


def gate_file(environ: Mapping[str, str], system: str) -> Path | None:
    """The library, built now if it is not there yet; None where it cannot be built. One line of the
    log says why. system: as `sys.platform` names it."""
    source = SOURCE.read_bytes()
    digest = hashlib.sha256(source + platform.machine().encode()).hexdigest()[:16]
    path = cache_folder(environ, system) / "gate" / f"gate-{digest}.so"
    try:
        if _is_ours(path):
            return path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _build(path, environ)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning(
            "steps on a GPU are kept short, because none can be cut: gate.c is not built error=%s",
            _words(error),
        )
        return None
    return path


def _is_ours(path: Path) -> bool:
    """Whether it is there, and nobody else could have written it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & _WRITABLE_BY_OTHERS


def _build(path: Path, environ: Mapping[str, str]) -> None:
    compiler = shlex.split(environ.get("CC") or "cc")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        subprocess.run(
            [*compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(SOURCE)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_BUILD_S,
        )
        made.chmod(0o600)
        # Engines that start together may all build it; each file is whole.
        made.replace(path)


def _words(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        return lines[0] if lines else str(error)
    return str(error)
