"""Describes the body of POST /v1/chat/completions.

https://platform.openai.com/docs/api-reference/chat/create
"""

from typing import Any, Literal

from pydantic import Field, StrictBool, StrictInt

from umad.gateway.bodies.past_turns import Arguments
from umad.gateway.bodies.sampling import Lenient, SamplingFields

MAX_MESSAGES = 16384


class ContentPart(Lenient):
    """A piece of a message; only text has a meaning to a text model."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class FunctionCall(Lenient):
    """The function that an assistant called; `arguments` is JSON text."""

    name: str
    arguments: Arguments = "{}"


class CustomCall(Lenient):
    """The tool that an assistant called with a text and no arguments."""

    name: str
    input: str | None = None


class ChatToolCall(Lenient):
    """A call an assistant made in an earlier turn, of a function or of a custom tool."""

    id: str | None = None
    type: str | None = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ChatTurn(Lenient):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCall | None = None
    reasoning_content: str | None = None
    # The words with which an assistant refused, in place of content.
    refusal: str | None = None


class ChatFunction(Lenient):
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ChatToolEntry(Lenient):
    """A tool on offer; types other than function are skipped."""

    type: str = "function"
    function: ChatFunction | None = None


class JsonSchema(Lenient):
    """The schema of a json_schema format. `schema` is a method's name in pydantic."""

    name: str | None = None
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema")


class ResponseFormat(Lenient):
    """The form that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Lenient):
    """Options of a stream. With `include_usage` a last chunk tells the usage."""

    include_usage: StrictBool = False


class ChatCompletionBody(SamplingFields):
    """The whole body."""

    messages: list[ChatTurn] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = None
    stream_options: StreamOptions | None = None
    tools: list[ChatToolEntry] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    functions: list[ChatFunction] | None = None
    function_call: str | dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
