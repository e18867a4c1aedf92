"""Sounds read piece by piece are the same as read at once, and rates change without an echo."""

import io

import numpy as np
import pytest

from tests.media.pictures import recorded
from umad.media.limits import MediaLimits
from umad.media.recognizing import Unreadable
from umad.media.sounds import Samples, Sound, read_sound

RATE = 16_000
RATES = (8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000)


def tone(rate: int, hertz: float, seconds: float) -> Samples:
    at = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def read(data: bytes, from_s: float = 0.0) -> list[Samples]:
    with Sound(io.BytesIO(data), data) as sound:
        sound.skip(from_s)
        return list(sound.pieces(RATE))


@pytest.mark.parametrize("rate", RATES)
def test_pieces_join_to_the_tone_that_was_recorded(rate: int) -> None:
    pieces = read(recorded(tone(rate, 440, 3.5), rate))

    assert len(pieces) >= 4
    joined = np.concatenate(pieces)
    assert joined.dtype == np.float32
    assert joined.size == 3.5 * RATE
    # Not at the ends, where the filter has nothing to look at.
    assert np.abs(joined - tone(RATE, 440, 3.5))[400:-400].max() < 2e-3


def test_a_whole_file_is_its_pieces() -> None:
    data = recorded(tone(44_100, 440, 2.2), 44_100)

    whole = np.frombuffer(read_sound(data, MediaLimits(), RATE), "<f4")

    np.testing.assert_array_equal(whole, np.concatenate(read(data)))


def test_what_lies_before_is_skipped() -> None:
    data = recorded(tone(RATE, 440, 2.0), RATE)

    later = np.concatenate(read(data, from_s=1.5))

    np.testing.assert_array_equal(later, np.concatenate(read(data))[24_000:])


def test_what_a_model_cannot_hear_does_not_fold_back() -> None:
    heard = np.concatenate(read(recorded(tone(48_000, 11_000, 1.0), 48_000)))

    assert np.abs(heard[1000:-1000]).max() < 2e-3


def test_damage_is_told_behind_what_came_before_it() -> None:
    random = np.random.default_rng(1)
    data = bytearray(recorded(random.standard_normal(RATE * 6) * 0.1, RATE, "FLAC"))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    pieces: list[Samples] = []

    with (
        Sound(io.BytesIO(data), bytes(data)) as sound,
        pytest.raises(Unreadable, match="a FLAC sound, and it is cut off or broken"),
    ):
        pieces.extend(sound.pieces(RATE))  # it raises in the middle, and keeps what it has

    assert 1 <= len(pieces) < 6


def test_a_sound_without_samples_has_no_pieces() -> None:
    assert read(recorded(np.zeros(0), 44_100)) == []
