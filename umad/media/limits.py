"""The limits within which files from outside are decoded. Values only. Pure."""

from dataclasses import dataclass

from umad.config import MediaSettings

_DEFAULTS = MediaSettings()
# A machine that has no core to give is waited for longer.
_WALL_PER_RUN = 3.0
# Beside streams, idle cores are tried for so long. A photo of 12 megapixels takes 0.15 s of a core,
# and a stream leaves some percent of two.
GENTLE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """Limits of one file. Their reasons stand in `MediaSettings`."""

    file_bytes: int = _DEFAULTS.file_bytes
    # Of an image.
    pixels: int = _DEFAULTS.pixels
    # Of a sound.
    seconds: float = _DEFAULTS.seconds
    # Processor time of decoding, and the same by the clock.
    run_s: float = _DEFAULTS.decode_s
    wall_s: float = _DEFAULTS.decode_s * _WALL_PER_RUN
    # Beside streams a file is decoded on idle cores alone for so long, and then as usual.
    gentle_s: float = GENTLE_S
    # Memory of the decoding process beyond what it begins with.
    memory_bytes: int = _DEFAULTS.decode_bytes

    @classmethod
    def of(cls, settings: MediaSettings) -> "MediaLimits":
        """The part of the settings that is about decoding."""
        return cls(
            file_bytes=settings.file_bytes,
            pixels=settings.pixels,
            seconds=settings.seconds,
            run_s=settings.decode_s,
            wall_s=settings.decode_s * _WALL_PER_RUN,
            memory_bytes=settings.decode_bytes,
        )
