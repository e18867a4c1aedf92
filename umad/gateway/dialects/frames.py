"""Serves the socket's own requests over HTTP: POST /frames.

The body is the body of one frame of the socket (`umad.protocol`), and the answer is frames as on
the socket: the events of a generation or a transcription, else one result. So a client of the
socket has all of it over HTTP, and it loses nothing between two kinds of messages
(`umad.client.remote`).

Requests that belong to one machine or one connection are refused: jobs, loads by hand, logits,
`cancel` (a client that closes the connection has cancelled), paths of files.
A request's `asker` and `app` count where a team's front asks (`umad.gateway.door.entrance`), which
has looked at keys before. All others are their own askers.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from starlette.types import ASGIApp

from umad.errors import BadRequest, UmadError, Unsupported
from umad.gateway.bodies.errors import OpenAIError
from umad.gateway.dialect import Dialect
from umad.gateway.door.entrance import FRONT
from umad.gateway.door.quotas import BYTES_PER_TOKEN
from umad.gateway.endpoint import Endpoint
from umad.gateway.errors import Problem
from umad.gateway.gateway_call import GatewayCall
from umad.gateway.generation import Shortcut
from umad.gateway.metering import embed_estimate, tokenized_share
from umad.protocol import messages
from umad.protocol.frames import encode_frame
from umad.protocol.messages import Request
from umad.protocol.requests import RequestId
from umad.protocol.speech_fields import encode_transcript_event
from umad.service import Done, Event, Failed, Take, Tokens

PATH = "/frames"
MEDIA_TYPE = "application/vnd.umad.frames"
# Requests that any machine with the model answers alike.
_ANYWHERE = (
    messages.Embed,
    messages.Rerank,
    messages.Tokenize,
    messages.Detokenize,
    messages.Render,
    messages.Models,
    messages.Adapters,
    messages.Forget,
    messages.Ping,
)


class _Tap:
    """Where tokens may be taken before they come out of the iterator."""

    def __init__(self) -> None:
        self.take: Take | None = None

    def __call__(self, event: Tokens) -> bool:
        return self.take is not None and self.take(event)


async def _frames(call: GatewayCall) -> ASGIApp:
    try:
        message = messages.parse_request(call.raw)
    except UmadError as error:
        # The connection is HTTP's, so no request ends it.
        raise BadRequest(error.message, field=error.field) from None
    if isinstance(message, messages.Load) and not message.as_request:
        raise Unsupported("a model is loaded by hand at its machine", field="type")
    if _is_front(call):
        said = message.asker
        asker = call.caller.asker if said is None else replace(said, role="user")
        call.service = call.shared.service.on_behalf(asker)
    message = replace(message, asker=None)
    if isinstance(message, messages.Generate):
        return _generation(call, message)
    if isinstance(message, messages.Transcribe):
        if message.request.path is not None:
            raise BadRequest("send the recording, not a path of another machine", field="path")
        return call.stream(_transcript(call, message), media_type=MEDIA_TYPE)
    if not isinstance(message, (*_ANYWHERE, messages.Load)):
        raise Unsupported("this request is for one machine; ask its own socket", field="type")
    if isinstance(message, messages.Embed | messages.Rerank):
        call.pay(embed_estimate(message.request))
    else:
        call.pay(tokenized_share(len(call.raw) // BYTES_PER_TOKEN))
    return call.stream(_answer(call, message), media_type=MEDIA_TYPE)


def _is_front(call: GatewayCall) -> bool:
    """Whether a team's front asks. A file of keys may call somebody "front", too, so the door's own
    value says it and not the name.
    """
    return call.caller.asker is FRONT.asker


def _generation(call: GatewayCall, message: messages.Generate) -> ASGIApp:
    request = message.request
    if request.logits is not None:
        raise Unsupported("logits are in the memory of one machine", field="logits")
    if not _is_front(call):
        request = replace(request, app=call.caller.app)
    tap = _Tap()
    service = call.listened(request)
    events = cast(AsyncGenerator[Event, None], service.events(request, take=tap))
    pieces = _events(call, message.id, events)

    def piece_of(event: Tokens) -> bytes:
        return _frame(message.id, event)

    return call.stream(
        pieces, media_type=MEDIA_TYPE, shortcut=Shortcut(generation=tap, piece_of=piece_of)
    )


async def _events(
    call: GatewayCall, id: RequestId, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                call.count(event)
            yield _frame(id, event)


async def _transcript(
    call: GatewayCall, message: messages.Transcribe
) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(call.service.hear(message.request)) as events:
            async for event in events:
                yield encode_frame(encode_transcript_event(message.id, event))
    except UmadError as error:
        yield encode_frame(messages.encode_error(error, message.id))


async def _answer(call: GatewayCall, message: Request) -> AsyncGenerator[bytes, None]:
    """One frame."""
    try:
        value = await call.service.answer_of(message)
    except UmadError as error:
        yield encode_frame(messages.encode_error(error, message.id))
    else:
        yield encode_frame(messages.encode_result(message.id, value))


def _frame(id: RequestId, event: Event) -> bytes:
    return encode_frame(messages.encode_event(id, event))


def _error(problem: Problem) -> dict[str, object]:
    """OpenAI's shape with umad's own codes."""
    return {
        "error": {
            "message": problem.message,
            "type": "umad_error",
            "param": problem.field,
            "code": problem.code,
            "request_id": problem.request_id,
        }
    }


def _stream_error(problem: Problem) -> bytes:
    """It ends the one request of the connection."""
    failed = Failed(
        code=problem.code,
        message=problem.message,
        field=problem.field,
        retryable=problem.retry_after_s is not None,
    )
    return encode_frame(messages.encode_failed(1, failed))


FRAMES = Dialect(
    name="frames", error=_error, problem=OpenAIError, stream_error=_stream_error, ping=None
)
ENDPOINTS = (
    Endpoint(
        method="POST",
        path=PATH,
        handle=_frames,
        dialect=FRAMES,
        summary="A request of the socket",
        is_work=True,
        types=(MEDIA_TYPE,),
        streams=MEDIA_TYPE,
    ),
)
