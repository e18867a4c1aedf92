"""Decodes images and sounds in a process: `python -m umad.media.decoder_child`.

A file from outside meets decoders written in C, which have had faults that a prepared file can use.
So each file is decoded in a process of its own that was forked for it: it can open nothing, write
nothing and start nothing, and the kernel ends it by its limits of time and memory. It has seen no
other file, and what it does to itself goes away with it.

    stdin    frames of a JSON head, and a file
    stdout   an answer for each: a JSON head, and pixels or samples

A frame is two 4-byte big-endian lengths, the head and the rest. The process ends when stdin ends.
Not: what follows from its end (`umad.media.decoder`).
"""

import contextlib
import json
import os
import resource
import signal
import struct
import sys
from typing import IO, Any

from umad.media.limits import MediaLimits
from umad.media.recognizing import Unreadable

LENGTHS = struct.Struct(">II")
_PAGE_BYTES = resource.getpagesize()
# Nothing that is sent is cut by it: a signal ends the process whatever runs in it.
_ENDED_BY_TIME = (signal.SIGPROF, signal.SIGALRM, signal.SIGXCPU)


def main() -> int:
    """Serve stdin until it ends."""
    # Ctrl-C in the daemon's terminal is for the daemon to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A library with threads would not live on in a forked process.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    _import_decoders()
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while (frame := read_frame(asked)) is not None:
        head, data = frame
        write_bytes(answers, _forked(head, data))
    return 0


def _import_decoders() -> None:
    """Once, before any fork: a decoding process can open no file any more."""
    with contextlib.suppress(ImportError):
        from PIL import Image  # noqa: PLC0415

        from umad.media import images  # noqa: F401, PLC0415

        Image.init()
    with contextlib.suppress(ImportError):
        from umad.media import sounds  # noqa: F401, PLC0415


def _forked(head: dict[str, Any], data: bytes) -> bytes:
    """The answer's frame, from a process forked for this file."""
    limits = MediaLimits(**head["limits"])
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _decode_and_end(head, data, limits, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if _is_whole(answer):
        return answer
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    why = (
        f"a file that takes longer than {limits.run_s:g} s to decode"
        if number in _ENDED_BY_TIME
        else "a file that its decoder breaks on"
    )
    return frame_of({"refused": why})


def _is_whole(answer: bytes) -> bool:
    if len(answer) < LENGTHS.size:
        return False
    n_head, n_data = LENGTHS.unpack_from(answer)
    return bool(len(answer) == LENGTHS.size + n_head + n_data)


def _decode_and_end(head: dict[str, Any], data: bytes, limits: MediaLimits, writing: int) -> None:
    status = 1
    try:
        _confine(limits)
        try:
            answer = _answer(head, data, limits)
        except MemoryError:
            answer = frame_of({"refused": "a file that takes too much memory to decode"})
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
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


def _answer(head: dict[str, Any], data: bytes, limits: MediaLimits) -> bytes:
    try:
        if head["kind"] == "image":
            return _image_answer(data, limits, only_size=head["only_size"])
        return _sound_answer(data, limits, head["rate"], only_size=head["only_size"])
    except ImportError as error:
        return frame_of({"missing": str(error.name or error)})


def _image_answer(data: bytes, limits: MediaLimits, *, only_size: bool) -> bytes:
    from umad.media.images import image_size, read_image  # noqa: PLC0415

    try:
        if only_size:
            width, height = image_size(data, limits)
            return frame_of({"width": width, "height": height})
        width, height, pixels = read_image(data, limits)
    except Unreadable as error:
        return frame_of({"refused": str(error)})
    return frame_of({"width": width, "height": height}, pixels)


def _sound_answer(data: bytes, limits: MediaLimits, rate: int, *, only_size: bool) -> bytes:
    from umad.media.sounds import read_sound, sound_size  # noqa: PLC0415

    try:
        if only_size:
            return frame_of({"samples": sound_size(data, limits, rate), "rate": rate})
        samples = read_sound(data, limits, rate)
    except Unreadable as error:
        return frame_of({"refused": str(error)})
    return frame_of({"samples": len(samples) // 4, "rate": rate}, samples)


def frame_of(head: dict[str, Any], data: bytes = b"") -> bytes:
    """A frame of a head and what follows it."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), len(data)) + text + data


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
