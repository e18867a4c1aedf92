"""Reads sound files with libsndfile into samples of one channel. Only in decoding processes.

There are two: of files in requests, which are read whole (`umad.media.decoder_child`), and of
recordings, which are read piece by piece as far as they are heard (`umad.speech.reading`).
Channels are averaged, and the rate becomes the one that is asked for (soxr). The only module that
imports soundfile and soxr. Not: cutting silence, or finding speech.
"""

import io
import math
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from umad.media.limits import MediaLimits
from umad.media.recognizing import Unreadable, name_of

Samples = NDArray[np.float32]

READ = "WAV, FLAC, MP3, Ogg, Opus and AIFF"
# What `name_of` calls files that are certainly for libsndfile.
_READ_NAMES = frozenset(("a WAV sound", "a FLAC sound", "an MP3 sound", "an AIFF sound"))
# Rates that recorders use, with room on both sides. A head may claim anything.
_RATES = range(1_000, 768_001)
_MOST_CHANNELS = 64
# Of the widest sound it is 200 MB.
_PIECE_S = 1


class Sound:
    """One sound file that is open, with its head read. Closed by `with`."""

    def __init__(self, file: io.BytesIO | int, head: bytes) -> None:
        """file: a descriptor stays open behind it. head: the file's first bytes, for errors.

        Raises `Unreadable`.
        """
        self._name = name_of(head)
        try:
            self._file: Any = soundfile.SoundFile(file, closefd=False)
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            if self._name in _READ_NAMES:
                raise Unreadable(f"{self._name}, and its head is cut off or broken") from error
            raise Unreadable(f"{self._name}; sounds are read from {READ}") from error
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        # As the head has it, which may be wrong.
        self.frames = max(0, int(self._file.frames))
        if self.rate not in _RATES or not 1 <= self.channels <= _MOST_CHANNELS:
            self._file.close()
            raise Unreadable(
                f"a sound of {self.channels} channels at {self.rate} Hz, which is no recording"
            )

    def __enter__(self) -> "Sound":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def skip(self, seconds: float) -> None:
        """Go on so far behind the beginning."""
        self._file.seek(min(self.frames, round(seconds * self.rate)))

    def pieces(self, rate: int) -> Iterator[Samples]:
        """The sound from here on at `rate`, between -1 and 1, in pieces of about a second.

        Raises `Unreadable` at the first damage, behind all that came before it.
        """
        stream = None
        if rate != self.rate:
            stream = soxr.ResampleStream(self.rate, rate, 1, dtype="float32", quality="HQ")
        n_in = n_out = 0
        damage = None
        while damage is None:
            try:
                channels = self._file.read(_PIECE_S * self.rate, "float32", always_2d=True)
            except soundfile.SoundFileError as error:
                damage = error
                continue
            if not len(channels):
                break
            # Not every decoder keeps to the range, and one such number would spread in the filter.
            piece = np.nan_to_num(channels.mean(axis=1), posinf=1.0, neginf=-1.0)
            n_in += len(piece)
            if stream is not None:
                piece = stream.resample_chunk(piece)
            n_out += len(piece)
            yield np.clip(piece, -1.0, 1.0)
        if stream is not None and n_in:
            rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
            # The filter's last sample may be missing, or be one too many.
            n_left = max(0, resampled(n_in, self.rate, rate) - n_out)
            yield np.clip(np.pad(rest, (0, max(0, n_left - len(rest))))[:n_left], -1.0, 1.0)
        if damage is not None:
            raise Unreadable(f"{self._name}, and it is cut off or broken") from damage


def sound_size(data: bytes, limits: MediaLimits, rate: int) -> int:
    """The number of samples at `rate`, as the file's head has it. Raises `Unreadable`."""
    with _checked(data, limits) as sound:
        return resampled(sound.frames, sound.rate, rate)


def read_sound(data: bytes, limits: MediaLimits, rate: int) -> bytes:
    """The samples at `rate`, float32 little-endian. Raises `Unreadable`."""
    found = bytearray()
    with _checked(data, limits) as sound:
        for piece in sound.pieces(rate):
            found += np.ascontiguousarray(piece, "<f4").tobytes()
            # A head may say any length.
            _check_length(len(found) // 4, rate, limits)
    if not found:
        raise Unreadable(f"{name_of(data)}, and it has no samples")
    return bytes(found)


def resampled(frames: int, own_rate: int, rate: int) -> int:
    """How many samples so many become at another rate."""
    return math.ceil(frames * rate / own_rate)


def _checked(data: bytes, limits: MediaLimits) -> Sound:
    sound = Sound(io.BytesIO(data), data)
    if sound.frames == 0:
        raise Unreadable(f"{name_of(data)}, and it has no samples")
    _check_length(sound.frames, sound.rate, limits)
    return sound


def _check_length(frames: int, rate: int, limits: MediaLimits) -> None:
    # A sample more is what a change of the rate rounds up.
    if frames > limits.seconds * rate + 1:
        raise Unreadable(
            f"a sound of {frames / rate:,.0f} s, and at most {limits.seconds:,.0f} s are read: "
            "cut it"
        )
