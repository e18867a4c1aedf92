"""What a client says, as values, and how a client writes it down.

Not: taking apart what came from outside (`umad.protocol.parsing`).
A request's `id` is chosen by the client, unique among its connection's live requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgpack

from umad.asker import Asker
from umad.conversation import ChatOptions
from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import BadRequest
from umad.protocol import PROTOCOL_VERSION
from umad.protocol.asker_fields import write_asker
from umad.protocol.chat_fields import write_constraint, write_json, write_tools, write_turn
from umad.protocol.embed_fields import write_embed, write_rerank
from umad.request import SAMPLING_FIELDS, GenerateRequest, SamplingParams

RequestId = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First on every connection. client: a name for logs; capabilities: none are defined yet."""

    protocol: int = PROTOCOL_VERSION
    client: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Every request. asker: for whom it is asked, by a front end that asks for somebody else; None
    for the connection's own process."""

    id: RequestId
    asker: Asker | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate(Asking):
    """Run `request`; `generate` and `chat` on the wire, by what it holds. Events follow."""

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
class Tokenize(Asking):
    """Result: the token ids of `text`. special: recognise control tokens in it."""

    text: str
    model: str | None = None
    special: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Detokenize(Asking):
    """Result: the text of `ids`; with `pieces` the bytes of each, which may be part of a
    character."""

    ids: tuple[int, ...]
    model: str | None = None
    pieces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Asking):
    """End a request. Exactly one of both is set. Result: null.

    request: the daemon's id (`Accepted.request`), of any connection.
    own_id: the id this connection gave it, which is known before `Accepted` has come.
    """

    request: str | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload(Asking):
    """Stop a model's engine. Result: null."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Models(Asking):
    """Result: every loaded or loading model with its facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions(Asking):
    """Result: every live request and pinned session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Asking):
    """Give up what is kept of a session, or of all: cells, host memory, files. One of both is set.

    Result: {sessions, in_use}: names of those given up, and of those that are when their requests
    end.
    """

    session: str | None = None
    all: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Asking):
    """Result: the scorecard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachLogits(Asking):
    """Read a live request's logits (`request`: the daemon's id). Only for the process that made it.

    Result: the ring's layout (`umad.sampling.ring`); its descriptor comes beside it (SCM_RIGHTS).
    choose: from the next row on the client chooses the tokens.
    """

    request: str
    choose: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseToken(Asking):
    """`token` is to be number `position` of `request`. Result: null, when it has been passed on; if
    it cannot be meant, the request it is for ends with an error."""

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
    | Tokenize
    | Detokenize
    | Cancel
    | Priority
    | Load
    | Unload
    | Models
    | Sessions
    | Forget
    | Metrics
    | AttachLogits
    | ChooseToken
    | Ping
)

# Answered before the next request is looked at, so that none of them is ever live: whoever has as
# many live requests as it may can still cancel one.
AT_ONCE = (Cancel, Priority, Models, Sessions, ChooseToken, Ping)

TYPE_NAMES: dict[type, str] = {
    Hello: "hello",
    Tokenize: "tokenize",
    Detokenize: "detokenize",
    Cancel: "cancel",
    Priority: "priority",
    Load: "load",
    Unload: "unload",
    Models: "models",
    Sessions: "sessions",
    Forget: "forget",
    Metrics: "metrics",
    AttachLogits: "logits.attach",
    ChooseToken: "logits.choose",
    Ping: "ping",
}
_CHAT_FIELDS = ("tool_choice", "tool_name", "continue_final", "markup")
_DEFAULT_CHAT = ChatOptions()
_PLACE_FIELDS = ("model", "n", "lane", "app", "session", "deadline_ms", "logits")
_DEFAULT_SAMPLING = SamplingParams()
_DEFAULT_REQUEST = GenerateRequest()


def _changed(value: Any, default: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Fields that differ from the default: a daemon's defaults then count for the rest."""
    return {
        name: given for name in names if (given := getattr(value, name)) != getattr(default, name)
    }


def _generate_fields(message: Generate) -> dict[str, Any]:
    request = message.request
    kind = "generate" if request.messages is None else "chat"
    body: dict[str, Any] = {"type": kind, "id": message.id}
    if request.prompt is not None:
        body["prompt"] = request.prompt
        if not request.special:
            body["special"] = False
    if request.prompt_ids is not None:
        body["prompt_ids"] = request.prompt_ids
    if request.messages is not None:
        body["messages"] = [write_turn(turn) for turn in request.messages]
        body |= _changed(request.chat, _DEFAULT_CHAT, _CHAT_FIELDS)
        if request.chat.tools:
            body["tools"] = write_tools(request.chat.tools)
        if request.chat.template_kwargs:
            body["template_kwargs"] = write_json(request.chat.template_kwargs, "template_kwargs")
    if request.constraint is not None:
        body |= write_constraint(request.constraint)
    body |= _changed(request, _DEFAULT_REQUEST, _PLACE_FIELDS)
    body |= _changed(request.sampling, _DEFAULT_SAMPLING, SAMPLING_FIELDS)
    return body


def _fields(message: Hello | Request) -> Mapping[str, Any]:
    if isinstance(message, Generate):
        body = _generate_fields(message)
    elif isinstance(message, Embed):
        body = {"type": "embed", "id": message.id, **write_embed(message.request)}
    elif isinstance(message, Rerank):
        body = {"type": "rerank", "id": message.id, **write_rerank(message.request)}
    else:
        body = {"type": TYPE_NAMES[type(message)]}
        for field in fields(message):
            value = getattr(message, field.name)
            if value is not None and field.name != "asker":
                body[field.name] = value
    if isinstance(message, Asking) and message.asker is not None:
        body["asker"] = write_asker(message.asker)
    return body


def encode_request(message: Hello | Request) -> bytes:
    """Body of the frame of `message`. Raises `BadRequest` for what no frame can carry."""
    try:
        body: bytes = msgpack.packb(_fields(message))
    except UnicodeEncodeError as error:
        raise BadRequest("the text holds half of a surrogate pair: no character") from error
    except (OverflowError, ValueError) as error:
        raise BadRequest("an integer of the request does not fit into 64 bits") from error
    return body
