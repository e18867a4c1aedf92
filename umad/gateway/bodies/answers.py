"""Describes answers for the OpenAPI document: required fields and optional ones.

The dialects make the answers. Tests hold the answers against these models and against the types of
the clients' own packages. Not: pieces of streams, because OpenAPI cannot describe them.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

AnswerFacts = dict[str, Any]


class CompletionUsage(BaseModel):
    """Tokens of one answer. Cached tokens are the part of the prompt that was in the cache."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)
    prompt_tokens_details: dict[str, int]


class AnsweredFunction(BaseModel):
    """The function that is called; `arguments` is JSON text."""

    name: str
    arguments: str


class CallMade(BaseModel):
    """A tool the model calls."""

    id: str
    type: Literal["function"]
    function: AnsweredFunction


class AnswerMessage(BaseModel):
    """The message of an answer; `content` is None where the model only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    tool_calls: list[CallMade] = []


class ChatChoice(BaseModel):
    """One of `n` answers."""

    index: int = Field(ge=0)
    message: AnswerMessage
    logprobs: AnswerFacts | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    """POST /v1/chat/completions"""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class TextChoice(BaseModel):
    """One text."""

    index: int = Field(ge=0)
    text: str
    logprobs: AnswerFacts | None
    finish_reason: Literal["stop", "length"]


class TextCompletion(BaseModel):
    """POST /v1/completions"""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage


class ResponseAnswer(BaseModel):
    """POST /v1/responses. `output` holds items, told apart by their `type`."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete"]
    model: str
    output: list[AnswerFacts]
    usage: AnswerFacts
    incomplete_details: AnswerFacts | None
    error: None
    previous_response_id: str | None


class ModelEntry(BaseModel):
    """One model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: str | None
    type: Literal["model"]
    kind: Literal["text", "embedding", "speech"]
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    # llama-server's.
    aliases: list[str]
    status: AnswerFacts
    architecture: AnswerFacts
    meta: AnswerFacts | None


class ModelList(BaseModel):
    """GET /v1/models"""

    object: Literal["list"]
    data: list[ModelEntry]
    has_more: Literal[False]
    first_id: str | None
    last_id: str | None
    models: list[AnswerFacts]


class MessageUsage(BaseModel):
    """Anthropic's counts."""

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    cache_read_input_tokens: int = Field(ge=0)
    cache_creation_input_tokens: int = Field(ge=0)


class AnthropicMessage(BaseModel):
    """POST /v1/messages. `content` holds blocks, told apart by their `type`."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnswerFacts]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(BaseModel):
    """POST /v1/messages/count_tokens"""

    input_tokens: int = Field(ge=0)


class OllamaAnswer(BaseModel):
    """The fields that Ollama's two ways to generate share."""

    model: str
    created_at: str
    done: Literal[True]
    done_reason: str


class OllamaChat(OllamaAnswer):
    """POST /api/chat, not streamed"""

    message: AnswerFacts


class OllamaText(OllamaAnswer):
    """POST /api/generate, not streamed"""

    response: str


class OllamaModels(BaseModel):
    """GET /api/tags, /api/ps"""

    models: list[AnswerFacts]


class OllamaModel(BaseModel):
    """POST /api/show"""

    details: AnswerFacts
    model_info: AnswerFacts
    capabilities: list[str]


class Version(BaseModel):
    """GET /api/version"""

    # Ollama's.
    version: str
    # umad's own.
    umad: str


class Pulled(BaseModel):
    """POST /api/pull, /api/create, not streamed"""

    status: Literal["success"]


class TokenList(BaseModel):
    """POST /tokenize. With `with_pieces` each token is an object."""

    tokens: list[int | AnswerFacts]


class Detokenized(BaseModel):
    """POST /detokenize"""

    content: str


class AppliedTemplate(BaseModel):
    """POST /apply-template"""

    prompt: str


class Props(BaseModel):
    """GET /props. What only a loaded model can tell is left out where it is not loaded."""

    default_generation_settings: AnswerFacts
    total_slots: int = Field(default=1, ge=1)
    model_path: str
    chat_template: str = ""
    modalities: AnswerFacts
    media_marker: str
    is_sleeping: bool


class LlamaModels(BaseModel):
    """GET /models"""

    object: Literal["list"]
    data: list[AnswerFacts]


class Succeeded(BaseModel):
    """POST /models/load, /models/unload"""

    success: Literal[True]


class InputTokens(BaseModel):
    """POST /v1/responses/input_tokens, /v1/chat/completions/input_tokens"""

    object: Literal["response.input_tokens"]
    input_tokens: int = Field(ge=0)


class Generated(BaseModel):
    """POST /generate, not streamed"""

    request: str
    model: str
    lane: str
    queue_position: int
    seed: int | None
    max_tokens: int | None
    # Empty where no other machine can continue the answer.
    fingerprint: str
    completions: list[AnswerFacts]


class Unloaded(BaseModel):
    """POST /unload"""

    model: str
    state: Literal["unloaded"]


class Moved(BaseModel):
    """POST /priority. `moved` is the number of requests."""

    moved: int = Field(ge=0)


class ForgottenSessions(BaseModel):
    """POST /forget. `sessions` are names. `in_use` names those that are removed once the requests
    running in them end.
    """

    sessions: list[str]
    in_use: list[str]


class CancelledAnswer(BaseModel):
    """POST /cancel"""

    request: str
    state: Literal["cancelled"]


class Status(BaseModel):
    """GET /status"""

    version: str
    models: list[AnswerFacts]
    requests: list[AnswerFacts]


class Health(BaseModel):
    """GET /health; with 503 the status says what is missing."""

    status: str
    reason: str = ""


class Diagnosis(BaseModel):
    """GET /diag"""

    version: str
    python: str
    system: str
    gateway_pid: int
    daemon: str
