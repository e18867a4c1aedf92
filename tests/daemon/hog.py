"""A program that really takes memory, and a control group that limits it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from umad.engine.prctl import die_with_parent

GROUPS = Path("/sys/fs/cgroup")
MB = 2**20
# It takes as much as a line of its stdin says, in MB, and says so. Every page is written to.
_PROGRAM = """
import sys
held = []
for line in sys.stdin:
    n = int(line) * 2**20
    held.append(b"1" * n) if n else held.clear()
    print("taken", flush=True)
"""


class Hog:
    """One such program."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    @property
    def resident_bytes(self) -> int:
        """What it holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def take(self, n_mb: int) -> None:
        """Take so much more; 0 gives all of it back."""
        self._stdin.write(f"{n_mb}\n")
        self._stdin.flush()
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "taken\n", "the hog was ended"

    @property
    def _stdin(self) -> "IO[str]":
        assert self.process.stdin is not None
        return self.process.stdin


@contextmanager
def hog() -> Iterator[Hog]:
    """A hog for the length of a block."""
    parent = os.getpid()
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: die_with_parent(parent),
    ) as process:
        try:
            yield Hog(process)
        finally:
            process.kill()


class Group:
    """A control group with a limit on memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, pid: int) -> None:
        """Move a process into it."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def used_bytes(self) -> int:
        """What its processes hold."""
        for name in ("memory.current", "memory.usage_in_bytes"):
            with suppress(FileNotFoundError):
                return int((self.folder / name).read_text())
        raise AssertionError("a group of no version")


class NotPermitted(Exception):
    """This process may make no such group. The text says why."""


@contextmanager
def limited_group(limit_bytes: int) -> Iterator[Group]:
    """A group of version 1 or 2 for the length of a block. Raises `NotPermitted`."""
    folder, limit = _new_folder()
    try:
        try:
            (folder / limit).write_text(str(limit_bytes))
        except OSError as error:
            raise NotPermitted(f"no limit can be set: {error.strerror}") from error
        yield Group(folder)
    finally:
        with suppress(OSError):  # a process may still be in it; it ends with the tests
            folder.rmdir()


def _new_folder() -> tuple[Path, str]:
    """(folder, name of the file of its limit)."""
    controllers = GROUPS / "cgroup.controllers"
    if controllers.exists():
        if "memory" not in (GROUPS / "cgroup.subtree_control").read_text().split():
            raise NotPermitted("the root group hands its controller of memory to nobody")
        base, limit = GROUPS, "memory.max"
    elif (GROUPS / "memory/memory.limit_in_bytes").exists():
        base, limit = GROUPS / "memory", "memory.limit_in_bytes"
    else:
        raise NotPermitted("this system has no control groups of memory")
    folder = base / f"umad-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        raise NotPermitted(f"no group can be made: {error.strerror}") from error
    return folder, limit
