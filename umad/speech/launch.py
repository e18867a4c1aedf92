"""Describes how a speech engine is started: its options as one JSON argument, and its command line.

Pure, and importable without pywhispercpp: the daemon uses it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from umad.config import Settings
from umad.isolated import python_module

PROGRAM = "umad.speech"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOptions:
    """Everything a speech engine needs to know before it starts."""

    # The name that requests call the model by.
    name: str
    # The Whisper model.
    path: str
    # Threads of a window; None for one a core.
    threads: int | None = None
    # The longest recording.
    most_s: float = Settings().limits.audio_s
    # Lanes whose short recordings go before everything else.
    guarded: tuple[str, ...] = ()
    log_level: str = "info"
    verbose: bool = False
    # The inherited device board; None where there is none.
    board_fd: int | None = None
    # This engine's place on the board.
    board_seat: int = 0

    @classmethod
    def of(
        cls, settings: Settings, *, name: str, path: str, guarded: Sequence[str]
    ) -> "SpeechOptions":
        """Pick the part of a daemon's settings that this model's engine needs."""
        return cls(
            name=name,
            path=path,
            threads=settings.engine.threads,
            most_s=settings.limits.audio_s,
            guarded=tuple(guarded),
            log_level=settings.logging.level,
            verbose=settings.logging.verbose,
        )

    def to_json(self) -> str:
        """Encode as one line; `from_json` is its inverse."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "SpeechOptions":
        """Decode. Both ends are the same version of umad, so an unknown key is a bug and raises."""
        values = json.loads(text)
        values["guarded"] = tuple(values["guarded"])
        return cls(**values)


def command(options: SpeechOptions, fd: int) -> list[str]:
    """The command line of a speech engine that speaks over the inherited socket `fd`."""
    return python_module(PROGRAM, "--fd", str(fd), "--options", options.to_json())
