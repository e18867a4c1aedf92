"""Describes the body of POST /v1/responses.

https://platform.openai.com/docs/api-reference/responses/create
"""

from typing import Any, Literal

from pydantic import Field, StrictBool, StrictInt

from umad.gateway.bodies.openai_chat import ContentPart
from umad.gateway.bodies.past_turns import Arguments
from umad.gateway.bodies.sampling import Lenient, SamplingFields


class Item(Lenient):
    """One item of a conversation: a message, a call, a call's result, or thinking."""

    type: str = "message"
    id: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Arguments | None = None
    input: str | None = None
    output: str | list[ContentPart] | dict[str, Any] | None = None
    status: str | None = None


class ResponseToolEntry(Lenient):
    """A tool on offer; types other than function are skipped."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Format(Lenient):
    """The form that the answer's text must have."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema")


class Text(Lenient):
    """Options of the answer's text."""

    format: Format | None = None


class ReasoningOption(Lenient):
    """Options of the thinking."""

    effort: str | None = None


class ResponseBody(SamplingFields):
    """The whole body."""

    input: str | list[Item] | None = None
    instructions: str | None = None
    max_output_tokens: StrictInt | None = None
    previous_response_id: str | None = Field(default=None, max_length=128)
    store: StrictBool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    text: Text | None = None
    reasoning: ReasoningOption | None = None
    metadata: dict[str, str] | None = None
    include: list[str] | None = None
    top_logprobs: StrictInt | None = None
    background: StrictBool | None = None
    conversation: Any = None
    prompt: Any = None

    def items(self) -> list[Item]:
        """The input as items; a text is a user's message."""
        if isinstance(self.input, str):
            return [Item(role="user", content=self.input)]
        return list(self.input or ())
