"""Files of images and sounds for tests, made here. Not a test."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import soundfile
from PIL import Image


def pixels(width: int = 6, height: int = 4) -> Any:
    """Every pixel another colour: uint8 (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 37 % 256, columns * 29 % 256, (rows + columns) * 11 % 256], -1).astype(
        np.uint8
    )


def saved(picture: Any, form: str, **more: Any) -> bytes:
    """A picture of Pillow's, or an array, as a file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG whose head claims to be of this size."""
    whole = saved(pixels(), "PNG")
    head = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
    return whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:]


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> Any:
    """A sine: float64 (n,)."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def recorded(samples: Any, rate: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    """Samples as a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()
