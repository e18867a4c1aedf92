"""Makes the request of a transcription from what a program says, for both clients. Pure but for
the working folder, which a relative path is of.
"""

import os
from collections.abc import Sequence
from typing import TypedDict

from umad.client.keywords import given_of
from umad.client.verbs import check_whole
from umad.errors import ProtocolViolation
from umad.transcription import TranscribeRequest, Transcript, TranscriptEvent


class TranscribeKeywords(TypedDict, total=False):
    """The keywords of a transcription. The fields of `TranscribeRequest` explain them."""

    model: str | None
    language: str | None
    translate: bool | None
    prompt: str | None
    temperature: float | None
    words: bool | None
    lane: str | None
    app: str | None
    deadline_ms: int | None
    keep_alive_s: float | None


# A file's path, its bytes, or a whole request.
Recording = str | os.PathLike[str] | bytes | TranscribeRequest


def speech_request(
    verb: str, recording: Recording, keywords: TranscribeKeywords
) -> TranscribeRequest:
    """The request that `client.hear` or `client.transcribe` means. Raises `BadRequest`."""
    given = given_of(verb, keywords, TranscribeKeywords)
    if isinstance(recording, TranscribeRequest):
        check_whole(verb, recording, given)
        request = recording
    elif isinstance(recording, bytes):
        request = TranscribeRequest(audio=recording, **given)
    else:
        # The daemon works in another folder.
        request = TranscribeRequest(path=os.path.abspath(os.fspath(recording)), **given)
    request.check()
    return request


def last_of(events: Sequence[TranscriptEvent]) -> Transcript:
    """The transcript behind the events of one request."""
    last = events[-1] if events else None
    if not isinstance(last, Transcript):
        raise ProtocolViolation("the daemon ended a transcription without its text")
    return last
