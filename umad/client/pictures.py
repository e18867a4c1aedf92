"""Makes images and sounds of a request from what a program has: a path, bytes, an array.

    from umad import Client, Image

    Client().chat([{"role": "user", "content": [Image.open("cat.jpg"), "What is it?"]}])

A file is opened here, with this process's own rights, and its bytes are sent: the daemon opens no
path that a client names. Not: decoding, nor checking what a file is; the daemon's side does both.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.content import MediaFile, MediaKind
from umad.errors import BadRequest

_PNG = b"\x89PNG\r\n\x1a\n"
# PNG's types of colour, by the last axis of an array: grey, RGB, RGB with alpha.
_COLOURS: dict[tuple[int, ...], int] = {(): 0, (3,): 2, (4,): 6}
_FLOATS, _SAMPLE_BYTES = 3, 4  # WAVE_FORMAT_IEEE_FLOAT of mmreg.h
# What is read of a file at most. A longer one would not fit into a frame anyway.
MOST_BYTES = 2**30

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


class Image:
    """Images of a request."""

    @staticmethod
    def open(source: Source | NDArray[Any]) -> MediaFile:
        """The image in a file, in its bytes, or in an array of pixels: uint8 (height, width), or
        (height, width, 3 or 4) for RGB with and without alpha.

        Raises `BadRequest` for an array of another form, and `OSError` for a file that cannot be
        opened.
        """
        if isinstance(source, np.ndarray):
            return MediaFile(kind="image", data=_png(source))
        return _file("image", source)


class Audio:
    """Sounds of a request."""

    @staticmethod
    def open(source: Source | NDArray[Any], *, rate: int | None = None) -> MediaFile:
        """The sound in a file, in its bytes, or in an array of samples between -1 and 1: floats
        (n,), or (n, channels). rate: samples a second of an array.

        Raises as `Image.open` does.
        """
        if isinstance(source, np.ndarray):
            if rate is None or rate <= 0:
                raise BadRequest("an array of samples needs its rate: Audio.open(array, rate=…)")
            return MediaFile(kind="audio", data=_wav(source, rate))
        return _file("audio", source)


def _file(kind: MediaKind, source: Source) -> MediaFile:
    if isinstance(source, bytes | bytearray | memoryview):
        return MediaFile(kind=kind, data=bytes(source))
    with Path(source).open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BadRequest(f"{os.fspath(source)} has more than {MOST_BYTES >> 20} MiB")
    return MediaFile(kind=kind, data=data)


def _png(pixels: NDArray[Any]) -> bytes:
    """A PNG of the pixels, as the specification of PNG has it (ISO/IEC 15948)."""
    colour = _COLOURS.get(pixels.shape[2:])
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or colour is None or not pixels.size:
        raise BadRequest(
            f"an image is an array of uint8 (height, width[, 3 or 4]), not {pixels.dtype} "
            f"{pixels.shape}"
        )
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    unfiltered = np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered, 1)), (b"IEND", b""))
    return _PNG + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _wav(samples: NDArray[Any], rate: int) -> bytes:
    """A WAVE file of 32-bit floats."""
    is_sound = samples.ndim in (1, 2) and np.issubdtype(samples.dtype, np.floating)
    if not is_sound or not samples.size:
        raise BadRequest(
            f"a sound is an array of floats (n,) or (n, channels), not {samples.dtype} "
            f"{samples.shape}"
        )
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    row_bytes = _SAMPLE_BYTES * channels
    form = struct.pack(
        "<HHIIHH", _FLOATS, channels, rate, rate * row_bytes, row_bytes, 8 * _SAMPLE_BYTES
    )
    return _part(b"RIFF", b"WAVE" + _part(b"fmt ", form) + _part(b"data", data))


def _part(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data
