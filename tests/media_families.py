"""Three kinds of projectors as a daemon serves them, with random weights, and files to ask about.

    gemma3     all rows of an image look at one another
    qwen2vl    images under M-RoPE, whose cells begin at one position
    ultravox   sounds

Not a test. Answers mean nothing; what counts is that they are the same.
"""

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tests.engine.projector_files import FAMILIES, write_mrope_text
from umad.content import MediaFile, PlacedFile
from umad.media.medium import SAMPLE_RATE_HZ
from umad.request import GenerateRequest, SamplingParams

NAMES = sorted(FAMILIES)
BEFORE = "def look():\n    "
# A slab of parked cells has 256. These become 16, 400 and 375 rows.
ROWS = {"gemma3": 16, "qwen2vl": 400, "ultravox": 375}
_IMAGE_PX = 560
_SOUND_S = 29


def arguments(folder: Path, family: str, **shape: int) -> tuple[str, ...]:
    """Those of `umad serve`. shape: as the family's writer takes it."""
    projector = FAMILIES[family][0](folder / f"mmproj-{family}.gguf", **shape)
    text = str(write_mrope_text(folder / "text.gguf")) if family == "qwen2vl" else "nano"
    return (text, "--mmproj", str(projector), "--ctx-size", "4096", "--kv-type", "q8")


def file_for(family: str, seed: int = 1) -> MediaFile:
    """An image or a sound of noise."""
    drawn = np.random.default_rng(seed)
    file = io.BytesIO()
    if family == "ultravox":
        samples = drawn.integers(-3000, 3000, _SOUND_S * SAMPLE_RATE_HZ, np.int16)
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(SAMPLE_RATE_HZ)
            sound.writeframes(samples.astype("<i2").tobytes())
        return MediaFile(kind="audio", data=file.getvalue())
    pixels = drawn.integers(0, 256, (_IMAGE_PX, _IMAGE_PX, 3), np.uint8)
    Pillow.fromarray(pixels).save(file, "PNG")
    return MediaFile(kind="image", data=file.getvalue())


def asking(file: MediaFile, after: str, n_tokens: int, **more: Any) -> GenerateRequest:
    """Text, the medium, and text behind it; the answer is greedy."""
    return GenerateRequest(
        prompt=BEFORE + after,
        media=(PlacedFile(at=len(BEFORE), file=file),),
        sampling=SamplingParams(temperature=0.0, max_tokens=n_tokens, ignore_eos=True),
        **more,
    )
