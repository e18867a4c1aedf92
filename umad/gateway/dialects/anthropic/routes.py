"""Serves POST /v1/messages and /v1/messages/count_tokens.

Not: the translation of a body (`conversation`) or of an answer (`stream`). Every `anthropic-beta`
and `anthropic-version` header is accepted. The body models accept or ignore the fields that such a
version adds.
"""

from collections.abc import AsyncGenerator, AsyncIterator

from starlette.types import ASGIApp

from umad.errors import ConnectionLost
from umad.gateway import sse
from umad.gateway.answer_parts import (
    AnswerPart,
    CallArguments,
    CallBegan,
    CallEnded,
    Content,
    Reasoning,
)
from umad.gateway.bodies.answers import AnthropicMessage, TokenCount
from umad.gateway.bodies.anthropic import CountTokensBody, MessagesBody
from umad.gateway.dialects.anthropic.conversation import counting_request, request_of
from umad.gateway.dialects.anthropic.errors import ANTHROPIC
from umad.gateway.dialects.anthropic.stream import (
    MessageEvent,
    MessageStream,
    StopReason,
    call_id,
    message_of,
)
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.replies import ChatReply, Said
from umad.service import Done, Progress

# Sent while the prompt is read: agents give up on a silent stream.
PING: MessageEvent = {"type": "ping"}
# This dialect's names for umad's fields, for errors.
_NAMES = {
    "tool_name": "tool_choice.name",
}


async def _messages(call: GatewayCall) -> ASGIApp:
    body = call.body(MessagesBody)
    reply = await call.chat(request_of(body))
    stream = MessageStream(id_=f"msg_{call.id}", model=body.model)
    events = _events(stream, reply)
    if body.stream:

        def said(_: int, parts: tuple[AnswerPart, ...]) -> bytes:
            return b"".join(map(_piece, _said(stream, parts)))

        return call.stream(_pieces(events), shortcut=reply.shortcut(said))
    return answer(dict(message_of([event async for event in events])))


async def _pieces(events: AsyncIterator[MessageEvent]) -> AsyncGenerator[bytes, None]:
    async for event in events:
        yield _piece(event)


def _piece(event: MessageEvent) -> bytes:
    return sse.event(event["type"], event)


async def _events(stream: MessageStream, reply: ChatReply) -> AsyncGenerator[MessageEvent, None]:
    """The events of the whole answer."""
    for event in stream.start():
        yield event
    async for heard in reply:
        if isinstance(heard, Said):
            for event in _said(stream, heard.parts):
                yield event
        elif isinstance(heard, Progress):
            yield PING
        else:
            reason = _reason(heard, has_calls=reply.has_calls[0])
            for event in stream.end(reason=reason, stop=heard.stop, usage=heard.usage):
                yield event


def _said(stream: MessageStream, parts: tuple[AnswerPart, ...]) -> list[MessageEvent]:
    return [event for part in parts for event in _told(stream, part)]


def _told(stream: MessageStream, part: AnswerPart) -> list[MessageEvent]:
    match part:
        case Content(text):
            return stream.text(text)
        case Reasoning(text):
            return stream.thinking(text)
        case CallBegan(_, name):
            return stream.tool(id_=call_id(), name=name)
        case CallArguments(_, text):
            return stream.arguments(text)
        case CallEnded():
            return []


def _reason(done: Done, *, has_calls: bool) -> StopReason:
    if done.finish_reason == "length":
        return "max_tokens"
    if has_calls:
        return "tool_use"
    return "end_turn" if done.stop is None else "stop_sequence"


async def _count_tokens(call: GatewayCall) -> ASGIApp:
    """Count the prompt's tokens in the engine, which alone has the template and the vocabulary. The
    generation is cancelled as soon as it has told its prompt's length. The part of the prompt that
    it has read by then stays in the cache for the request that usually follows. With images the
    prompt is only rendered: their sizes tell how many tokens they are, and no pixel is looked at.
    """
    body = call.body(CountTokensBody)
    request = counting_request(body)
    if request.placed:
        return answer({"input_tokens": len((await call.render(request)).ids)})
    generation = await call.open(request)
    async for event in generation:
        if isinstance(event, Progress):
            return answer({"input_tokens": event.total_tokens})
        if isinstance(event, Done):
            return answer({"input_tokens": event.usage.prompt_tokens})
    raise ConnectionLost("the daemon ended a generation without a word")


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/messages",
        handle=_messages,
        dialect=ANTHROPIC,
        summary="Answer a conversation, as Anthropic does",
        answer=AnthropicMessage,
        streams=sse.EVENTS,
        body=MessagesBody,
        is_work=True,
        names=_NAMES,
    ),
    Endpoint(
        method="POST",
        path="/v1/messages/count_tokens",
        handle=_count_tokens,
        dialect=ANTHROPIC,
        summary="Count the tokens of a conversation",
        answer=TokenCount,
        body=CountTokensBody,
        is_work=True,
    ),
)
