"""Keeps built peers, generated models and logs between runs.

Not a store of results: those are printed or written where the caller says. Owner: whoever runs
a benchmark. Several may run at once, so long work is done under `exclusive`.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

FOLDER_VARIABLE = "UMAD_BENCH_DIR"


def folder(*parts: str) -> Path:
    """A folder inside the cache, made when missing: `$UMAD_BENCH_DIR`, else `.bench/`."""
    configured = os.environ.get(FOLDER_VARIABLE)
    root = Path(configured) if configured else Path(__file__).resolve().parent.parent / ".bench"
    root.mkdir(parents=True, exist_ok=True)
    ignore = root / ".gitignore"
    if not ignore.exists():
        # The folder hides itself, so it stays out of git wherever the variable puts it.
        ignore.write_text("*\n")
    path = root.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Holds the lock file `name` of the cache; blocks while another process holds it."""
    with (folder("locks") / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
