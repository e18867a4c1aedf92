"""Decodes images and sounds from outside, in processes that may be ended at any moment.

    decoder = MediaDecoder()
    decoder.size(file)      from its head alone, to count tokens
    decoder.medium(file)    the pixels or samples

The process (`umad.media.decoder_child`) starts with the first file and stays. One file is decoded
at a time, so that files together take no more memory than one may. Threads: any; they wait for each
other here, as long as `MediaLimits.wall_s` for each file.
"""

import contextlib
import hashlib
import select
import subprocess
import threading
from dataclasses import asdict, dataclass
from typing import Any

from umad.content import MEDIA_NAMES, MediaFile
from umad.errors import BadMedia, Unsupported
from umad.isolated import python_module
from umad.media.decoder_child import frame_of, read_frame, widen, write_bytes
from umad.media.limits import MediaLimits
from umad.media.medium import SAMPLE_RATE_HZ, Medium

# A child ends its own work in time. Past this it hangs, or the whole machine does.
EXTRA_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MediumSize:
    """The size of a medium as its file's head has it; fields as in `Medium`."""

    width: int = 0
    height: int = 0
    samples: int = 0
    rate: int = 0


class MediaDecoder:
    """Decodes files within `limits`."""

    def __init__(self, limits: MediaLimits | None = None) -> None:
        self._limits = limits or MediaLimits()
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def size(self, file: MediaFile, *, rate: int = SAMPLE_RATE_HZ) -> MediumSize:
        """The size of a medium, without decoding it. Raises as `medium` does."""
        head, _ = self._decoded(file, rate, only_size=True, gently=False)
        return MediumSize(**head)

    def medium(
        self, file: MediaFile, *, rate: int = SAMPLE_RATE_HZ, gently: bool = False
    ) -> Medium:
        """The medium in a file. rate: that of a sound's samples. gently: on idle cores alone, as
        long as `MediaLimits.gentle_s`, since somebody reads a stream.

        Raises `BadMedia` with the file's place where it is none, and `Unsupported` where the
        libraries that decode are not installed.
        """
        head, data = self._decoded(file, rate, only_size=False, gently=gently)
        content_id = hashlib.sha256(file.data).hexdigest()
        try:
            return Medium(kind=file.kind, content_id=content_id, data=data, **head)
        except (TypeError, ValueError) as error:  # a decoder that was taken over
            raise _bad(file, "a file that its decoder breaks on") from error

    def close(self) -> None:
        """End the process; the next file starts another."""
        with self._one_at_a_time:
            self._end()

    def _decoded(
        self, file: MediaFile, rate: int, *, only_size: bool, gently: bool
    ) -> tuple[dict[str, Any], bytes]:
        limits = self._limits
        if not file.data:
            raise _bad(file, "empty")
        if len(file.data) > limits.file_bytes:
            raise _bad(
                file,
                f"a file of {len(file.data):,} bytes, and at most {limits.file_bytes:,} are read",
            )
        question = frame_of(
            {
                "kind": file.kind,
                "rate": rate,
                "only_size": only_size,
                "gently": gently,
                "limits": asdict(limits),
            },
            file.data,
        )
        with self._one_at_a_time:
            answer = self._asked(question)
        if answer is None:
            raise _bad(file, "a file that its decoder breaks on")
        head, data = answer
        if "missing" in head:
            raise Unsupported(
                f"{MEDIA_NAMES[file.kind]} cannot be decoded without {head['missing']}: "
                "pip install 'umad[media]'",
                field=file.place or None,
            )
        if "refused" in head:
            raise _bad(file, str(head["refused"]))
        return head, data

    def _asked(self, question: bytes) -> tuple[dict[str, Any], bytes] | None:
        """The child's answer; None where it has ended or hangs, and then another one is started."""
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = None
        with contextlib.suppress(BrokenPipeError):
            write_bytes(process.stdin, question)
            patience_s = self._limits.wall_s + self._limits.gentle_s + EXTRA_S
            ready, _, _ = select.select([process.stdout], [], [], patience_s)
            answer = read_frame(process.stdout) if ready else None
        if answer is None:
            self._end()
        return answer

    def _started(self) -> "subprocess.Popen[bytes]":
        command = python_module("umad.media.decoder_child")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        widen(process.stdin)
        widen(process.stdout)
        self._process = process
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _bad(file: MediaFile, what: str) -> BadMedia:
    """The error that says what was sent in place of an image or a sound."""
    place = f"{file.place}: " if file.place else ""
    kind = MEDIA_NAMES[file.kind].removeprefix("an ").removeprefix("a ")
    return BadMedia(f"{place}this {kind} is {what}", field=file.place or None)
