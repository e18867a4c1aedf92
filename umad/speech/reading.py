"""The reader's process: decodes one sound file to 16 kHz and one channel.

    python -m umad.speech.reading FROM_MS

stdin is the file itself, opened by the parent; nothing else of the machine is opened after the
decoder was loaded. stdout gets one line of JSON, then samples as float32 until the recording's end.
A file may be anybody's: memory, processor time, open files and written bytes have limits, so a
broken or malicious one ends this process and nothing else. Not: decoding (`umad.media.sounds`).
"""

import contextlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

from umad.engine.prctl import die_with_parent
from umad.media.recognizing import HEAD_BYTES, Unreadable
from umad.speech.window import SAMPLE_RATE

# libsndfile, numpy and a piece of the widest file fit several times.
_MEMORY_BYTES = 2 * 2**30
# A second of processor time decodes minutes, and a whole recording may have hours.
_CPU_S = 3600
_FILES = 16


def main(arguments: Sequence[str]) -> int:
    """Decode stdin to stdout. Returns the exit status."""
    die_with_parent(os.getppid())
    with open(os.dup(1), "wb", buffering=0) as answer:
        try:
            from umad.media import sounds  # noqa: F401, PLC0415
        except (ImportError, OSError) as error:
            library = getattr(error, "name", None) or "libsndfile"
            _say(answer, {"missing": library})
            return 1
        _limit()
        try:
            _decode(answer, from_s=int(arguments[0]) / 1000)
        except Unreadable as error:
            _say(answer, {"refused": str(error)})
        except MemoryError:
            _say(answer, {"refused": "a file that takes too much memory to decode"})
        except BrokenPipeError:
            return 0  # nobody hears it any more
    return 0


def _say(answer: BinaryIO, value: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        answer.write(json.dumps(value).encode() + b"\n")


def _limit() -> None:
    limits = {
        resource.RLIMIT_AS: _MEMORY_BYTES,
        resource.RLIMIT_CPU: _CPU_S,
        resource.RLIMIT_NOFILE: _FILES,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS has no such limit for some
            resource.setrlimit(which, (most, most))


def _decode(answer: BinaryIO, *, from_s: float) -> None:
    from umad.media.sounds import Sound  # noqa: PLC0415  # only an extra brings what it imports

    head = os.pread(0, HEAD_BYTES, 0)
    if not head:
        raise Unreadable("empty")
    with Sound(0, head) as sound:
        _say(answer, {"seconds": sound.frames / sound.rate})
        if from_s:
            sound.skip(from_s)
        # The rest is damaged; what came before it is heard.
        with contextlib.suppress(Unreadable):
            for piece in sound.pieces(SAMPLE_RATE):
                _send(answer, piece.astype("<f4", copy=False).tobytes())


def _send(answer: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[answer.write(left) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
