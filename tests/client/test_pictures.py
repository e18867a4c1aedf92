"""Images and sounds as a program has them: a path, bytes, an array."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from umad import Audio, BadRequest, ChatMessage, Image
from umad.client.turns import turns_of
from umad.content import PlacedFile

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
RGB = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
RGBA = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)


@pytest.mark.parametrize("pixels", [GREY, RGB, RGBA, RGB[:, ::2], RGB[:1, :1]])
def test_an_array_of_pixels_becomes_a_png_of_them(pixels: Any) -> None:
    file = Image.open(pixels)

    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(file.data))), pixels)


@pytest.mark.parametrize(
    "wrong", [RGB.astype(np.float32), RGB[..., :2], np.zeros((0, 3), np.uint8), GREY[0]]
)
def test_an_array_that_is_no_image_is_refused(wrong: Any) -> None:
    with pytest.raises(BadRequest, match="uint8"):
        Image.open(wrong)


def test_an_array_of_samples_becomes_a_wave_file_of_them() -> None:
    samples = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)

    data = Audio.open(samples, rate=8000).data

    assert data[:4] + data[8:16] == b"RIFFWAVEfmt "
    assert struct.unpack("<HHI", data[20:28]) == (3, 2, 8000)
    assert np.array_equal(np.frombuffer(data[44:], "<f4").reshape(3, 2), samples)


def test_an_array_of_samples_needs_its_rate_and_has_to_be_of_floats() -> None:
    with pytest.raises(BadRequest, match="rate"):
        Audio.open(np.zeros(3))
    with pytest.raises(BadRequest, match="floats"):
        Audio.open(np.zeros(3, np.int16), rate=8000)


def test_a_path_is_opened_by_the_client_and_not_by_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(b"a picture")

    file = Image.open(path)
    path.unlink()

    assert file.data == b"a picture"
    with pytest.raises(FileNotFoundError):
        Image.open(str(path))


def test_files_stand_between_the_texts_of_a_turn() -> None:
    picture, sound = Image.open(b"p"), Audio.open(b"s")
    content = [picture, "What is it?", {"type": "text", "text": " And"}, sound]

    (turn,) = turns_of([{"role": "user", "content": content}])

    assert turn == ChatMessage(
        role="user",
        content="What is it? And",
        media=(PlacedFile(at=0, file=picture), PlacedFile(at=15, file=sound)),
    )
