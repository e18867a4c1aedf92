"""Image files from outside: what is in them arrives as it is meant, and the rest is said."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media.pictures import pixels, png_claiming, recorded, saved, tone
from umad.content import MediaFile
from umad.errors import BadMedia
from umad.media.decoder import MediaDecoder
from umad.media.limits import MediaLimits

RGB = pixels()
GREY = RGB[..., 0]
PNG = saved(RGB, "PNG")
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><rect width="9"/></svg>'
BIG = saved(np.zeros((2000, 2000, 3), np.uint8), "PNG")


@pytest.fixture(scope="module")
def decoder() -> Iterator[MediaDecoder]:
    one = MediaDecoder()
    yield one
    one.close()


def image(data: bytes) -> MediaFile:
    return MediaFile(kind="image", data=data, place="messages.2.content.1")


def decoded(decoder: MediaDecoder, data: bytes) -> Any:
    """uint8 (height, width, 3), and the size that the head alone tells is the same."""
    size, medium = decoder.size(image(data)), decoder.medium(image(data))
    assert (size.width, size.height) == (medium.width, medium.height)
    assert medium.content_id == hashlib.sha256(data).hexdigest()
    return np.frombuffer(medium.data, np.uint8).reshape(medium.height, medium.width, 3)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_a_picture_arrives_pixel_by_pixel(decoder: MediaDecoder, form: str) -> None:
    few = np.where(RGB > 100, 255, 0).astype(np.uint8)  # a GIF has 256 colours
    data = saved(few, form, **({"lossless": True} if form == "WEBP" else {}))

    assert np.array_equal(decoded(decoder, data), few)


@pytest.mark.parametrize("form", ["JPEG", "AVIF"])
def test_a_picture_with_losses_arrives_nearly_as_it_was(decoder: MediaDecoder, form: str) -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)

    found = decoded(decoder, saved(flat, form, quality=95))

    assert np.abs(found.astype(int) - flat).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_it_was_taken(decoder: MediaDecoder, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB),
    }

    assert np.array_equal(decoded(decoder, saved(RGB, "PNG", exif=exif)), turns[orientation])


def test_a_transparent_place_is_white(decoder: MediaDecoder) -> None:
    alpha = np.dstack([RGB, np.full(GREY.shape, 255, np.uint8)])
    alpha[0, 0, 3] = 0

    found = decoded(decoder, saved(alpha, "PNG"))

    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(found[1:], RGB[1:])


def test_a_palette_with_a_transparent_colour_is_white_there(decoder: MediaDecoder) -> None:
    picture = Image.fromarray(GREY % 4).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])

    found = decoded(decoder, saved(picture, "PNG", transparency=0))

    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("mode", ["L", "1", "LA", "CMYK"])
def test_a_picture_of_another_kind_of_colour_becomes_rgb(decoder: MediaDecoder, mode: str) -> None:
    black = Image.new("RGB", (4, 4)).convert(mode)

    found = decoded(decoder, saved(black, "TIFF"))

    assert found.shape == (4, 4, 3)
    assert found.max() <= 4


def test_a_jpeg_in_the_colours_of_printing_is_not_inverted(decoder: MediaDecoder) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))

    found = decoded(decoder, saved(red, "JPEG", quality=95))

    assert found[8, 8, 0] > 200
    assert found[8, 8, 1:].max() < 60


def test_sixteen_bits_a_channel_become_eight(decoder: MediaDecoder) -> None:
    deep = GREY.astype(np.uint16) * 257

    assert np.array_equal(decoded(decoder, saved(deep, "PNG"))[..., 0], GREY)


def test_numbers_of_no_known_range_go_from_black_to_white(decoder: MediaDecoder) -> None:
    floats = np.linspace(-3.0, 9.0, 12, dtype=np.float32).reshape(3, 4)

    found = decoded(decoder, saved(floats, "TIFF"))

    assert (found.min(), found.max()) == (0, 255)


def test_an_animation_is_its_first_picture(decoder: MediaDecoder) -> None:
    later = [Image.new("RGB", (6, 4), "blue") for _ in range(3)]
    first = Image.new("RGB", (6, 4), "red")

    for form in ("GIF", "PNG", "WEBP"):
        more = {"lossless": True} if form == "WEBP" else {}
        data = saved(first, form, save_all=True, append_images=later, **more)
        assert decoded(decoder, data)[0, 0].tolist() == [255, 0, 0], form


def test_a_single_pixel_is_a_picture(decoder: MediaDecoder) -> None:
    assert decoded(decoder, saved(RGB[:1, :1], "PNG")).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "this image is empty"),
        (PNG[: len(PNG) // 2], "a PNG picture, and it is cut off or broken"),
        (saved(RGB, "JPEG")[:-40], "cut off or broken"),
        (PNG[:60] + b"\xff\xff" + PNG[62:], "broken"),
        (b"%PDF-1.7\n%\xe2", "a PDF file; images are read from PNG, JPEG"),
        (SVG, "an SVG drawing; images"),
        (b"<svg/>", "an SVG drawing; images"),
        (b"<!DOCTYPE html><html>", "a web page; images"),
        (b"https://example.com/cat.png", "an address and no file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture; images"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "an MP4 or QuickTime video; images"),
        (b"\x1aE\xdf\xa3webm", "a WebM or Matroska video; images"),
        (recorded(tone(8000), 8000), "a WAV sound; images"),
        (b"hello", "of an unknown kind; images"),
        (png_claiming(100_000, 100_000), "10,000,000,000 pixels, and at most 50,000,000"),
        (png_claiming(0, 5), "its head is broken|cut off or broken|images are read from"),
    ],
)
def test_what_is_no_picture_is_named_and_where_it_stands(
    decoder: MediaDecoder, data: bytes, says: str
) -> None:
    with pytest.raises(BadMedia, match=says) as caught:
        decoder.medium(image(data))

    assert caught.value.field == "messages.2.content.1"
    assert caught.value.message.startswith("messages.2.content.1: this image is ")
    assert np.array_equal(decoded(decoder, PNG), RGB)  # nothing else is disturbed


def test_a_file_of_too_many_bytes_is_not_even_read() -> None:
    decoder = MediaDecoder(MediaLimits(file_bytes=100))

    with pytest.raises(BadMedia, match="at most 100 are read"):
        decoder.medium(image(PNG * 9))

    decoder.close()


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (MediaLimits(run_s=0.001), "longer than 0.001 s"),
        (MediaLimits(wall_s=0.001), "longer than"),
        (MediaLimits(memory_bytes=2**20), "too much memory"),
    ],
)
def test_a_file_that_takes_too_much_ends_alone(limits: MediaLimits, says: str) -> None:
    decoder = MediaDecoder(limits)

    for _ in range(2):
        with pytest.raises(BadMedia, match=says):
            decoder.medium(image(BIG))

    decoder.close()


def test_a_decoding_process_that_was_killed_is_started_again() -> None:
    decoder = MediaDecoder()
    assert np.array_equal(decoded(decoder, PNG), RGB)
    process = decoder._process
    assert process is not None
    process.kill()
    process.wait()

    with pytest.raises(BadMedia, match="breaks on"):
        decoder.medium(image(PNG))

    assert np.array_equal(decoded(decoder, PNG), RGB)
    decoder.close()
