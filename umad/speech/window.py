"""One window of a recording: what is asked of the transcriber, and what it answers.

Both travel as msgpack behind a length, over the pipes between the two processes. Values only.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import msgpack

# The rate that every Whisper model hears at, and the length it was trained on.
SAMPLE_RATE = 16_000
WINDOW_S = 30.0
WINDOW_SAMPLES = int(SAMPLE_RATE * WINDOW_S)
_LENGTH_BYTES = 4
_MOST_BYTES = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowAsked:
    """A window to be heard."""

    # float32, one channel, 16 kHz.
    samples: bytes
    # A code; None to find out.
    language: str | None
    translate: bool
    # What somebody wrote to stand before the recording.
    prompt: str
    # Tokens of the windows before.
    context: tuple[int, ...]
    temperature: float
    words: bool
    # No more of the recording follows.
    is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A segment of a window; times from the window's beginning."""

    text: str
    start_s: float
    end_s: float
    tokens: tuple[int, ...]
    logprob: float
    # (text, start, end, probability).
    words: tuple[tuple[str, float, float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowHeard:
    """What was heard."""

    parts: tuple[Part, ...]
    # The next window begins here.
    next_s: float
    language: str
    # Tokens that the next window may go on from.
    context: tuple[int, ...]

    def moved(self, by_s: float) -> list[dict[str, Any]]:
        """The segments as plain maps, with times from the recording's beginning."""
        return [
            {
                "text": one.text,
                "start_s": one.start_s + by_s,
                "end_s": one.end_s + by_s,
                "tokens": one.tokens,
                "logprob": one.logprob,
                "words": [(text, a + by_s, b + by_s, p) for text, a, b, p in one.words],
            }
            for one in self.parts
        ]


def asked_of(value: Mapping[str, Any]) -> WindowAsked:
    """A window from its plain map."""
    return WindowAsked(**{**value, "context": tuple(value["context"])})


def heard_of(value: Mapping[str, Any]) -> WindowHeard:
    """What was heard, from its plain map."""
    parts = tuple(
        Part(**{**one, "tokens": tuple(one["tokens"]), "words": tuple(map(tuple, one["words"]))})
        for one in value["parts"]
    )
    return WindowHeard(**{**value, "parts": parts, "context": tuple(value["context"])})


def as_map(value: WindowAsked | WindowHeard) -> Mapping[str, Any]:
    """Inverse of `asked_of` and `heard_of`."""
    return asdict(value)


def write(pipe: BinaryIO, value: Mapping[str, Any]) -> None:
    """Send one message. Raises `OSError` where the other end has gone."""
    body: bytes = msgpack.packb(value)
    pipe.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
    pipe.flush()


def read(pipe: BinaryIO) -> Mapping[str, Any] | None:
    """The next message; None where the other end has gone."""
    head = pipe.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    n_bytes = int.from_bytes(head, "big")
    if n_bytes > _MOST_BYTES:
        return None
    body = pipe.read(n_bytes)
    if len(body) < n_bytes:
        return None
    message: Mapping[str, Any] = msgpack.unpackb(body)
    return message
