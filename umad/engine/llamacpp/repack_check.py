"""Finds out whether llama.cpp's repacked kernels work on this machine, and remembers the result.

A kernel kills the process that runs it if it was compiled wrongly, or if it uses an instruction
that the processor names but that does not work. So a child process tries all kernels
(`umad.engine.llamacpp.repack_trial`) before an engine with `repack` loads anything. The result is
kept in the cache folder until the next boot or the next build of llama.cpp. Where any kernel fails,
`repack` is left off, with one line in the log; the plain kernels need none of these instructions.
Owner: the engine's main thread, or a benchmark that starts somebody else's server.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from umad.cache_path import cache_folder
from umad.config import EngineSettings
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.processor import instructions_identity
from umad.engine.llamacpp.repack_child import DONE, TRYING, WRONG
from umad.isolated import python_module
from umad.private_file import read_own, write_own

log = logging.getLogger("umad.engine")

# A trial takes under a second on two idle cores, most of it Python's imports.
TRIAL_S = 60.0
# A home folder moves between machines, and machines start again and again. More entries than this
# are out of date.
MAX_MACHINES = 64
_MAX_FILE_BYTES = 2**18
_FILE = "repacking.json"
# Another process ended the child. That says nothing about instructions.
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
# Known faults of the buffer type "AMX": GCC 12 leaves out the tiles' shapes, github.com/ggml-org/
# llama.cpp/pull/26954, and some virtual machines name instructions that they do not let work.
_AMX = "AMX"


class RepackUnknown(Exception):
    """The child could not find out. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repacking:
    """The result for each of llama.cpp's extra buffer types."""

    # By buffer type: how it fails, in words; "" where it works.
    faults: Mapping[str, str]
    # ggml's numbers of the types of weights that are packed here.
    types: frozenset[int] = frozenset()

    @property
    def works(self) -> bool:
        """True if all buffer types work, so that llama.cpp may choose any."""
        return not any(self.faults.values())

    @property
    def amx_works(self) -> bool:
        """True if llama.cpp was compiled with AMX, and AMX works."""
        return self.faults.get(_AMX) == ""

    @property
    def fault(self) -> str:
        """Which buffer types fail and how, in words."""
        return "; ".join(f"{name} fails by {how}" for name, how in self.faults.items() if how)


class RepackMemory:
    """Remembers the results of this machine. ask: finds out now; raises `RepackUnknown`."""

    def __init__(self, path: Path, machine: str, ask: Callable[[], Repacking]) -> None:
        self._path = path
        self._machine = machine
        self._ask = ask

    def known(self) -> Repacking:
        """The remembered result; else find out and remember. Raises `RepackUnknown`."""
        found = self._read().get(self._machine)
        if found is None:
            found = self._ask()
            self._write({**self._read(), self._machine: found})
        return found

    def _read(self) -> dict[str, Repacking]:
        try:
            return _machines(json.loads(read_own(self._path, _MAX_FILE_BYTES)))
        except FileNotFoundError:
            return {}
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            log.warning("repack file is not read path=%s reason=%s", self._path, error)
            return {}

    def _write(self, machines: Mapping[str, Repacking]) -> None:
        kept = dict(list(machines.items())[-MAX_MACHINES:])
        text = json.dumps(
            {
                one: {"faults": dict(kept[one].faults), "types": sorted(kept[one].types)}
                for one in kept
            },
            indent=1,
        )
        try:
            write_own(self._path, text.encode())
        except OSError as error:
            log.warning("repack cannot be remembered path=%s reason=%s", self._path, error)


def repack_memory(environ: Mapping[str, str]) -> RepackMemory:
    """The memory for this machine and this build of llama.cpp."""
    return RepackMemory(
        cache_folder(environ, sys.platform) / _FILE,
        f"{instructions_identity()}; {llama.library_identity()}; {_installed()}",
        lambda: ask(lambda without: python_module("umad.engine.llamacpp.repack_child", *without)),
    )


def _installed() -> str:
    """Identify the library's file: another compiler makes other instructions of
    the same version.
    """
    stat = os.stat(llama.libggml._name)
    return f"{stat.st_size} bytes of {stat.st_mtime_ns}"


def settled(
    settings: EngineSettings,
    memory: RepackMemory,
    pays: Callable[[frozenset[int]], bool] = lambda types: False,
) -> EngineSettings:
    """The settings to load with: `repack` is True or False, and True only where it works.

    pays: whether to pack weights of these types, where the setting leaves it open.
    """
    if settings.repack is False:
        return settings
    # With `auto` nobody asked for it, so nobody is warned.
    level = logging.WARNING if settings.repack else logging.INFO
    try:
        found = memory.known()
    except RepackUnknown as error:
        log.log(level, "repack is left off: whether it works here is not known: %s", error)
    else:
        if found.works:
            return replace(settings, repack=settings.repack or pays(found.types))
        log.log(
            level, "repack is left off: it does not work here: %s%s", found.fault, _advice(found)
        )
    return replace(settings, repack=False)


def ask(
    command: Callable[[Sequence[str]], Sequence[str]], *, within_s: float = TRIAL_S
) -> Repacking:
    """Let children try, until one gets to the end.

    command: the command line of a child; it is given the buffer types that killed children before,
    and the child leaves these out. Raises `RepackUnknown`.
    """
    faults: dict[str, str] = {}
    types: set[int] = set()
    while True:
        output, status = _child(command([name for name, how in faults.items() if how]), within_s)
        last = ""
        for word, buffers, weights, number in _said(output):
            if word == TRYING:
                faults.setdefault(buffers, "")
                last = buffers
                types |= {int(number)} if number.isdecimal() else set()
            elif word == WRONG:
                faults[buffers] = f"wrong numbers ({weights})"
            if word == DONE and status == 0:
                return Repacking(faults=faults, types=frozenset(types))
        if not last or status in _FROM_OUTSIDE or faults[last]:
            raise RepackUnknown(f"the trial ended with {_in_words(status)}")
        faults[last] = _in_words(status)


def _child(command: Sequence[str], within_s: float) -> tuple[str, int]:
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RepackUnknown(f"the trial was not done within {within_s:g} s") from None
    except OSError as error:
        raise RepackUnknown(f"the trial cannot be started: {error}") from error
    return ended.stdout, ended.returncode


def _said(output: str) -> list[tuple[str, str, str, str]]:
    lines = [[*line.split("\t"), "", "", ""] for line in output.splitlines()]
    return [(word, buffers, weights, number) for word, buffers, weights, number, *_ in lines]


def _in_words(status: int) -> str:
    if status < 0:
        try:
            return f"signal {signal.Signals(-status).name}"
        except ValueError:
            return f"signal {-status}"
    return f"exit status {status}"


def _advice(found: Repacking) -> str:
    if not found.faults.get(_AMX):
        return ""
    return " (built with CXXFLAGS=-U__AMX_INT8__ llama.cpp repacks for other instructions)"


def _machines(value: object) -> dict[str, Repacking]:
    if not isinstance(value, dict):
        raise ValueError("it is no table")
    machines = {}
    for machine, told in value.items():
        faults, types = told["faults"], told["types"]
        if not isinstance(faults, dict) or not all(
            isinstance(one, str) for one in (*faults, *faults.values())
        ):
            raise ValueError("it has a machine without faults")
        if not all(isinstance(one, int) for one in types):
            raise ValueError("it has a machine without types")
        machines[str(machine)] = Repacking(faults=faults, types=frozenset(types))
    return machines
