"""One recording that is being heard: its reader's process, and the samples that came of it.

A recording is never in memory as a whole: the reader waits where its pipe is full, and what was
heard is forgotten. A window begins where the last one said; one that begins earlier than what is
kept (the process before this one had heard it) starts the reader anew.
Not: which recording is heard (`umad.speech.desk`). Belongs to one thread, which waits for the
reader.
"""

import json
import os
import select
import stat
import subprocess
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.errors import AudioTooLong, BadRequest, EngineFailed, Unsupported, UnsupportedAudio
from umad.isolated import python_module
from umad.speech.window import SAMPLE_RATE, WINDOW_SAMPLES

_PROGRAM = "umad.speech.reading"
# A reader that says nothing for so long hangs. On a busy machine its imports take seconds.
_SILENT_S = 60.0
_PIPE_BYTES = 2**18
_MOST_HEAD_BYTES = 4096
_SAMPLE_BYTES = 4


class Recording:
    """A recording by its open file. `close` ends its reader."""

    def __init__(self, file: int, *, most_s: float) -> None:
        """file: a descriptor, which is this object's from now on. most_s: the longest one."""
        self._file = file
        self._most_s = most_s
        # Its length as its file says; the true one once its end was reached.
        self.total_s = 0.0
        # 16 kHz samples from `_first` on.
        self._samples: NDArray[np.float32] = np.zeros(0, np.float32)
        self._first = 0
        # The beginning of a sample that a read has cut.
        self._rest = b""
        self._has_ended = False
        self._reader: subprocess.Popen[bytes] | None = None

    @classmethod
    def opened(cls, path: str | None, audio: bytes | None, *, most_s: float) -> "Recording":
        """A file of this machine, or one in memory. Raises `BadRequest`."""
        if audio is not None:
            with tempfile.TemporaryFile(prefix="umad-audio-") as file:
                file.write(audio)
                file.flush()
                return cls(os.dup(file.fileno()), most_s=most_s)
        try:
            # A pipe without a writer must not hold anybody up.
            fd = os.open(path or "", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise BadRequest(f"the file cannot be read: {error.strerror}", field="path") from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise BadRequest("the path leads to a folder or device, not to a file", field="path")
        return cls(fd, most_s=most_s)

    def close(self) -> None:
        """End the reader."""
        self._stop_reader()
        os.close(self._file)

    def window(self, from_s: float) -> tuple[NDArray[np.float32], bool]:
        """The samples of the window that begins there, at most 30 s, and whether it is the last.

        Raises `UnsupportedAudio` for a file that cannot be heard, `AudioTooLong`.
        """
        first = round(from_s * SAMPLE_RATE)
        if self._reader is None or first < self._first:
            self._start_reader(first)
        self._fill(first + WINDOW_SAMPLES + 1)
        at = first - self._first
        self._samples, self._first = self._samples[at:], first
        window = self._samples[:WINDOW_SAMPLES]
        return window, self._has_ended and self._samples.size <= WINDOW_SAMPLES

    # -- the reader --------------------------------------------------------------------------------

    def _start_reader(self, first: int) -> None:
        self._stop_reader()
        os.lseek(self._file, 0, os.SEEK_SET)
        self._samples, self._first, self._has_ended = np.zeros(0, np.float32), first, False
        self._rest = b""
        from_ms = first * 1000 // SAMPLE_RATE
        self._reader = subprocess.Popen(
            python_module(_PROGRAM, str(from_ms)),
            stdin=self._file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        self._read_head()

    def _stop_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.kill()
            reader.wait()
            if reader.stdout is not None:
                reader.stdout.close()

    def _read_head(self) -> None:
        head = bytearray()
        while not head.endswith(b"\n") and len(head) < _MOST_HEAD_BYTES:
            byte = self._bytes(1)
            if not byte:
                break
            head += byte
        try:
            facts: dict[str, Any] = json.loads(head or b"")
        except ValueError:
            # It ended without a word: its limits, or a bug of the decoder.
            raise UnsupportedAudio("this sound is a file that its decoder breaks on") from None
        if "missing" in facts:
            raise Unsupported(
                f"sounds cannot be decoded without {facts['missing']}: pip install 'umad[whisper]'"
            )
        if "refused" in facts:
            raise UnsupportedAudio(f"this sound is {facts['refused']}")
        self.total_s = float(facts["seconds"])
        self._check_length(self.total_s)

    def _check_length(self, seconds: float) -> None:
        if seconds > self._most_s:
            raise AudioTooLong(
                f"the recording is {seconds:.0f} s long, and at most {self._most_s:g} s are heard "
                "in one request (limits.audio_s)"
            )

    def _fill(self, until: int) -> None:
        """Read on until there are samples up to number `until`, or the recording ends."""
        pieces = [self._samples]
        n_held = self._first + self._samples.size
        while n_held < until and not self._has_ended:
            data = self._bytes(_PIPE_BYTES)
            if not data:
                self._has_ended = True
                # A file may say any length.
                self.total_s = n_held / SAMPLE_RATE
                break
            data = self._rest + data
            whole = len(data) // _SAMPLE_BYTES * _SAMPLE_BYTES
            self._rest = data[whole:]
            pieces.append(np.frombuffer(data[:whole], "<f4").astype(np.float32, copy=False))
            n_held += pieces[-1].size
            self._check_length(n_held / SAMPLE_RATE)
        self._samples = np.concatenate(pieces)

    def _bytes(self, most: int) -> bytes:
        reader = self._reader
        if reader is None or reader.stdout is None:
            return b""
        fd = reader.stdout.fileno()
        if not select.select([fd], [], [], _SILENT_S)[0]:
            raise EngineFailed("the recording's reader hangs; try again")
        return os.read(fd, most)
