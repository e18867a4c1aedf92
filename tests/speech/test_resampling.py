"""Sound of another rate to 16 kHz."""

import numpy as np
import pytest

from umad.speech.resampling import Resampling, Samples
from umad.speech.window import SAMPLE_RATE

RATES = (8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000)


def tone(rate: int, hertz: float, seconds: float = 1.0) -> Samples:
    at = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def resampled(samples: Samples, rate: int, piece: int | None = None) -> Samples:
    one = Resampling(rate)
    size = piece or samples.size or 1
    pieces = [one.push(samples[at : at + size]) for at in range(0, samples.size, size)]
    return np.concatenate([*pieces, one.finish()])


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_length_its_height_and_its_loudness(rate: int) -> None:
    heard = resampled(tone(rate, 440), rate)

    assert heard.size == SAMPLE_RATE
    assert heard.dtype == np.float32
    # Not its edges, where a filter sees the silence around it.
    inner = slice(1000, -1000)
    assert np.abs(heard[inner] - tone(SAMPLE_RATE, 440)[inner]).max() < 2e-3


@pytest.mark.parametrize("rate", RATES)
def test_pieces_of_any_size_give_the_same_as_the_whole(rate: int) -> None:
    samples = np.random.default_rng(1).standard_normal(rate // 2).astype(np.float32)

    whole = resampled(samples, rate)

    for piece in (1999, 313, rate):
        np.testing.assert_allclose(resampled(samples, rate, piece), whole, atol=1e-5)


def test_what_a_model_cannot_hear_does_not_fold_back() -> None:
    heard = resampled(tone(48_000, 11_000), 48_000)

    assert np.abs(heard[1000:-1000]).max() < 2e-3


def test_nothing_is_nothing() -> None:
    assert resampled(np.zeros(0, np.float32), 44_100).size == 0
