"""Decodes images and sounds in a process: `python -m umad.media.decoder_child`.

A file from outside meets decoders written in C, which have had faults that a prepared file can use.
So each file is decoded in a process of its own that was forked for it: it can open nothing, write
nothing and start nothing, and the kernel ends it by its limits of time and memory. It has seen no
other file, and what it does to itself goes away with it. Its answer passes through this process,
which counts the bytes: it can say nothing about another file.

Beside streams that somebody reads it decodes on idle cores alone. Where they leave it too few of
them, it is begun again at the usual priority after `MediaLimits.gentle_s`: a process without
privileges cannot raise its own.

    stdin    frames of a JSON head, and a file
    stdout   an answer for each: a JSON head, and pixels or samples

A frame is two 4-byte big-endian lengths, the head and the rest. The process ends when stdin ends.
Not: what follows from its end (`umad.media.decoder`).
"""

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import struct
import sys
import time
from dataclasses import dataclass
from typing import IO, Any

from umad.media.limits import MediaLimits
from umad.media.recognizing import Unreadable

LENGTHS = struct.Struct(">II")
_PAGE_BYTES = resource.getpagesize()
# Pixels come in fewer turns than with the usual 64 KiB.
PIPE_BYTES = 2**20
_LEAST_PRIORITY = 19
# A head says sizes, or what is wrong.
_MOST_HEAD_BYTES = 2**16
# Nothing that is sent is cut by it: a signal ends the process whatever runs in it.
_ENDED_BY_TIME = (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU)


def main() -> int:
    """Serve stdin until it ends."""
    # Ctrl-C in the daemon's terminal is for the daemon to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A library with threads would not live on in a forked process.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    _import_decoders()
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        head, data = frame
        if not _answered(head, data, sys.stdout.buffer):
            return 1
    return 0


def _import_decoders() -> None:
    """Once, before any fork: a decoding process can open no file any more."""
    with contextlib.suppress(ImportError):
        from PIL import Image  # noqa: PLC0415

        from umad.media import images  # noqa: F401, PLC0415

        Image.init()
    with contextlib.suppress(ImportError):
        from umad.media import sounds  # noqa: F401, PLC0415


@dataclass(frozen=True, slots=True)
class _Decoding:
    """A process that decodes one file, and what it answers."""

    pid: int
    answer: int

    def is_heard(self, seconds: float) -> bool:
        """Wait at most so long until it begins to answer, or ends."""
        return bool(select.select([self.answer], [], [], max(0.0, seconds))[0])

    def read(self, n: int, seconds: float) -> bytes:
        """So many bytes of the answer, or fewer where it ends. Raises `TimeoutError`."""
        found, end_s = b"", time.monotonic() + seconds
        while len(found) < n:
            if not self.is_heard(end_s - time.monotonic()):
                raise TimeoutError
            if not (piece := os.read(self.answer, n - len(found))):
                break
            found += piece
        return found

    def pass_on(self, n: int, to: int, seconds: float) -> bool:
        """Write the next `n` bytes of the answer to `to`; whether there were so many in time."""
        end_s = time.monotonic() + seconds
        while n:
            if not self.is_heard(end_s - time.monotonic()):
                return False
            if not (moved := _moved(self.answer, to, min(n, PIPE_BYTES))):
                return False
            n -= moved
        return True

    def end(self) -> int:
        """End it, if it has not ended; return the number of the signal that did, or 0."""
        os.close(self.answer)
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _moved(source: int, to: int, n: int) -> int:
    """Move up to `n` bytes from one pipe to another; return how many. Linux copies none of them."""
    if sys.platform == "linux":
        return os.splice(source, to, n)
    piece = os.read(source, n)
    with os.fdopen(to, "wb", buffering=0, closefd=False) as pipe:
        write_bytes(pipe, piece)
    return len(piece)


def _answered(head: dict[str, Any], data: bytes, answers: IO[bytes]) -> bool:
    """Answer about one file. False where the answer ends within its pixels, and then nothing more
    can be answered."""
    limits = MediaLimits(**head["limits"])
    decoding = _forked(head, data, limits, gently=head["gently"])
    if head["gently"] and not decoding.is_heard(limits.gentle_s):
        decoding.end()
        decoding = _forked(head, data, limits, gently=False)
    was_late, begins = False, None
    try:
        begins = _beginning(decoding, limits)
    except TimeoutError:  # it does not keep to its own limit
        was_late = True
    if begins is None:
        was_late = decoding.end() in _ENDED_BY_TIME or was_late
        why = (
            f"a file that takes longer than {limits.run_s:g} s to decode"
            if was_late
            else "a file that its decoder breaks on"
        )
        write_bytes(answers, frame_of({"refused": why}))
        return True
    text, n_data = begins
    write_bytes(answers, text)
    passed = decoding.pass_on(n_data, answers.fileno(), limits.wall_s)
    decoding.end()
    return passed


def _beginning(decoding: _Decoding, limits: MediaLimits) -> tuple[bytes, int] | None:
    """(a frame up to the end of its head, the bytes behind it); None where that never came."""
    lengths = decoding.read(LENGTHS.size, limits.wall_s)
    if len(lengths) < LENGTHS.size:
        return None
    n_head, n_data = LENGTHS.unpack(lengths)
    if n_head > _MOST_HEAD_BYTES:
        return None
    text = decoding.read(n_head, limits.wall_s)
    return (lengths + text, n_data) if len(text) == n_head else None


def _forked(head: dict[str, Any], data: bytes, limits: MediaLimits, *, gently: bool) -> _Decoding:
    """Begin to decode in a process forked for this file."""
    reading, writing = os.pipe()
    widen(writing)
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        if gently:
            _take_only_idle_cores()
        _decode_and_end(head, data, limits, writing)
    os.close(writing)
    return _Decoding(pid, reading)


def _take_only_idle_cores() -> None:
    """Let this process run where nobody else would; where the system has no such class, as rarely
    as it can say."""
    with contextlib.suppress(OSError):  # a sandbox that forbids it
        if sys.platform == "linux":
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.nice(_LEAST_PRIORITY)


def _decode_and_end(head: dict[str, Any], data: bytes, limits: MediaLimits, writing: int) -> None:
    status = 1
    try:
        _confine(limits)
        try:
            answer, pixels = _answer(head, data, limits)
        except MemoryError:
            answer, pixels = {"refused": "a file that takes too much memory to decode"}, b""
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(_head_of(answer, pixels))
            pipe.write(pixels)
        status = 0
    finally:
        os._exit(status)


def _confine(limits: MediaLimits) -> None:
    """Take from this process what decoding does not need."""
    for stream in (0, 1):
        os.close(stream)
    nothing = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
    for limit in (*nothing, resource.RLIMIT_NPROC):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        most = _address_space_bytes() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # The signals' default action ends the process, whatever runs in it.
    signal.setitimer(signal.ITIMER_PROF, limits.run_s)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)


_STATM = "/proc/self/statm"
_statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC) if os.path.exists(_STATM) else None


def _address_space_bytes() -> int:
    """What the process has mapped already, mostly libraries. Raises `OSError` where that cannot be
    known.
    """
    if _statm is None:
        raise OSError("not known here")
    return int(os.pread(_statm, 64, 0).split()[0]) * _PAGE_BYTES


_Answer = tuple[dict[str, Any], bytes]


def _answer(head: dict[str, Any], data: bytes, limits: MediaLimits) -> _Answer:
    try:
        if head["kind"] == "image":
            return _image_answer(data, limits, only_size=head["only_size"])
        return _sound_answer(data, limits, head["rate"], only_size=head["only_size"])
    except ImportError as error:
        return {"missing": str(error.name or error)}, b""


def _image_answer(data: bytes, limits: MediaLimits, *, only_size: bool) -> _Answer:
    from umad.media.images import image_size, read_image  # noqa: PLC0415

    try:
        if only_size:
            width, height = image_size(data, limits)
            return {"width": width, "height": height}, b""
        width, height, pixels = read_image(data, limits)
    except Unreadable as error:
        return {"refused": str(error)}, b""
    return {"width": width, "height": height}, pixels


def _sound_answer(data: bytes, limits: MediaLimits, rate: int, *, only_size: bool) -> _Answer:
    from umad.media.sounds import read_sound, sound_size  # noqa: PLC0415

    try:
        if only_size:
            return {"samples": sound_size(data, limits, rate), "rate": rate}, b""
        samples = read_sound(data, limits, rate)
    except Unreadable as error:
        return {"refused": str(error)}, b""
    return {"samples": len(samples) // 4, "rate": rate}, samples


def frame_of(head: dict[str, Any], data: bytes = b"") -> bytes:
    """A frame of a head and what follows it."""
    return _head_of(head, data) + data


def _head_of(head: dict[str, Any], data: bytes) -> bytes:
    """A frame's beginning, before what follows its head."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), len(data)) + text


def widen(pipe: IO[bytes] | int | None) -> None:
    """Let a pipe hold `PIPE_BYTES`; Linux only, and up to its limit."""
    with contextlib.suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[arg-type]


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next frame; None at the end, and where the stream ends inside of one."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    n_head, n_data = LENGTHS.unpack(lengths)
    head, data = stream.read(n_head), stream.read(n_data)
    if len(head) + len(data) < n_head + n_data:
        return None
    return json.loads(head), data


def write_bytes(stream: IO[bytes], data: bytes) -> None:
    """Send all of `data` now."""
    stream.write(data)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
