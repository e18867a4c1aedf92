"""Has a piece of work on a model's file done by a process of its own, and brings its answer back.

llama.cpp may end the process that opens a broken file, and some of its work cannot be stopped from
inside. So whoever wants such work starts a process for it, which can be killed, and never loads
llama.cpp itself. Both ends are here:

    parent   Errand(module, question).answer(on_news=…)
    child    with answering() as errand: errand.question … errand.news(…) … errand.answer(…)

One JSON line on the child's stdin asks. Its stdout has a line for each piece of news and one for
the answer, or for the error that it ended with. Not: the work (`umad.engine.llamacpp.estimating`,
`umad.engine.llamacpp.quantizing`). Owner of an errand: the thread that waits for it; `kill` may be
called from any thread.
"""

import contextlib
import json
import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from umad.engine.prctl import die_with_parent
from umad.errors import EngineFailed, InternalError, ModelLoadFailed, UmadError
from umad.isolated import python_module
from umad.niceness import session_steps_back
from umad.protocol.errors import error_of

log = logging.getLogger(__name__)

# A line is a few hundred bytes; an error quotes a path.
_MOST_LINE_BYTES = 2**20
_READ_BYTES = 2**16
_LAST_WORDS_BYTES = 4096
# After its stdout has ended, a process has nothing left to do.
_EXIT_S = 10.0
_NEWS, _ANSWER, _ERROR = "news", "answer", "error"
# The last line of a traceback that one of our own errors leaves.
_OURS = re.compile(r"umad\.errors\.\w+: (.*)")
_ENDED = "it was ended before it was done"

News = Mapping[str, Any]


def _unheard(_news: News) -> None:
    """Nobody wants the news."""


class Errand:
    """One piece of work in a process of its own, which lives while `answer` waits for it."""

    def __init__(self, module: str, question: Mapping[str, Any]) -> None:
        """module: run as `python -m` would; question: what its `answering` reads."""
        self._module = module
        self._asked = json.dumps(question).encode() + b"\n"
        # Guards the two below: a kill may come before the process is there.
        self._lock = threading.Lock()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process; None before there is one."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End the process now, or before it is started. `answer` then raises `EngineFailed`."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def answer(self, *, timeout_s: float | None, on_news: Callable[[News], None] = _unheard) -> Any:
        """Start the process and wait for its answer, once. However this ends, the process is gone
        afterwards.

        Raises the `UmadError` that the child ended with; `ModelLoadFailed` where it died, and
        `EngineFailed` where it was killed or took longer than `timeout_s`.
        """
        with tempfile.TemporaryFile() as words:
            process = self._start(words)
            try:
                _ask(process, self._asked)
                return self._heard(process, words, timeout_s, on_news)
            finally:
                _end(process)

    def _start(self, words: IO[bytes]) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._killed:
                raise EngineFailed(_ENDED)
            self._process = subprocess.Popen(
                python_module(self._module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                # Ctrl-C is for the parent, which then kills.
                start_new_session=True,
            )
            return self._process

    def _heard(
        self,
        process: "subprocess.Popen[bytes]",
        words: IO[bytes],
        timeout_s: float | None,
        on_news: Callable[[News], None],
    ) -> Any:
        assert process.stdout is not None
        for line in _lines(process.stdout, timeout_s):
            said = json.loads(line)
            if _NEWS in said:
                on_news(said[_NEWS])
            elif _ERROR in said:
                raise error_of(**said[_ERROR])
            else:
                return said[_ANSWER]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_S)
        if self._killed:
            raise EngineFailed(_ENDED)
        raise _died(process.poll(), _last_words(words))


def _ask(process: "subprocess.Popen[bytes]", question: bytes) -> None:
    assert process.stdin is not None
    # A child that has died already says so by the end of its stdout.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(question)
        process.stdin.close()


def _died(status: int | None, words: str) -> UmadError:
    ours = _OURS.fullmatch(words)
    if ours is not None:
        # It ended before it read the question: it has no library to work with.
        return EngineFailed(ours[1])
    how = f"exit status {status}"
    if status is not None and status < 0:
        how = f"signal {signal.Signals(-status).name}"
    log.info("errand died how=%s words=%s", how, words)
    return ModelLoadFailed(
        f"llama.cpp ended its process over this file ({how}){': ' if words else ''}{words}"
    )


def _last_words(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - _LAST_WORDS_BYTES))
    lines = words.read().decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _lines(pipe: IO[bytes], timeout_s: float | None) -> Iterator[bytes]:
    """Lines of a pipe to its end. Raises `EngineFailed` when `timeout_s` has passed."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left_s = None if until is None else until - time.monotonic()
            if left_s is not None and (left_s <= 0 or not selector.select(left_s)):
                raise EngineFailed(f"it was not done within {timeout_s:g} s, and was ended")
            read = os.read(pipe.fileno(), _READ_BYTES)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            if len(rest) > _MOST_LINE_BYTES:
                raise EngineFailed("the process for this work said something without an end")
            yield from lines


class Answering:
    """The child's end of an errand."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self.question: Mapping[str, Any] = json.loads(sys.stdin.readline())

    def news(self, **values: Any) -> None:
        """Tell something before the answer."""
        self._say(_NEWS, values)

    def answer(self, value: Any) -> None:
        """Tell the answer, and nothing after it."""
        self._say(_ANSWER, value)

    def error(self, error: UmadError) -> None:
        """Tell why there is no answer."""
        self._say(_ERROR, {"code": error.code, "message": error.message, "field": error.field})

    def _say(self, kind: str, value: Any) -> None:
        self._out.write(json.dumps({kind: value}) + "\n")
        self._out.flush()


@contextlib.contextmanager
def answering() -> Iterator[Answering]:
    """Read the question and answer it; an error inside becomes the answer.

    The process ends with its parent, and steps back as its parent does. What libraries print goes
    to stderr.
    """
    die_with_parent(os.getppid())
    session_steps_back()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        errand = Answering(out)
        try:
            yield errand
        except UmadError as error:
            errand.error(error)
        except Exception as bug:
            # The process's boundary: the parent gets a line, and stderr the whole.
            log.exception("errand failed")
            errand.error(InternalError(f"unexpected {type(bug).__name__}: {bug}"))
