"""Reads an image file into RGB pixels, with Pillow. Only in the decoding process.

What an image means is kept: a photo is turned as its EXIF data says, a transparent place is white,
16 bits a channel become 8, and of an animation the first picture is read. Not: scaling, which is
the encoder's. Format of the result: `umad.media.medium.Medium`.
"""

import io
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, ImageOps, UnidentifiedImageError

from umad.media.limits import MediaLimits
from umad.media.recognizing import Unreadable, name_of

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
READ = "PNG, JPEG, WebP, GIF, BMP, TIFF and AVIF"
# What `name_of` calls them.
_READ_NAMES = frozenset(
    f"{'an' if one[0] == 'A' else 'a'} {one} picture"
    for one in ("PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF", "AVIF")
)
_ORIENTATION = 0x0112  # EXIF 2.32, table 4
_TURNED = frozenset((5, 6, 7, 8))  # the values that exchange width and height
_WITH_ALPHA = frozenset(("LA", "PA", "RGBA", "La", "RGBa"))
_WHITE = (255, 255, 255, 255)


# Its decoder would start threads, which a decoding process may not.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def image_size(data: bytes, limits: MediaLimits) -> tuple[int, int]:
    """(width, height) of the picture as it is meant to be looked at, from the file's head alone."""
    picture = _opened(data, limits)
    width, height = picture.size
    return (height, width) if _orientation(picture) in _TURNED else (width, height)


def read_image(data: bytes, limits: MediaLimits) -> tuple[int, int, bytes]:
    """(width, height, RGB pixels). Raises `Unreadable`."""
    picture = _opened(data, limits)
    try:
        picture.load()
        if _orientation(picture) != 1:  # else it would be copied
            picture = ImageOps.exif_transpose(picture)
        picture = _rgb(picture)
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"{name_of(data)}, and it is cut off or broken") from error
    return picture.width, picture.height, picture.tobytes()


def _opened(data: bytes, limits: MediaLimits) -> Image.Image:
    """The picture with its head read, and no pixel."""
    Image.MAX_IMAGE_PIXELS = None  # our own limit is looked at below
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        name = name_of(data)
        if name in _READ_NAMES:
            raise Unreadable(f"{name}, and its head is cut off or broken") from error
        raise Unreadable(f"{name}; images are read from {READ}") from error
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"{name_of(data)}, and its head is cut off or broken") from error
    pixels = picture.width * picture.height
    if pixels > limits.pixels:
        raise Unreadable(
            f"a picture of {pixels:,} pixels, and at most {limits.pixels:,} are read: make it "
            "smaller"
        )
    return picture


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  (broken EXIF data; the pixels may be sound)
        return 1


def _rgb(picture: Image.Image) -> Image.Image:
    mode = picture.mode
    if mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(picture)).convert("RGB")
    if mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(picture, np.float64))).convert("RGB")
    if mode in _WITH_ALPHA or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, _WHITE), picture).convert(
            "RGB"
        )
    return picture if mode == "RGB" else picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Any:
    """The high byte of 16 bits a pixel: uint8 (height, width)."""
    return (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)


def _stretched(values: Any) -> Any:
    """Numbers of no known range, between black and white: uint8 (height, width)."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    return ((values - low) * scale).astype(np.uint8)
