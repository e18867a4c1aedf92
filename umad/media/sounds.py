"""Reads a sound file into samples of one channel, with libsndfile. Only in the decoding process.

Channels are averaged, and the rate becomes the one that is asked for (soxr). Not: cutting silence,
or finding speech. Format of the result: `umad.media.medium.Medium`.
"""

import io
import math

import numpy as np
import soundfile
import soxr

from umad.media.images import Unreadable
from umad.media.limits import MediaLimits
from umad.media.recognizing import name_of

READ = "WAV, FLAC, MP3, Ogg and AIFF"
# Rates that recorders use, with room on both sides. A head may claim anything.
_RATES = range(1_000, 768_001)
_MOST_CHANNELS = 32


def sound_size(data: bytes, limits: MediaLimits, rate: int) -> int:
    """The number of samples at `rate`, as the file's head has it. Raises `Unreadable`."""
    with _opened(data, limits) as sound:
        return _resampled(sound.frames, sound.samplerate, rate)


def read_sound(data: bytes, limits: MediaLimits, rate: int) -> bytes:
    """The samples at `rate`, float32 little-endian. Raises `Unreadable`."""
    with _opened(data, limits) as sound:
        try:
            channels = sound.read(
                frames=int(limits.seconds * sound.samplerate) + 1, dtype="float32", always_2d=True
            )
        except soundfile.SoundFileError as error:
            raise Unreadable(f"{name_of(data)}, and it is cut off or broken") from error
        own_rate = sound.samplerate
    if not len(channels):
        raise Unreadable(f"{name_of(data)}, and it has no samples")
    _check_length(len(channels), own_rate, limits)
    mono = np.nan_to_num(channels.mean(axis=1), posinf=1.0, neginf=-1.0)
    n_samples = _resampled(len(mono), own_rate, rate)
    if own_rate != rate:
        mono = soxr.resample(mono, own_rate, rate, quality="HQ")
        # The filter's last sample may be missing, or be one too many.
        mono = np.pad(mono, (0, max(0, n_samples - len(mono))))[:n_samples]
    data = np.ascontiguousarray(np.clip(mono, -1.0, 1.0), "<f4").tobytes()
    return data


def _opened(data: bytes, limits: MediaLimits) -> soundfile.SoundFile:
    try:
        sound = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise Unreadable(f"{name_of(data)}; sounds are read from {READ}") from error
    if sound.samplerate not in _RATES or not 1 <= sound.channels <= _MOST_CHANNELS:
        raise Unreadable(
            f"a sound of {sound.channels} channels at {sound.samplerate} Hz, which is no recording"
        )
    if sound.frames == 0:
        raise Unreadable(f"{name_of(data)}, and it has no samples")
    _check_length(sound.frames, sound.samplerate, limits)
    return sound


def _check_length(frames: int, rate: int, limits: MediaLimits) -> None:
    if frames > limits.seconds * rate:
        raise Unreadable(
            f"a sound of {frames / rate:,.0f} s, and at most {limits.seconds:,.0f} s are read: "
            "cut it"
        )


def _resampled(frames: int, own_rate: int, rate: int) -> int:
    return math.ceil(frames * rate / own_rate)
