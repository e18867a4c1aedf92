"""Sound files for tests: noise, which a model with random weights makes words of."""

import io
from pathlib import Path

import numpy as np
import soundfile


def noise(
    path: Path, seconds: float, *, rate: int = 16_000, channels: int = 1, seed: int = 1
) -> Path:
    """Write a file of the format that its name ends with."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal((int(rate * seconds), channels)) * 0.1
    soundfile.write(path, np.clip(samples, -1, 1), rate)
    return path


def noise_bytes(seconds: float) -> bytes:
    """A FLAC file in memory."""
    file = io.BytesIO()
    random = np.random.default_rng(1)
    samples = random.standard_normal(int(16_000 * seconds)) * 0.1
    soundfile.write(file, np.clip(samples, -1, 1), 16_000, format="FLAC")
    return file.getvalue()
