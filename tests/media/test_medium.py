"""A `Medium` whose sizes are not those of its data cannot be made: native code reads by them."""

from typing import Any

import pytest

from umad.media.medium import Medium

ID = "0" * 64
IMAGE: dict[str, Any] = {"kind": "image", "content_id": ID, "width": 2, "height": 3}
SOUND: dict[str, Any] = {"kind": "audio", "content_id": ID, "samples": 8_000, "rate": 16_000}


def test_an_image_has_three_bytes_a_pixel() -> None:
    medium = Medium(data=bytes(18), **IMAGE)

    assert (medium.width, medium.height, medium.seconds) == (2, 3, 0.0)


def test_a_sound_says_how_long_it_is() -> None:
    assert Medium(data=bytes(32_000), **SOUND).seconds == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {**IMAGE, "data": bytes(17)},
        {**IMAGE, "data": bytes(18), "content_id": "abc"},
        {**IMAGE, "data": b"", "width": 0},
        {**IMAGE, "data": bytes(18), "width": -2, "height": -3},
        {**IMAGE, "data": bytes(18), "rate": 16_000},
        {**SOUND, "data": bytes(32_001)},
        {**SOUND, "data": bytes(32_000), "rate": 0},
        {**SOUND, "data": bytes(32_000), "width": 1},
    ],
)
def test_sizes_that_are_not_those_of_the_data_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"belong together|SHA-256"):
        Medium(**wrong)
