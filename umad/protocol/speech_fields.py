"""Reads and writes the fields of `transcribe`, and the messages that answer it.

`heard` comes behind every window of the recording, `transcribed` is the last message.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from umad.protocol.asking import RequestId
from umad.protocol.fields import wrong
from umad.transcription import (
    Heard,
    Segment,
    TranscribeRequest,
    Transcript,
    TranscriptEvent,
    Word,
)

_FIELDS = (
    "path",
    "audio",
    "model",
    "language",
    "translate",
    "prompt",
    "temperature",
    "words",
    "lane",
    "app",
    "deadline_ms",
    "keep_alive_s",
)
_DEFAULT = TranscribeRequest()


def read_audio(name: str, value: Any) -> bytes:
    """Binary."""
    if not isinstance(value, bytes):
        raise wrong(name, "binary", value)
    return value


def write_transcribe(request: TranscribeRequest) -> Mapping[str, Any]:
    """The fields of a `transcribe` besides type and id."""
    return {
        name: given
        for name in _FIELDS
        if (given := getattr(request, name)) != getattr(_DEFAULT, name)
    }


# -- answers ---------------------------------------------------------------------------------------


def write_segments(segments: Sequence[Segment]) -> list[Mapping[str, Any]]:
    """Segments as plain maps."""
    return [
        {
            "text": one.text,
            "start_s": one.start_s,
            "end_s": one.end_s,
            "tokens": one.tokens,
            "logprob": one.logprob,
            "words": [
                (word.text, word.start_s, word.end_s, word.probability) for word in one.words
            ],
        }
        for one in segments
    ]


def segments_of(value: Any) -> tuple[Segment, ...]:
    """Inverse of `write_segments`. Raises `KeyError`, `TypeError` or `ValueError` for another
    value.
    """
    return tuple(
        Segment(
            text=str(one["text"]),
            start_s=float(one["start_s"]),
            end_s=float(one["end_s"]),
            tokens=tuple(int(token) for token in one["tokens"]),
            logprob=float(one["logprob"]),
            words=tuple(
                Word(text=str(text), start_s=float(start), end_s=float(end), probability=float(p))
                for text, start, end, p in one["words"]
            ),
        )
        for one in value
    )


def write_heard(event: Heard) -> Mapping[str, Any]:
    """The fields of a `heard` besides type and id."""
    return {
        "segments": write_segments(event.segments),
        "done_s": event.done_s,
        "total_s": event.total_s,
        "language": event.language,
    }


def write_transcript(event: Transcript) -> Mapping[str, Any]:
    """The fields of a `transcribed` besides type and id."""
    return {
        "model": event.model,
        "language": event.language,
        "duration_s": event.duration_s,
        "text": event.text,
        "segments": write_segments(event.segments),
    }


def encode_transcript_event(id: RequestId, event: TranscriptEvent) -> bytes:
    """Body of an event of a `transcribe` request."""
    body: dict[str, Any] = {
        "type": "heard" if isinstance(event, Heard) else "transcribed",
        "id": id,
    }
    body |= write_heard(event) if isinstance(event, Heard) else write_transcript(event)
    packed: bytes = msgpack.packb(body)
    return packed


def heard_of(body: Mapping[str, Any]) -> Heard:
    """Inverse of `write_heard`."""
    return Heard(
        segments=segments_of(body["segments"]),
        done_s=float(body["done_s"]),
        total_s=float(body["total_s"]),
        language=str(body["language"]),
    )


def transcript_of(body: Mapping[str, Any]) -> Transcript:
    """Inverse of `write_transcript`."""
    return Transcript(
        model=str(body["model"]),
        language=str(body["language"]),
        duration_s=float(body["duration_s"]),
        segments=segments_of(body["segments"]),
    )


# The events of a transcription, by the type of their message.
TRANSCRIPT_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], TranscriptEvent]] = {
    "heard": heard_of,
    "transcribed": transcript_of,
}
