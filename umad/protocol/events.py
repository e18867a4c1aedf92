"""Encodes the daemon's messages, and parses them in the client.

Not: deciding when to send one. Hot: one tokens message and one `parse_event` for every token frame.
The engine packs the new part (`tokens_tail`), the daemon puts `tokens_head` before it.
On the wire a token's log-probability is [logprob, [[id, logprob], …]], in the order of `ids`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from umad.errors import ProtocolViolation, UmadError
from umad.protocol import PROTOCOL_VERSION
from umad.protocol.errors import failed_of
from umad.protocol.requests import RequestId
from umad.protocol.speech_fields import TRANSCRIPT_PARSERS
from umad.request import Timings, Usage
from umad.service import (
    Accepted,
    Done,
    Event,
    Failed,
    Loading,
    Logits,
    Progress,
    PromptLogprobs,
    TokenLogprob,
    Tokens,
)
from umad.transcription import TranscriptEvent

# (logprob, alternatives) for each id, as `umad.protocol.link.Emitted` has them.
WireLogprobs = Sequence[tuple[float, Sequence[tuple[int, float]]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The daemon's hello."""

    protocol: int = PROTOCOL_VERSION
    server: str = ""
    capabilities: tuple[str, ...] = ()
    # The longest body the daemon takes.
    frame_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to a request that has one answer."""

    value: Any


Message = Event | TranscriptEvent | Welcome | Result


# The msgpack byte for a map of five. The keys of `tokens_tail` continue a map that has begun.
_MAP_OF_5 = b"\x85"
_TEXT, _ONE_ID = b"\xa4text", b"\xa3ids\x91"
# One packer for all small values, because making a packer costs more than packing them. Safe
# between threads: a value is packed under the GIL in one call.
_pack: Callable[[Any], bytes] = msgpack.Packer().pack


def _packed(body: Mapping[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(body)
    return packed


# -- daemon: values to bodies --------------------------------------------------------------------


def encode_welcome(welcome: Welcome) -> bytes:
    """Body of the daemon's first frame."""
    return _packed(
        {
            "type": "hello",
            "protocol": welcome.protocol,
            "server": welcome.server,
            "capabilities": welcome.capabilities,
            "frame_bytes": welcome.frame_bytes,
        }
    )


def encode_tokens(
    id: RequestId, index: int, text: str, ids: Sequence[int], logprobs: WireLogprobs | None = None
) -> bytes:
    """Body of a tokens message. ids and logprobs: lists or tuples."""
    body: dict[str, Any] = {"type": "tokens", "id": id, "index": index, "text": text, "ids": ids}
    if logprobs is not None:
        body["logprobs"] = logprobs
    return _packed(body)


def tokens_head(id: RequestId, index: int) -> bytes:
    """The common beginning of a completion's tokens messages without logprobs."""
    return _MAP_OF_5 + b"".join(
        [msgpack.packb(part) for part in ("type", "tokens", "id", id, "index", index)]
    )


def tokens_tail(text: str, token: int) -> bytes:
    """The rest of such a body: one token and the text it added."""
    return _TEXT + _pack(text) + _ONE_ID + _pack(token)


def parse_tokens_tail(tail: bytes) -> tuple[str, tuple[int, ...]]:
    """(text, ids) of a `tokens_tail`."""
    body = msgpack.unpackb(b"\x82" + tail, use_list=False)
    return body["text"], body["ids"]


def encode_prompt_logprobs(
    id: RequestId,
    index: int,
    *,
    start: int,
    before: int,
    ids: Sequence[int],
    logprobs: WireLogprobs,
) -> bytes:
    """Body of a message with log-probabilities of the prompt's tokens."""
    return _packed(
        {
            "type": "prompt_logprobs",
            "id": id,
            "index": index,
            "start": start,
            "before": before,
            "ids": ids,
            "logprobs": logprobs,
        }
    )


def encode_logits(id: RequestId, index: int, position: int | None) -> bytes:
    """Body of a logits message."""
    return _packed({"type": "logits", "id": id, "index": index, "position": position})


def encode_result(id: RequestId, value: Any) -> bytes:
    """Body of the answer to a request with one answer. value: only types that msgpack knows."""
    return _packed({"type": "result", "id": id, "value": value})


def encode_error(error: UmadError, id: RequestId | None = None) -> bytes:
    """Body of an error message for `id`, or else for the request the error itself names.

    With neither of them the error concerns the whole connection.
    """
    return encode_failed(error.request_id if id is None else id, failed_of(error))


def encode_failed(id: RequestId | None, failed: Failed) -> bytes:
    """Body of an error message, from its event."""
    return _packed(
        {
            "type": "error",
            "id": id,
            "code": failed.code,
            "message": failed.message,
            "field": failed.field,
            "retryable": failed.retryable,
        }
    )


def encode_event(id: RequestId, event: Event) -> bytes:
    """Body of any event of a generate or chat request."""
    match event:
        case Tokens():
            logprobs = None
            if event.logprobs is not None:
                logprobs = [(one.logprob, one.top) for one in event.logprobs]
            return encode_tokens(id, event.index, event.text, event.ids, logprobs)
        case Progress():
            return _packed(
                {
                    "type": "progress",
                    "id": id,
                    "index": event.index,
                    "done_tokens": event.done_tokens,
                    "total_tokens": event.total_tokens,
                }
            )
        case Loading():
            return _packed(
                {
                    "type": "loading",
                    "id": id,
                    "model": event.model,
                    "state": event.state,
                    "share": event.share,
                    "why": event.why,
                    "fingerprint": event.fingerprint,
                }
            )
        case PromptLogprobs():
            return encode_prompt_logprobs(
                id,
                event.index,
                start=event.start,
                before=event.before,
                ids=[one.id for one in event.tokens],
                logprobs=[(one.logprob, one.top) for one in event.tokens],
            )
        case Logits():
            return encode_logits(id, event.index, event.position)
        case Accepted():
            return _packed(
                {
                    "type": "accepted",
                    "id": id,
                    "request": event.request,
                    "model": event.model,
                    "lane": event.lane,
                    "queue_position": event.queue_position,
                    "seed": event.seed,
                    "max_tokens": event.max_tokens,
                    "fingerprint": event.fingerprint,
                }
            )
        case Done():
            return _packed(
                {
                    "type": "done",
                    "id": id,
                    "index": event.index,
                    "finish_reason": event.finish_reason,
                    "stop": event.stop,
                    "usage": {
                        "prompt_tokens": event.usage.prompt_tokens,
                        "cached_tokens": event.usage.cached_tokens,
                        "completion_tokens": event.usage.completion_tokens,
                    },
                    "timings": {
                        "queued_ms": event.timings.queued_ms,
                        "first_token_ms": event.timings.first_token_ms,
                        "total_ms": event.timings.total_ms,
                    },
                }
            )
        case Failed():
            return encode_failed(id, event)


# -- client: bodies to values --------------------------------------------------------------------


def _logprobs(ids: Iterable[int], wire: Iterable[Any]) -> tuple[TokenLogprob, ...]:
    return tuple(
        [
            TokenLogprob(id=token, logprob=logprob, top=tuple([(i, p) for i, p in top]))
            for token, (logprob, top) in zip(ids, wire, strict=True)
        ]
    )


def _tokens(body: Mapping[str, Any]) -> Tokens:
    ids = tuple(body["ids"])
    if type(body["text"]) is not str:
        raise TypeError("text")
    wire = body.get("logprobs")
    return Tokens(
        index=body["index"],
        text=body["text"],
        ids=ids,
        logprobs=None if wire is None else _logprobs(ids, wire),
    )


def _accepted(body: Mapping[str, Any]) -> Accepted:
    return Accepted(
        request=body["request"],
        model=body["model"],
        lane=body["lane"],
        queue_position=body["queue_position"],
        seed=body.get("seed"),
        max_tokens=body.get("max_tokens"),
        fingerprint=str(body.get("fingerprint", "")),
    )


def _progress(body: Mapping[str, Any]) -> Progress:
    return Progress(
        index=body["index"], done_tokens=body["done_tokens"], total_tokens=body["total_tokens"]
    )


def _loading(body: Mapping[str, Any]) -> Loading:
    share = body.get("share")
    return Loading(
        model=str(body["model"]),
        state=str(body["state"]),
        share=None if share is None else float(share),
        why=str(body.get("why", "")),
        fingerprint=str(body.get("fingerprint", "")),
    )


def _prompt_logprobs(body: Mapping[str, Any]) -> PromptLogprobs:
    return PromptLogprobs(
        index=body["index"],
        start=body["start"],
        before=body["before"],
        tokens=_logprobs(body["ids"], body["logprobs"]),
    )


def _logits(body: Mapping[str, Any]) -> Logits:
    return Logits(index=body["index"], position=body["position"])


def _done(body: Mapping[str, Any]) -> Done:
    usage, timings = body["usage"], body["timings"]
    return Done(
        index=body["index"],
        finish_reason=body["finish_reason"],
        stop=body.get("stop"),
        usage=Usage(
            prompt_tokens=usage["prompt_tokens"],
            cached_tokens=usage["cached_tokens"],
            completion_tokens=usage["completion_tokens"],
        ),
        timings=Timings(
            queued_ms=timings["queued_ms"],
            first_token_ms=timings["first_token_ms"],
            total_ms=timings["total_ms"],
        ),
    )


def _failed(body: Mapping[str, Any]) -> Failed:
    return Failed(
        code=str(body["code"]),
        message=str(body["message"]),
        field=None if body.get("field") is None else str(body["field"]),
        retryable=bool(body["retryable"]),
    )


def _welcome(body: Mapping[str, Any]) -> Welcome:
    return Welcome(
        protocol=body["protocol"],
        server=body["server"],
        capabilities=tuple(body["capabilities"]),
        frame_bytes=body["frame_bytes"],
    )


def _result(body: Mapping[str, Any]) -> Result:
    return Result(value=body["value"])


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Message]] = {
    "tokens": _tokens,
    "logits": _logits,
    "prompt_logprobs": _prompt_logprobs,
    "accepted": _accepted,
    "loading": _loading,
    "progress": _progress,
    "done": _done,
    "error": _failed,
    "result": _result,
    "hello": _welcome,
    **TRANSCRIPT_PARSERS,
}


def parse_event(body: bytes) -> tuple[RequestId | None, Message]:
    """(request id, message) of a body from the daemon; the id is None in a hello.

    The daemon is trusted but may be of another version: unknown fields are ignored. Raises
    `ProtocolViolation` for everything that is no message.
    """
    try:
        message = msgpack.unpackb(body)
        request_id = message.get("id")
        # A client uses the id as a key to find its requests.
        hash(request_id)
        return request_id, _PARSERS[message["type"]](message)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolViolation(
            f"the daemon sent no message of version {PROTOCOL_VERSION} of the protocol"
        ) from error
