"""Lets a model of chats that hears sounds answer /v1/audio/transcriptions and translations.

It is asked in words, as llama-server asks (`common_chat_get_asr_prompt` in llama.cpp's
common/chat.cpp), and writes a text. It knows no times, so what needs them is refused by its field.
Not: Whisper models (`audio`).
"""

from collections.abc import AsyncGenerator
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp

from umad.content import MediaFile, PlacedFile
from umad.conversation import ChatMessage, ChatOptions
from umad.errors import BadMedia, BadRequest, UnknownModel, UnsupportedAudio
from umad.gateway import sse
from umad.gateway.answer_parts import Content
from umad.gateway.bodies.openai_audio import AudioForm
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.replies import ChatReply, Said
from umad.request import GenerateRequest, SamplingParams, Usage
from umad.service import Done
from umad.spoken_languages import FOUND_OUT, code_of, name_of

_TRANSCRIBE = "Transcribe audio to text"
_TRANSLATE = "Translate audio to English text"
_PLACE = "file"


async def hears_in_chats(call: GatewayCall, model: str | None) -> bool:
    """Whether that is a loaded model of chats that takes sounds."""
    try:
        facts = await call.row(model)
    except UnknownModel:
        return False
    return "audio" in (facts.get("media") or ())


async def heard_in_chat(call: GatewayCall, form: AudioForm, *, translate: bool) -> ASGIApp:
    """The text that such a model writes. Raises `BadRequest` for what it cannot give."""
    _check(form)
    request = GenerateRequest(
        messages=(_turn(form, translate=translate),),
        # It is to write what is said, and has nothing to think about.
        chat=ChatOptions(template_kwargs={"enable_thinking": False}),
        sampling=SamplingParams(temperature=form.temperature),
        model=form.model,
        lane=form.lane,
    )
    try:
        reply = await call.chat(request)
        if form.stream:
            return call.stream(_deltas(reply))
        (whole,) = await reply.collect()
    except BadMedia as error:
        # In the words and with the status that a Whisper model refuses it with.
        raise UnsupportedAudio(error.message, field=_PLACE) from None
    text = whole.text.strip()
    if form.response_format == "text":
        return Response(text + "\n", media_type="text/plain")
    return answer({"text": text, "usage": _usage(whole.usage)})


def _check(form: AudioForm) -> None:
    knows = f"{form.model} is a model of chats, which writes text and knows no times"
    hint = "ask a Whisper model for them, or leave it out"
    if form.granularities:
        raise BadRequest(f"{knows}; {hint}", field="timestamp_granularities")
    if form.response_format not in ("json", "text"):
        raise BadRequest(
            f"{knows}, which {form.response_format} has; {hint}", field="response_format"
        )


def _turn(form: AudioForm, *, translate: bool) -> ChatMessage:
    words = _TRANSLATE if translate else _TRANSCRIBE
    if form.language is not None and form.language != FOUND_OUT:
        code = code_of(form.language)
        words += f" (language: {form.language if code is None else name_of(code)})"
    if form.prompt:
        words += f". Names and spellings that occur in it: {form.prompt}"
    recording = MediaFile(kind="audio", data=form.file, place=_PLACE)
    return ChatMessage(
        role="user", content=words, media=(PlacedFile(at=len(words), file=recording),)
    )


async def _deltas(reply: ChatReply) -> AsyncGenerator[bytes, None]:
    text = ""
    usage: Usage | None = None
    async for event in reply:
        if isinstance(event, Said):
            added = "".join(one.text for one in event.parts if isinstance(one, Content))
            added = added if text else added.lstrip()
            if added:
                text += added
                yield sse.data({"type": "transcript.text.delta", "delta": added})
        elif isinstance(event, Done):
            usage = event.usage
    done: dict[str, Any] = {"type": "transcript.text.done", "text": text}
    yield sse.data(done if usage is None else done | {"usage": _usage(usage)})


def _usage(usage: Usage) -> dict[str, Any]:
    """In tokens, as OpenAI counts its newer models' work."""
    return {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
