"""The reader's process: decodes one sound file to 16 kHz and one channel.

    python -m umad.speech.reading FROM_MS

stdin is the file itself, opened by the parent; nothing else of the machine is opened after the
decoder was loaded. stdout gets one line of JSON, then samples as float32 until the recording's end.
A file may be anybody's: memory, processor time, open files and written bytes have limits, so a
broken or malicious one ends this process and nothing else. The only module that imports soundfile
(libsndfile: WAV, AIFF, FLAC, Ogg with Vorbis or Opus, MP3).
"""

import contextlib
import importlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from umad.engine.process import die_with_parent
from umad.speech.resampling import Resampling

# libsndfile, numpy and a block of the widest file fit several times.
_MEMORY_BYTES = 2 * 2**30
# A second of processor time decodes minutes, and a whole recording may have hours.
_CPU_S = 3600
_FILES = 16
_BLOCK_S = 4
_MOST_CHANNELS = 64
_RATES = range(1000, 768_001)
_HEAD_BYTES = 16
KNOWN = "WAV, FLAC, OGG, Opus, MP3 and AIFF"
MISSING = "sound files need soundfile: pip install 'umad[whisper]'"
# What people send by mistake, by its first bytes: (offset, bytes, its name).
_OTHERS: Sequence[tuple[int, bytes, str]] = (
    (0, b"%PDF", "a PDF"),
    (0, b"\x89PNG", "an image (PNG)"),
    (0, b"\xff\xd8\xff", "an image (JPEG)"),
    (0, b"GIF8", "an image (GIF)"),
    (0, b"PK\x03\x04", "an archive (ZIP)"),
    (4, b"ftyp", "an MP4 or M4A container"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska container"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"<", "a text"),
)


class _Refused(Exception):
    """The file cannot be heard. The message is for whoever sent it."""


def main(arguments: Sequence[str]) -> int:
    """Decode stdin to stdout. Returns the exit status."""
    die_with_parent(os.getppid())
    with open(os.dup(1), "wb", buffering=0) as answer:
        try:
            library = importlib.import_module("soundfile")
        except (ImportError, OSError):
            _say(answer, {"missing": MISSING})
            return 1
        _limit()
        try:
            _decode(library, answer, from_s=int(arguments[0]) / 1000)
        except _Refused as error:
            _say(answer, {"refused": str(error)})
        except MemoryError:
            _say(answer, {"refused": "the file wants more memory than any recording needs"})
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


def _decode(library: Any, answer: BinaryIO, *, from_s: float) -> None:
    head = os.pread(0, _HEAD_BYTES, 0)
    if not head:
        raise _Refused("the file is empty: there is nothing to hear")
    try:
        file = library.SoundFile(0, closefd=False)
    except (library.LibsndfileError, RuntimeError, TypeError, ValueError):
        raise _Refused(_why(head)) from None
    with file:
        if file.samplerate not in _RATES or not 0 < file.channels <= _MOST_CHANNELS:
            raise _Refused(
                f"a file of {file.channels} channels at {file.samplerate} Hz is no recording"
            )
        facts = {
            "seconds": max(0, file.frames) / file.samplerate,
            "rate": file.samplerate,
            "channels": file.channels,
            "format": str(file.format),
        }
        _say(answer, facts)
        if from_s:
            file.seek(min(file.frames, round(from_s * file.samplerate)))
        resampling = Resampling(file.samplerate)
        try:
            while (block := file.read(_BLOCK_S * file.samplerate, "float32", True)).size:
                _send(answer, resampling.push(block.mean(axis=1, dtype=np.float32)))
        except (library.LibsndfileError, RuntimeError):
            # The rest is damaged; what came before it is heard.
            pass
        _send(answer, resampling.finish())


def _send(answer: BinaryIO, samples: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    # Not every decoder keeps to the range, and some make infinities of damaged frames.
    clean = np.clip(np.nan_to_num(samples, posinf=0.0, neginf=0.0), -1, 1)
    left = memoryview(clean.astype("<f4", copy=False).tobytes())
    while left:
        left = left[answer.write(left) :]


def _why(head: bytes) -> str:
    for offset, beginning, name in _OTHERS:
        if head[offset : offset + len(beginning)] == beginning:
            return f"the file is {name}, and no sound file: send {KNOWN}"
    return f"the file is no sound file, or is damaged: send {KNOWN}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
