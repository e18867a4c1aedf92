"""Describes a client's messages as values, and encodes them.

Not: parsing input from outside (`umad.protocol.parsing`).
The client chooses a request's `id`; it is unique among the live requests of its connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgpack

from umad.conversation import ChatMessage, ChatOptions
from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import BadRequest
from umad.protocol import PROTOCOL_VERSION
from umad.protocol.adapter_fields import write_adapters
from umad.protocol.asker_fields import write_asker
from umad.protocol.asking import Asking as Asking
from umad.protocol.asking import RequestId as RequestId
from umad.protocol.chat_fields import write_constraint, write_json, write_tools, write_turn
from umad.protocol.content_fields import write_content
from umad.protocol.embed_fields import write_embed, write_rerank
from umad.protocol.job_requests import JOB_TYPE_NAMES, JobRequest
from umad.protocol.job_requests import CancelJob as CancelJob
from umad.protocol.job_requests import CopyModel as CopyModel
from umad.protocol.job_requests import GetJob as GetJob
from umad.protocol.job_requests import Jobs as Jobs
from umad.protocol.job_requests import Pull as Pull
from umad.protocol.job_requests import Quantize as Quantize
from umad.protocol.job_requests import RemoveModel as RemoveModel
from umad.protocol.job_requests import SavePreset as SavePreset
from umad.protocol.resume_fields import write_resume
from umad.protocol.speech_fields import write_transcribe
from umad.request import SAMPLING_FIELDS, GenerateRequest, SamplingParams
from umad.transcription import TranscribeRequest

# The capability of a client that wants to be told how a model is loaded that its request waits for.
LOADING = "loading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message on every connection."""

    protocol: int = PROTOCOL_VERSION
    # A name for logs.
    client: str = ""
    # `LOADING` is the only one that the daemon knows; others mean nothing to it.
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Asking):
    """Run `request`. On the wire it is `generate` or `chat`, by its content. Events follow."""

    request: GenerateRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed(Asking):
    """Result: a vector for each input (`umad.protocol.embed_fields`)."""

    request: EmbedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerank(Asking):
    """Result: the documents in order (`umad.protocol.embed_fields`)."""

    request: RerankRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribe(Asking):
    """Turn a recording into text. Events follow: `heard`, then `transcribed`."""

    request: TranscribeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenize(Asking):
    """Result: the token ids of `text`."""

    text: str
    model: str | None = None
    # Recognise control tokens in it.
    special: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Detokenize(Asking):
    """Result: the text of `ids`."""

    ids: tuple[int, ...]
    model: str | None = None
    # The result is the bytes of each token instead, which may be part of a character.
    pieces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Render(Asking):
    """Result: {template, text, ids}: the model's chat template, and the prompt it makes of
    `messages`.
    """

    # None asks for the template alone.
    messages: tuple[ChatMessage, ...] | None = None
    chat: ChatOptions = field(default_factory=ChatOptions)
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Asking):
    """End a request. Exactly one of the two fields is set. Result: null."""

    # The daemon's id (`Accepted.request`), of any connection.
    request: str | None = None
    # The id this connection gave it, which is known before `Accepted` arrives.
    own_id: RequestId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority(Asking):
    """Move the work of a session or of a request (by the daemon's id) to `lane`.

    Result: how many requests moved.
    """

    target: str
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Asking):
    """Load a model. Result, once it is ready: its facts."""

    model: str
    # The result comes at once, and is the job of the load (`umad.jobs`).
    background: bool | None = None
    # Only a model that a request for tokens would load, by a name that it would be loaded by.
    as_request: bool | None = None
    # How long it stays after its last use; negative for ever. Only an admin's counts.
    keep_alive_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload(Asking):
    """Stop a model's engine. Result: null."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(Asking):
    """Reckon the memory of a model without loading it. Result: a map of its parts
    (`umad.estimate`). What is None is as the daemon's settings have it.
    """

    model: str
    ctx_size: int | None = None
    max_seqs: int | None = None
    kv_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Models(Asking):
    """Result: every loaded or loading model with its facts."""

    # An admin's list also has the models that requests would load, in the state "unloaded".
    stored: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters(Asking):
    """Result: every LoRA adapter of this machine that was made for the architecture of `model`, in
    an order that stays while the daemon runs.
    """

    # None means the daemon's default.
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions(Asking):
    """Result: every live request and pinned session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Asking):
    """Delete what is kept of one session, or of all: cells, host memory, files. One field is set.

    Result: {sessions, in_use}: names of those deleted now, and of those deleted when their requests
    end.
    """

    session: str | None = None
    all: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Asking):
    """Result: the scorecard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachLogits(Asking):
    """Read a live request's logits. Only for the process that made the request.

    Result: the ring's layout (`umad.sampling.ring`); its descriptor comes beside it (SCM_RIGHTS).
    """

    # The daemon's id of the request.
    request: str
    # From the next row on the client chooses the tokens.
    choose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseToken(Asking):
    """Make `token` number `position` of `request`.

    Result: null, once the choice has been passed on. An invalid choice ends its request with an
    error.
    """

    request: str
    position: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Asking):
    """Result: null."""


Request = (
    Generate
    | Embed
    | Rerank
    | Transcribe
    | Tokenize
    | Detokenize
    | Render
    | Cancel
    | Priority
    | Load
    | Unload
    | Estimate
    | JobRequest
    | Models
    | Adapters
    | Sessions
    | Forget
    | Metrics
    | AttachLogits
    | ChooseToken
    | Ping
)

# These are answered before the next request is read, so none of them is ever live. A client with as
# many live requests as it may have can still cancel one.
AT_ONCE = (Cancel, Priority, Models, Sessions, ChooseToken, Ping)

TYPE_NAMES: dict[type, str] = {
    Hello: "hello",
    Tokenize: "tokenize",
    Detokenize: "detokenize",
    Render: "render",
    Cancel: "cancel",
    Priority: "priority",
    Load: "load",
    Unload: "unload",
    Estimate: "estimate",
    **JOB_TYPE_NAMES,
    Models: "models",
    Adapters: "adapters",
    Sessions: "sessions",
    Forget: "forget",
    Metrics: "metrics",
    AttachLogits: "logits.attach",
    ChooseToken: "logits.choose",
    Ping: "ping",
}
_CHAT_FIELDS = (
    "tool_choice",
    "tool_name",
    "continue_final",
    "markup",
    "parallel_tool_calls",
    "fenced_calls",
    "thinking_tokens",
    "context",
)
_DEFAULT_CHAT = ChatOptions()
_PLACE_FIELDS = (
    "model",
    "n",
    "lane",
    "app",
    "session",
    "deadline_ms",
    "logits",
    "keep_alive_s",
    "speculate",
)
_DEFAULT_SAMPLING = SamplingParams()
_DEFAULT_REQUEST = GenerateRequest()


def _changed(value: Any, default: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields that differ from the default; the daemon's defaults hold for the rest."""
    return {
        name: given for name in names if (given := getattr(value, name)) != getattr(default, name)
    }


def _generate_fields(message: Generate) -> dict[str, Any]:
    request = message.request
    kind = "generate" if request.messages is None else "chat"
    body: dict[str, Any] = {"type": kind, "id": message.id}
    if request.prompt is not None:
        body["prompt"] = write_content(request.prompt, request.media)
        if not request.special:
            body["special"] = False
    if request.prompt_ids is not None:
        body["prompt_ids"] = request.prompt_ids
    if request.messages is not None:
        body |= _chat_fields(request.messages, request.chat)
    if request.constraint is not None:
        body |= write_constraint(request.constraint)
    if request.lora is not None:
        body["lora"] = write_adapters(request.lora)
    if request.resume is not None:
        body["resume"] = write_resume(request.resume)
    body |= _changed(request, _DEFAULT_REQUEST, _PLACE_FIELDS)
    body |= _changed(request.sampling, _DEFAULT_SAMPLING, SAMPLING_FIELDS)
    return body


def _chat_fields(turns: tuple[ChatMessage, ...], chat: ChatOptions) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [write_turn(turn) for turn in turns]}
    body |= _changed(chat, _DEFAULT_CHAT, _CHAT_FIELDS)
    if chat.tools:
        body["tools"] = write_tools(chat.tools)
    if chat.template_kwargs:
        body["template_kwargs"] = write_json(chat.template_kwargs, "template_kwargs")
    return body


def _render_fields(message: Render) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "render", "id": message.id}
    if message.model is not None:
        body["model"] = message.model
    if message.messages is not None:
        body |= _chat_fields(message.messages, message.chat)
    return body


def _fields(message: Hello | Request) -> Mapping[str, Any]:
    if isinstance(message, Generate):
        body = _generate_fields(message)
    elif isinstance(message, Embed):
        body = {"type": "embed", "id": message.id, **write_embed(message.request)}
    elif isinstance(message, Rerank):
        body = {"type": "rerank", "id": message.id, **write_rerank(message.request)}
    elif isinstance(message, Transcribe):
        body = {"type": "transcribe", "id": message.id, **write_transcribe(message.request)}
    elif isinstance(message, Render):
        body = _render_fields(message)
    else:
        body = {"type": TYPE_NAMES[type(message)]}
        for one in fields(message):
            value = getattr(message, one.name)
            if value is not None and one.name != "asker":
                body[one.name] = value
        # Flat, as the sampling of a generation is.
        body |= body.pop("sampling", {})
    if isinstance(message, Asking) and message.asker is not None:
        body["asker"] = write_asker(message.asker)
    return body


def encode_request(message: Hello | Request) -> bytes:
    """Body of the frame of `message`. Raises `BadRequest` for a value no frame can carry."""
    try:
        body: bytes = msgpack.packb(_fields(message))
    except UnicodeEncodeError as error:
        raise BadRequest("the text holds half of a surrogate pair: no character") from error
    except (OverflowError, ValueError) as error:
        raise BadRequest("an integer of the request does not fit into 64 bits") from error
    return body
