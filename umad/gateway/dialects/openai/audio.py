"""Serves POST /v1/audio/transcriptions and /v1/audio/translations.

A stream sends `transcript.text.delta` behind every window of the recording and
`transcript.text.done` at the end. The other answers wait for the whole text.
"""

import zlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp

from umad.errors import ProtocolViolation, Unsupported
from umad.gateway import sse
from umad.gateway.bodies.openai_audio import SCHEMA, AudioForm, read_audio_form
from umad.gateway.dialects.openai.audio_chat import heard_in_chat, hears_in_chats
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.recordings import open_hearing
from umad.spoken_languages import name_of
from umad.subtitles import srt, vtt
from umad.transcription import Heard, Segment, TranscribeRequest, Transcript, TranscriptEvent


async def _transcriptions(call: GatewayCall) -> ASGIApp:
    return await _heard(call, translate=False)


async def _translations(call: GatewayCall) -> ASGIApp:
    return await _heard(call, translate=True)


async def _heard(call: GatewayCall, *, translate: bool) -> ASGIApp:
    form = read_audio_form(call.request.headers.get("content-type", ""), call.raw)
    if form.model is not None and await hears_in_chats(call, form.model):
        return await heard_in_chat(call, form, translate=translate)
    request = TranscribeRequest(
        audio=form.file,
        model=form.model,
        language=form.language,
        translate=translate,
        prompt=form.prompt,
        temperature=form.temperature,
        words="word" in form.granularities,
        lane=form.lane,
    )
    # Until the first window is heard, an error has a status.
    try:
        first, rest = await open_hearing(call, request)
    except Unsupported:
        # A model that was loaded for this request has told only now what it takes.
        if form.model is None or not await hears_in_chats(call, form.model):
            raise
        return await heard_in_chat(call, form, translate=translate)
    if form.stream:
        return call.stream(_deltas(first, rest))
    last = first
    async for event in rest:
        last = event
    if not isinstance(last, Transcript):
        raise ProtocolViolation("a transcription ended without its text")
    return _whole(form, last, translate=translate)


async def _deltas(
    first: TranscriptEvent, rest: AsyncGenerator[TranscriptEvent, None]
) -> AsyncGenerator[bytes, None]:
    began = False
    event = first
    while isinstance(event, Heard):
        text = "".join(one.text for one in event.segments)
        text = text if began else text.lstrip()
        if text:
            began = True
            yield sse.data({"type": "transcript.text.delta", "delta": text})
        event = await anext(rest)
    done = {"type": "transcript.text.done", "text": event.text, "usage": _usage(event)}
    yield sse.data(done)


def _whole(form: AudioForm, found: Transcript, *, translate: bool) -> Response:
    match form.response_format:
        case "json":
            return answer({"text": found.text, "usage": _usage(found)})
        case "text":
            return Response(found.text + "\n", media_type="text/plain")
        case "srt":
            return Response(srt(found.segments), media_type="text/plain")
        case "vtt":
            return Response(vtt(found.segments), media_type="text/vtt")
        case "verbose_json":
            return answer(_verbose(form, found, translate=translate))


def _verbose(form: AudioForm, found: Transcript, *, translate: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "task": "translate" if translate else "transcribe",
        # OpenAI answers with the name, though it asks for a code.
        "language": name_of(found.language),
        "duration": found.duration_s,
        "text": found.text,
    }
    if form.granularities != {"word"}:
        value["segments"] = _segments(form, found.segments)
    if "word" in form.granularities:
        value["words"] = [
            {"word": one.text, "start": one.start_s, "end": one.end_s} for one in found.words
        ]
    return value | {"usage": _usage(found)}


def _segments(form: AudioForm, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    return [
        {
            "id": at,
            "seek": round(one.start_s * 100),
            "start": one.start_s,
            "end": one.end_s,
            "text": one.text,
            "tokens": list(one.tokens),
            "temperature": form.temperature,
            "avg_logprob": one.logprob,
            "compression_ratio": _compression(one.text),
        }
        for at, one in enumerate(segments)
    ]


def _compression(text: str) -> float:
    """How much shorter the text becomes; a model that repeats itself has a high one."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _usage(found: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(found.duration_s)}


ENDPOINTS = tuple(
    Endpoint(
        method="POST",
        path=path,
        handle=handle,
        dialect=OPENAI,
        summary=summary,
        form=SCHEMA,
        types=("application/json", "text/plain", "text/vtt"),
        streams=sse.EVENTS,
        is_work=True,
    )
    for path, handle, summary in (
        ("/v1/audio/transcriptions", _transcriptions, "Turn speech into text"),
        ("/v1/audio/translations", _translations, "Turn speech into English text"),
    )
)
