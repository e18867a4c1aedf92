"""The transcriber's process as the speech engine sees it: started, stopped, continued, killed.

`hear` waits for a window on the caller's thread. `pause`, `go_on` and `kill` act at once from any
other one, whatever whisper.cpp is doing: the system stops it, and it takes no core meanwhile.
Not: when any of that is done (`umad.speech.pace`, `umad.speech.desk`).
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO

from umad.errors import BadRequest, EngineFailed, InternalError, ModelLoadFailed
from umad.isolated import python_module
from umad.speech.window import WindowAsked, WindowHeard, as_map, heard_of, read, write

_PROGRAM = "umad.speech.hearing"


class TranscriberDied(EngineFailed):
    """The process ended in the middle of a window, by itself or because it was killed."""


class Transcriber:
    """One process at a time."""

    def __init__(self, path: str, threads: int) -> None:
        self._path = path
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        # Between a signal and the end of the process it is for.
        self._lock = threading.Lock()
        self._is_paused = False

    @property
    def pid(self) -> int | None:
        """The process; None where there is none."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> Mapping[str, Any]:
        """Start the process and load the model; return what the library knows of it.

        Raises `ModelLoadFailed`.
        """
        process = subprocess.Popen(
            python_module(_PROGRAM, self._path, str(self._threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        )
        with self._lock:
            self._process, self._is_paused = process, False
        told = read(_pipe(process.stdout))
        if told is None or "facts" not in told:
            self.kill()
            why = "whisper.cpp ended while it loaded it" if told is None else str(told["failed"])
            raise ModelLoadFailed(why)
        facts: Mapping[str, Any] = told["facts"]
        return facts

    def hear(self, asked: WindowAsked) -> WindowHeard:
        """Wait for a window. Raises `TranscriberDied`, `BadRequest` for what this model cannot do,
        or `EngineFailed`.
        """
        process = self._process
        if process is None:
            raise TranscriberDied("the transcriber has ended")
        try:
            write(_pipe(process.stdin), as_map(asked))
            told = read(_pipe(process.stdout))
        except (OSError, ValueError):
            told = None
        if told is None:
            raise TranscriberDied("the transcriber has ended")
        if "refused" in told:
            raise BadRequest(str(told["refused"]), field="language")
        if "failed" in told:
            raise EngineFailed(str(told["failed"]))
        return heard_of(told["heard"])

    def pause(self) -> None:
        """Stop the process where it is; no effect on one that is stopped. Any thread."""
        self._signal(signal.SIGSTOP, paused=True)

    def go_on(self) -> None:
        """Let it run again. Any thread."""
        self._signal(signal.SIGCONT, paused=False)

    def kill(self) -> None:
        """End the process now; `hear` then raises. Any thread."""
        with self._lock:
            process = self._process
            self._process = None
            if process is None:
                return
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def _signal(self, which: signal.Signals, *, paused: bool) -> None:
        with self._lock:
            if self._process is None or self._is_paused == paused:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, which)
                self._is_paused = paused


def _pipe(pipe: Any) -> BinaryIO:
    if pipe is None:  # PIPE was asked for; only the type allows it
        raise InternalError("no pipe to the transcriber")
    found: BinaryIO = pipe
    return found
