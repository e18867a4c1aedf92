"""Every answer of every endpoint against the shape that the dialect's own package has for it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import anthropic.types as anthropic
import httpx
import ollama
import pytest
from openai.types import (
    Completion,
    CompletionChoice,
    CreateEmbeddingResponse,
    ErrorObject,
    Model,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from openai.types.responses.input_token_count_response import InputTokenCountResponse
from pydantic import BaseModel, TypeAdapter

from tests.gateway.gateways import LiveGateway
from tests.gateway.scripted_service import TOOL, Scripted, post
from umad.gateway.dialects import ENDPOINTS, frames, jobs, metrics, native, page
from umad.gateway.dialects.llamacpp import routes as llamacpp
from umad.gateway.dialects.openai import embeddings as openai_embeddings
from umad.gateway.dialects.openai import input_tokens

Check = Callable[[Any], object]


class CompletionPiece(CompletionChoice):
    """The package has one type for both, and never looks at a piece's reason."""

    finish_reason: Literal["stop", "length", "content_filter"] | None = None  # type: ignore[assignment]


class CompletionChunk(Completion):
    choices: list[CompletionPiece]  # type: ignore[assignment]


class Listed(BaseModel):
    """A page of anything, as the package reads pages."""

    object: Literal["list"]
    data: list[Any]


def listed(check: Check) -> Check:
    return lambda answer: [check(one) for one in Listed.model_validate(answer).data]


def named(kind: type[BaseModel], *fields: str) -> Check:
    """Ollama's package has everything as optional: `fields` are what its API documents."""

    def check(answer: Any) -> None:
        kind.model_validate(answer)
        assert set(fields) <= set(answer)

    return check


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """body: what is asked. whole: checks the answer; piece: one of a stream's, None where there is
    none. last: checks the last one instead. more: bodies that make a richer answer."""

    method: str
    path: str
    whole: Check
    body: dict[str, Any] = field(default_factory=dict)
    piece: Check | None = None
    last: Check | None = None
    more: Sequence[dict[str, Any]] = ({},)


TURNS: Any = [{"role": "user", "content": "Hello there"}]
_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)
_ANTHROPIC_EVENT: TypeAdapter[Any] = TypeAdapter(anthropic.RawMessageStreamEvent)
_COUNTS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration")
_OLLAMA_LAST = ("model", "created_at", "done", "done_reason", *_COUNTS, "eval_count")
_SCHEMA: Any = {"type": "object", "properties": {}, "additionalProperties": False}
_OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": _SCHEMA}}]

# Greedy, because an answer that is drawn at random may end before it has come in two pieces.
SHAPES = [
    Shape(
        method="POST",
        path="/v1/chat/completions",
        body={"messages": TURNS, "max_tokens": 60, "temperature": 0},
        whole=ChatCompletion.model_validate,
        piece=ChatCompletionChunk.model_validate,
        more=(
            {"stream_options": {"include_usage": True}},
            {"logprobs": True, "top_logprobs": 2, "n": 2, "max_tokens": 3},
            {"tools": _OPENAI_TOOLS, "tool_choice": "required"},
        ),
    ),
    Shape(
        method="POST",
        path="/v1/completions",
        body={"prompt": "One, two", "max_tokens": 4, "temperature": 0},
        whole=Completion.model_validate,
        piece=CompletionChunk.model_validate,
        more=({"stream_options": {"include_usage": True}}, {"logprobs": 2, "n": 2}, {"echo": True}),
    ),
    Shape(
        method="POST",
        path="/v1/responses",
        body={"input": "Hello there", "max_output_tokens": 60, "temperature": 0},
        whole=Response.model_validate,
        piece=_EVENT.validate_python,
        more=(
            {"instructions": "Be brief.", "max_output_tokens": 3},
            {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
            {
                "tools": [
                    {"type": "function", "name": "look", "parameters": _SCHEMA, "strict": True}
                ],
                "tool_choice": "required",
            },
        ),
    ),
    Shape(
        method="POST",
        path="/v1/responses/input_tokens",
        body={"input": "Hello there"},
        whole=InputTokenCountResponse.model_validate,
    ),
    Shape(
        method="POST",
        path="/v1/chat/completions/input_tokens",
        body={"messages": TURNS},
        whole=InputTokenCountResponse.model_validate,
    ),
    Shape(method="GET", path="/v1/responses/{id}", whole=Response.model_validate),
    Shape(
        method="GET",
        path="/v1/responses/{id}/input_items",
        whole=listed(_ITEM.validate_python),
    ),
    Shape(
        method="DELETE",
        path="/v1/responses/{id}",
        whole=lambda answer: answer["deleted"] and answer["object"] == "response",
    ),
    Shape(
        method="POST",
        path="/v1/embeddings",
        body={"input": ["One, two", "three"], "encoding_format": "float"},
        whole=CreateEmbeddingResponse.model_validate,
    ),
    Shape(method="GET", path="/v1/models", whole=listed(Model.model_validate)),
    Shape(method="GET", path="/v1/models/{model:path}", whole=Model.model_validate),
    Shape(
        method="POST",
        path="/v1/messages",
        body={"messages": TURNS, "max_tokens": 60, "temperature": 0},
        whole=lambda answer: anthropic.Message.model_validate(answer, strict=True),
        piece=_ANTHROPIC_EVENT.validate_python,
        more=(
            {},
            {"system": "Be brief.", "stop_sequences": ["e"]},
            {"tools": [{"name": "look", "input_schema": _SCHEMA}], "tool_choice": {"type": "any"}},
        ),
    ),
    Shape(
        method="POST",
        path="/v1/messages/count_tokens",
        body={"messages": TURNS},
        whole=lambda answer: anthropic.MessageTokensCount.model_validate(answer, strict=True),
    ),
    Shape(
        method="POST",
        path="/api/chat",
        body={"messages": TURNS, "options": {"num_predict": 60, "temperature": 0}},
        whole=named(ollama.ChatResponse, *_OLLAMA_LAST, "message"),
        piece=named(ollama.ChatResponse, "model", "created_at", "message", "done"),
        last=named(ollama.ChatResponse, *_OLLAMA_LAST, "message"),
        more=({}, {"logprobs": True, "top_logprobs": 2}, {"format": _SCHEMA}),
    ),
    Shape(
        method="POST",
        path="/api/generate",
        body={"prompt": "One, two", "options": {"num_predict": 4, "temperature": 0}},
        whole=named(ollama.GenerateResponse, *_OLLAMA_LAST, "response"),
        piece=named(ollama.GenerateResponse, "model", "created_at", "response", "done"),
        last=named(ollama.GenerateResponse, *_OLLAMA_LAST, "response"),
        more=({}, {"logprobs": True}, {"raw": True}),
    ),
    Shape(
        method="POST",
        path="/api/embed",
        body={"input": "One, two"},
        whole=named(
            ollama.EmbedResponse,
            *("model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"),
        ),
    ),
    Shape(
        method="POST",
        path="/api/embeddings",
        body={"prompt": "One, two"},
        whole=named(ollama.EmbeddingsResponse, "embedding"),
    ),
    Shape(method="GET", path="/api/tags", whole=named(ollama.ListResponse, "models")),
    Shape(method="GET", path="/api/ps", whole=named(ollama.ProcessResponse, "models")),
    Shape(
        method="POST",
        path="/api/show",
        whole=named(ollama.ShowResponse, "details", "model_info", "capabilities", "template"),
    ),
    Shape(method="GET", path="/api/version", whole=lambda answer: answer["version"].split(".")),
]
# No package has types for these: umad's own, the page, and llama.cpp's, which has no package.
NO_PACKAGE = (
    *(*native.ENDPOINTS, *jobs.ENDPOINTS, *metrics.ENDPOINTS, *page.ENDPOINTS, *llamacpp.ENDPOINTS),
    *frames.ENDPOINTS,
    *[one for one in openai_embeddings.ENDPOINTS if "rerank" in one.path],
    # llama-server's paths, which have no /v1.
    *[one for one in input_tokens.ENDPOINTS if not one.path.startswith("/v1/")],
)
REFUSED = {
    ("POST", path) for path in (*("/api/pull", "/api/push", "/api/create", "/api/copy"),)
} | {("DELETE", "/api/delete")}
# Forms with a file; `test_audio` asks them through the package.
HEARD = {("POST", f"/v1/audio/{one}") for one in ("transcriptions", "translations")}
# Who is asked, by the beginning of the path: the shape of what it says when it will not.
ERRORS: list[tuple[str, Check]] = [
    ("/v1/messages", lambda answer: anthropic.ErrorResponse.model_validate(answer, strict=True)),
    ("/api/", lambda answer: TypeAdapter(str).validate_python(answer["error"])),
    ("/v1/", lambda answer: ErrorObject.model_validate(answer["error"])),
]


def pieces_of(answer: httpx.Response) -> list[Any]:
    """The values of a stream: server-sent events, or lines."""
    lines = answer.text.splitlines()
    if answer.headers["content-type"].startswith("application/x-ndjson"):
        return [json.loads(line) for line in lines]
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    values = [json.loads(one) for one in data if one != "[DONE]"]
    return [one for one in values if one.get("type") != "ping"]  # the package takes pings out


def check_pieces(shape: Shape, answer: httpx.Response) -> None:
    pieces = pieces_of(answer)
    assert len(pieces) > 1
    assert shape.piece is not None
    for piece in pieces[:-1]:
        shape.piece(piece)
    (shape.last or shape.piece)(pieces[-1])


def path_of(shape: Shape, http: httpx.Client) -> str:
    """With a response of its own where the path has one's id."""
    if "{id}" not in shape.path:
        return shape.path.replace("{model:path}", "nano")
    asked: Any = [
        *TURNS,
        {"role": "assistant", "content": "Well?"},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "a"}]},
    ]
    made = http.post(
        "/v1/responses", json={"model": "nano", "input": asked, "max_output_tokens": 2}
    )
    return shape.path.replace("{id}", made.json()["id"])


def test_no_endpoint_is_forgotten() -> None:
    known = {(shape.method, shape.path) for shape in SHAPES} | REFUSED | HEARD
    own = {(one.method, one.path) for one in NO_PACKAGE}

    assert {(one.method, one.path) for one in ENDPOINTS} == known | own


@pytest.mark.parametrize(
    ("shape", "more"),
    [pytest.param(one, more, id=one.path + "+".join(more)) for one in SHAPES for more in one.more],
)
def test_an_answer_has_its_packages_shape(
    gateway: LiveGateway, shape: Shape, more: dict[str, Any]
) -> None:
    body: dict[str, Any] = {"model": "nano", **shape.body, **more}
    with gateway.http() as http:
        path = path_of(shape, http)
        ask: dict[str, Any] = {} if shape.method != "POST" else {"json": {**body, "stream": False}}
        whole = http.request(shape.method, path, **ask)
        assert whole.status_code == 200, whole.text
        shape.whole(whole.json())
        if shape.piece is not None:
            streamed = http.post(path, json={**body, "stream": True})
            assert streamed.status_code == 200, streamed.text
            check_pieces(shape, streamed)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "tools"),
    [
        ("/v1/chat/completions", [{"type": "function", "function": TOOL}]),
        ("/v1/responses", [{"type": "function", **TOOL}]),
        ("/v1/messages", [{"name": "get_weather", "input_schema": {"type": "object"}}]),
        ("/api/chat", [{"type": "function", "function": TOOL}]),
    ],
)
def test_thinking_text_and_a_call_have_their_packages_shape(
    path: str, tools: Any, stream: bool
) -> None:
    (shape,) = (one for one in SHAPES if one.path == path)
    listed: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"logprobs": True, "top_logprobs": 1},
        "/v1/responses": {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
    }
    body: Any = {
        **shape.body,
        **listed.get(path, {}),
        "model": "scripted",
        "tools": tools,
        "stream": stream,
    }

    answer = post(Scripted(), path, body)

    assert answer.status_code == 200, answer.text
    assert "Let me look." in answer.text
    assert "get_weather" in answer.text
    check_pieces(shape, answer) if stream else shape.whole(answer.json())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("method", "path"), sorted({(one.method, one.path) for one in SHAPES} | REFUSED)
)
def test_a_refusal_has_its_dialects_shape(
    gateway: LiveGateway, method: str, path: str, stream: bool
) -> None:
    with gateway.http() as http:
        answer = http.request(method, path.replace("{model:path}", "no-such").replace("{id}", "x"),
            json={"model": "no such", "messages": 5, "prompt": {}, "input": 5, "stream": stream},
        )  # fmt: skip

    if answer.status_code == 200:
        assert method == "GET"  # lists have nothing to refuse
        return
    assert answer.status_code in (400, 404, 501)
    check = next(check for prefix, check in ERRORS if path.startswith(prefix))
    check(answer.json())
