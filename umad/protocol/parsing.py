"""Makes a checked request of a body: the only place that takes input from outside apart.

`ProtocolViolation` ends the connection (the body is no message). Every other `UmadError` ends one
request and carries its `request_id` where that could be read. No other exception is raised.
Not: checking that an id is free, or that a model is known.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgpack

from umad.asker import Asker
from umad.config import KvType
from umad.constraint import Constraint
from umad.conversation import ChatMessage, ChatOptions
from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import BadRequest, ProtocolViolation, UmadError
from umad.protocol import (
    PROTOCOL_VERSION,
    adapter_fields,
    asker_fields,
    chat_fields,
    content_fields,
    embed_fields,
    fields,
    requests,
    resume_fields,
    sampling_fields,
    speech_fields,
)
from umad.protocol.bounds import check_shape
from umad.protocol.errors import wrong_version
from umad.protocol.fields import QUOTED_CHARS, FieldReader, kind_of, nearest, quoted
from umad.protocol.job_kinds import JOB_KINDS
from umad.protocol.request_kind import RequestKind
from umad.protocol.requests import Generate, Hello, Request, RequestId
from umad.request import SAMPLING_FIELDS, GenerateRequest, SamplingParams
from umad.transcription import TranscribeRequest

MAX_CAPABILITIES = 64


_SAMPLING: Mapping[str, FieldReader] = {
    **sampling_fields.READERS,
    "grammar": chat_fields.read_grammar,
    "json_schema": chat_fields.read_json_schema,
}
_PLACE: Mapping[str, FieldReader] = {
    "model": fields.read_model,
    "n": fields.read_integer,
    "lane": fields.read_name,
    "app": fields.read_name,
    "session": fields.read_name,
    "deadline_ms": fields.read_integer,
    "logits": fields.read_text,
    "keep_alive_s": fields.read_number,
    "lora": adapter_fields.read_adapters,
    "speculate": fields.read_flag,
    "resume": resume_fields.read_resume,
}


def _generate(*, id: RequestId, asker: Asker | None = None, **values: Any) -> Generate:
    sampling = {name: values.pop(name) for name in SAMPLING_FIELDS if name in values}
    chat = {name: values.pop(name) for name in chat_fields.READERS if name in values}
    constraints: dict[str, Constraint] = {
        name: values.pop(name) for name in ("grammar", "json_schema") if name in values
    }
    if "prompt" in values:
        values["prompt"], values["media"] = values["prompt"]
    request = GenerateRequest(
        sampling=SamplingParams(**sampling),
        chat=ChatOptions(**chat),
        constraint=read_one_constraint(constraints),
        **values,
    )
    request.check()
    return Generate(id=id, asker=asker, request=request)


def read_one_constraint(constraints: Mapping[str, Constraint]) -> Constraint | None:
    """The only one of the given constraints; None for none. Keys: the field of each constraint.

    Raises `BadRequest` for two.
    """
    if len(constraints) > 1:
        first, second = sorted(constraints)
        raise BadRequest(f"{first} and {second} exclude each other", field=second)
    return next(iter(constraints.values()), None)


def _render(
    *,
    id: RequestId,
    asker: Asker | None = None,
    messages: tuple[ChatMessage, ...] | None = None,
    model: str | None = None,
    **options: Any,
) -> requests.Render:
    chat = ChatOptions(**options)
    if messages is not None:
        if not messages:
            raise BadRequest("messages is empty", field="messages")
        chat.check(messages)
    return requests.Render(id=id, asker=asker, messages=messages, chat=chat, model=model)


def _cancel(*, id: RequestId, asker: Asker | None = None, **values: Any) -> requests.Cancel:
    if len(values) != 1:
        raise BadRequest("cancel names exactly one of request and own_id", field="request")
    return requests.Cancel(id=id, asker=asker, **values)


def _estimate(*, id: RequestId, asker: Asker | None = None, **values: Any) -> requests.Estimate:
    for name, (least, most) in _ESTIMATE_RANGES.items():
        value = values.get(name)
        if value is not None and not least <= value <= most:
            raise BadRequest(f"{name} must be from {least} to {most}", field=name)
    kinds = get_args(KvType)
    if values.get("kv_type", kinds[0]) not in kinds:
        raise BadRequest(f"kv_type must be one of {', '.join(kinds)}", field="kv_type")
    return requests.Estimate(id=id, asker=asker, **values)


def _forget(*, id: RequestId, asker: Asker | None = None, **values: Any) -> requests.Forget:
    if ("session" in values) == bool(values.get("all")):
        raise BadRequest("forget names a session, or has all: true", field="session")
    return requests.Forget(id=id, asker=asker, **values)


def _embed(
    *,
    id: RequestId,
    input: tuple[str | tuple[int, ...], ...],
    asker: Asker | None = None,
    **values: Any,
) -> Request:
    request = EmbedRequest(inputs=input, **values)
    request.check()
    return requests.Embed(id=id, asker=asker, request=request)


def _rerank(*, id: RequestId, asker: Asker | None = None, **values: Any) -> Request:
    request = RerankRequest(**values)
    request.check()
    return requests.Rerank(id=id, asker=asker, request=request)


def _transcribe(*, id: RequestId, asker: Asker | None = None, **values: Any) -> Request:
    request = TranscribeRequest(**values)
    request.check()
    return requests.Transcribe(id=id, asker=asker, request=request)


# As the options of the same names.
_ESTIMATE_RANGES = {"ctx_size": (256, 2**24), "max_seqs": (1, 256)}
_MODEL: Mapping[str, FieldReader] = {"model": fields.read_model}
_WORK: Mapping[str, FieldReader] = {
    **_MODEL,
    "lane": fields.read_name,
    "app": fields.read_name,
    "deadline_ms": fields.read_integer,
    "keep_alive_s": fields.read_number,
}
KINDS: Mapping[str, RequestKind] = {
    "generate": RequestKind(
        readers={
            "prompt": content_fields.read_content,
            "prompt_ids": fields.read_token_ids,
            "special": fields.read_flag,
            **_PLACE,
            **_SAMPLING,
        },
        build=_generate,
    ),
    "chat": RequestKind(
        readers={
            "messages": chat_fields.read_messages,
            **chat_fields.READERS,
            **_PLACE,
            **_SAMPLING,
        },
        required=("messages",),
        build=_generate,
    ),
    "embed": RequestKind(
        readers={
            "input": embed_fields.read_inputs,
            "dimensions": fields.read_integer,
            "normalize": fields.read_flag,
            "truncate": fields.read_flag,
            "task": fields.read_text,
            **_WORK,
        },
        required=("input",),
        build=_embed,
    ),
    "rerank": RequestKind(
        readers={
            "query": fields.read_text,
            "documents": fields.read_texts,
            "top_n": fields.read_integer,
            "truncate": fields.read_flag,
            **_WORK,
        },
        required=("query", "documents"),
        build=_rerank,
    ),
    "transcribe": RequestKind(
        readers={
            "path": fields.read_text,
            "audio": speech_fields.read_audio,
            "language": fields.read_text,
            "translate": fields.read_flag,
            "prompt": fields.read_text,
            "temperature": fields.read_number,
            "words": fields.read_flag,
            **_WORK,
        },
        build=_transcribe,
    ),
    "tokenize": RequestKind(
        readers={"text": fields.read_text, "special": fields.read_flag, **_MODEL},
        required=("text",),
        build=requests.Tokenize,
    ),
    "detokenize": RequestKind(
        readers={"ids": fields.read_token_ids, "pieces": fields.read_flag, **_MODEL},
        required=("ids",),
        build=requests.Detokenize,
    ),
    "render": RequestKind(
        readers={"messages": chat_fields.read_messages, **chat_fields.READERS, **_MODEL},
        build=_render,
    ),
    "cancel": RequestKind(
        readers={"request": fields.read_name, "own_id": fields.read_id}, build=_cancel
    ),
    "priority": RequestKind(
        readers={"target": fields.read_name, "lane": fields.read_name},
        required=("target", "lane"),
        build=requests.Priority,
    ),
    "load": RequestKind(
        readers={
            "as_request": fields.read_flag,
            "background": fields.read_flag,
            "keep_alive_s": fields.read_number,
            **_MODEL,
        },
        required=("model",),
        build=requests.Load,
    ),
    "unload": RequestKind(readers=_MODEL, required=("model",), build=requests.Unload),
    "estimate": RequestKind(
        readers={
            "ctx_size": fields.read_integer,
            "max_seqs": fields.read_integer,
            "kv_type": fields.read_text,
            **_MODEL,
        },
        required=("model",),
        build=_estimate,
    ),
    **JOB_KINDS,
    "models": RequestKind(readers={"stored": fields.read_flag}, build=requests.Models),
    "adapters": RequestKind(readers=_MODEL, build=requests.Adapters),
    "sessions": RequestKind(readers={}, build=requests.Sessions),
    "forget": RequestKind(
        readers={"session": fields.read_name, "all": fields.read_flag}, build=_forget
    ),
    "metrics": RequestKind(readers={}, build=requests.Metrics),
    "logits.attach": RequestKind(
        readers={"request": fields.read_name, "choose": fields.read_flag},
        required=("request",),
        build=requests.AttachLogits,
    ),
    "logits.choose": RequestKind(
        readers={
            "request": fields.read_name,
            "position": fields.read_count,
            "token": fields.read_token_id,
        },
        required=("request", "position", "token"),
        build=requests.ChooseToken,
    ),
    "ping": RequestKind(readers={}, build=requests.Ping),
}


def _unpack(body: bytes) -> dict[str, Any]:
    check_shape(body)
    try:
        message = msgpack.unpackb(body)
    except UnicodeDecodeError as error:
        raise ProtocolViolation("a string of the message is not UTF-8") from error
    except ValueError as error:
        # msgpack raises only ValueErrors: a key of a wrong type, a bad timestamp.
        raise ProtocolViolation("the body is not a msgpack map with string keys") from error
    if not isinstance(message, dict):
        raise ProtocolViolation(f"a message is a map, not {kind_of(message)}")
    return message


def _type_of(message: dict[str, Any]) -> str:
    name = message.pop("type", None)
    if not isinstance(name, str):
        raise ProtocolViolation(f"a message's type is a string, not {kind_of(name)}")
    return name


def _read_fields(
    type_name: str, message: Mapping[str, Any], readers: Mapping[str, FieldReader]
) -> dict[str, Any]:
    """The checked values of the given fields; null is the same as leaving a field out."""
    values = {}
    for name, value in message.items():
        reader = readers.get(name)
        if reader is None:
            raise _unknown_field(type_name, name, readers)
        if value is not None:
            values[name] = reader(name, value)
    return values


def _unknown_field(type_name: str, name: Any, readers: Iterable[str]) -> BadRequest:
    owners = [kind for kind in ("generate", "chat") if name in KINDS[kind].readers]
    if type_name in ("generate", "chat") and owners:
        hint = f"; {name} belongs to {owners[0]}"
    else:
        hint = nearest(name, readers)
    field = name[:QUOTED_CHARS] if isinstance(name, str) else None
    return BadRequest(f"{type_name} has no field {quoted(name)}{hint}", field=field)


def parse_hello(body: bytes) -> Hello:
    """Read a connection's first message.

    Raises `UnsupportedVersion` for another version of the protocol, before it checks the rest of
    the hello, and `ProtocolViolation` for everything that is not a hello.
    """
    message = _unpack(body)
    type_name = _type_of(message)
    if type_name != "hello":
        raise ProtocolViolation(f"the first message is a hello, not {quoted(type_name)}")
    version = message.pop("protocol", None)
    if type(version) is not int:
        raise ProtocolViolation("hello.protocol must be an integer", field="protocol")
    if version != PROTOCOL_VERSION:
        raise wrong_version(daemon=PROTOCOL_VERSION, client=version)
    try:
        values = _read_fields(
            "hello", message, {"client": fields.read_name, "capabilities": fields.read_texts}
        )
    except BadRequest as error:
        raise ProtocolViolation(error.message, field=error.field) from error
    if len(values.get("capabilities", ())) > MAX_CAPABILITIES:
        raise ProtocolViolation(f"at most {MAX_CAPABILITIES} capabilities", field="capabilities")
    return Hello(protocol=version, **values)


def parse_request(body: bytes) -> Request:
    """Read any message after the hello.

    Raises `ProtocolViolation` for a body that is no message, `BadRequest` for a request with an
    error in it.
    """
    message = _unpack(body)
    type_name = _type_of(message)
    if type_name == "hello":
        raise ProtocolViolation("hello comes once, at the beginning of a connection")
    if "id" not in message:
        raise BadRequest("a request has an id, an integer or a string", field="id")
    request_id = fields.read_id("id", message.pop("id"))
    try:
        return _build(type_name, request_id, message)
    except UmadError as error:
        error.request_id = request_id
        raise


def _build(type_name: str, request_id: RequestId, message: dict[str, Any]) -> Request:
    kind = KINDS.get(type_name)
    if kind is None:
        raise BadRequest(
            f"there is no request {quoted(type_name)}{nearest(type_name, KINDS)}", field="type"
        )
    # Every request may name its asker.
    said = message.pop("asker", None)
    asker = None if said is None else asker_fields.read_asker("asker", said)
    values = _read_fields(type_name, message, kind.readers)
    for name in kind.required:
        if name not in values:
            raise BadRequest(f"{type_name} needs {name}", field=name)
    return kind.build(id=request_id, asker=asker, **values)
