"""Sound files from outside: samples of one channel at one rate, or what they are instead."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.media.pictures import pixels, recorded, saved, tone
from umad.content import MediaFile
from umad.errors import BadMedia
from umad.media.decoder import MediaDecoder
from umad.media.limits import MediaLimits

RATE = 16_000


@pytest.fixture(scope="module")
def decoder() -> Iterator[MediaDecoder]:
    one = MediaDecoder(MediaLimits(seconds=2.0))
    yield one
    one.close()


def sound(data: bytes) -> MediaFile:
    return MediaFile(kind="audio", data=data, place="messages[0].content[0]")


def decoded(decoder: MediaDecoder, data: bytes, rate: int = RATE) -> Any:
    """float32 (n,), and the head tells the same length."""
    size, medium = decoder.size(sound(data), rate=rate), decoder.medium(sound(data), rate=rate)
    assert (size.samples, size.rate) == (medium.samples, medium.rate)
    assert medium.rate == rate
    return np.frombuffer(medium.data, "<f4")


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_of_any_rate_is_the_same_tone(decoder: MediaDecoder, rate: int) -> None:
    found = decoded(decoder, recorded(tone(rate), rate))

    wanted = tone(RATE)
    assert len(found) == len(wanted)
    # Not at the ends, where the filter has nothing to look at.
    assert np.abs(found - wanted)[400:-400].max() < 0.002


def test_the_rate_is_the_one_that_is_asked_for(decoder: MediaDecoder) -> None:
    found = decoded(decoder, recorded(tone(48_000), 48_000), 24_000)

    assert np.abs(found - tone(24_000))[400:-400].max() < 0.002


@pytest.mark.parametrize(
    ("form", "subtype"),
    [("WAV", "PCM_24"), ("WAV", "ULAW"), ("FLAC", None), ("OGG", "VORBIS"), ("MP3", None)],
)
def test_a_tone_in_any_form_is_heard(decoder: MediaDecoder, form: str, subtype: str | None) -> None:
    found = decoded(decoder, recorded(tone(RATE), RATE, form, subtype))

    spectrum = np.abs(np.fft.rfft(found))
    assert abs(int(spectrum.argmax()) * RATE / len(found) - 440.0) < 5
    assert 0.4 < np.abs(found).max() < 0.6


def test_channels_are_averaged(decoder: MediaDecoder) -> None:
    stereo = np.stack([tone(RATE), -tone(RATE)], -1)

    assert np.abs(decoded(decoder, recorded(stereo, RATE))).max() < 1e-4


def test_silence_and_a_single_sample_are_sounds(decoder: MediaDecoder) -> None:
    assert not decoded(decoder, recorded(np.zeros(RATE), RATE)).any()
    assert len(decoded(decoder, recorded(np.zeros(1), 8000))) == 2


def test_numbers_that_are_none_and_too_loud_ones_become_samples(decoder: MediaDecoder) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 7.0], np.float32)

    found = decoded(decoder, recorded(odd, RATE, subtype="FLOAT"))

    assert found.tolist() == [0.0, 1.0, -1.0, 1.0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "this sound is empty"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "an MP4 or QuickTime video; sounds are read from WAV"),
        (b"\x1aE\xdf\xa3webm", "a WebM or Matroska video; sounds"),
        (saved(pixels(), "PNG"), "a PNG picture; sounds"),
        (recorded(np.zeros(0), RATE), "no samples"),
        (recorded(np.zeros(3 * RATE), RATE), "a sound of 3 s, and at most 2 s are read"),
        (recorded(tone(RATE), RATE, "FLAC")[:60], "cut off or broken|no samples|sounds are read"),
    ],
)
def test_what_is_no_sound_is_named_and_where_it_stands(
    decoder: MediaDecoder, data: bytes, says: str
) -> None:
    with pytest.raises(BadMedia, match=says) as caught:
        decoder.medium(sound(data))

    assert caught.value.field == "messages[0].content[0]"
