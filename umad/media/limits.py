"""The limits within which files from outside are decoded. Values only. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Limits of one file."""

    # Of the file itself. A frame of the socket holds 16 MiB.
    file_bytes: int = 64 * 2**20
    # Of an image. Phones take photos of 12 to 50 megapixels; encoders scale all of them down.
    pixels: int = 50_000_000
    # Of a sound: encoders make 25 tokens a second of it and more.
    seconds: float = 600.0
    # Processor time of decoding. 50 megapixels of JPEG take two seconds of a slow core.
    run_s: float = 10.0
    # The same by the clock, on a machine that has no core to give.
    wall_s: float = 30.0
    # Memory of the decoding process beyond what it begins with. 50 megapixels are 150 MB in the
    # answer, and four bytes each in every step on the way.
    memory_bytes: int = 2**30
