"""One decoded image or sound, as an engine gets it.

Values only, checked where they are made. Pure: no I/O, no numpy. Not: decoding a file, and rows
for a model (the engine).
"""

from dataclasses import dataclass
from typing import Literal, get_args

MediumKind = Literal["image", "audio"]
MEDIUM_KINDS: tuple[str, ...] = get_args(MediumKind)

# The rate that encoders of sound ask for, unless the projector names another one: Whisper's.
SAMPLE_RATE_HZ = 16_000

BYTES_PER_PIXEL = 3  # red, green and blue
BYTES_PER_SAMPLE = 4  # float32
_ID_CHARS = 64  # SHA-256 in hexadecimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """One image or one sound.

    An image: `data` is RGB, rows from the top without padding: uint8 (height, width, 3).
    A sound: `data` is one channel, float32 little-endian between -1 and 1: (samples,).
    """

    kind: MediumKind
    # SHA-256 in hexadecimal of the file as the client sent it: equal files are encoded once.
    content_id: str
    data: bytes
    # Pixels of an image; 0 for a sound.
    width: int = 0
    height: int = 0
    # Samples of a sound; 0 for an image.
    samples: int = 0
    # Samples a second of a sound; 0 for an image.
    rate: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` where the sizes are not those of `data`: native code reads by them."""
        if len(self.content_id) != _ID_CHARS:
            raise ValueError("content_id is a SHA-256 in hexadecimal")
        if self.kind == "image":
            fits = self.width > 0 and self.height > 0 and self.samples == self.rate == 0
            size_bytes = self.width * self.height * BYTES_PER_PIXEL
        else:
            fits = self.samples > 0 and self.rate > 0 and self.width == self.height == 0
            size_bytes = self.samples * BYTES_PER_SAMPLE
        if not fits or len(self.data) != size_bytes:
            raise ValueError(f"the sizes of this {self.kind} do not belong together")

    @property
    def seconds(self) -> float:
        """The length of a sound; 0 for an image."""
        return self.samples / self.rate if self.rate else 0.0
