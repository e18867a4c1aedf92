"""Describes the body of POST /v1/chat/completions.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from umad.gateway.bodies.base import Body, ToolPlace, tool_places
from umad.gateway.bodies.past_turns import Arguments
from umad.gateway.bodies.sampling import SamplingFields
from umad.gateway.bodies.thinking import thinking_options
from umad.gateway.bodies.values import Flag, Limit, Whole

MAX_MESSAGES = 16384


class ContentPart(Body):
    """A piece of a message. What is in it is read by its translator, since a history is taken in
    whatever form (`past_turns`).
    """

    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    # Of an image: {url} in chats, the address itself in responses.
    image_url: Any = None
    # Of a sound: {data, format}.
    input_audio: Any = None
    # Of a file: {file_data, filename} in chats.
    file: Any = None
    file_data: Any = None


class FunctionCall(Body):
    """The function that an assistant called; `arguments` is JSON text."""

    name: str
    arguments: Arguments = "{}"


class CustomCall(Body):
    """The tool that an assistant called with a text and no arguments."""

    name: str
    input: str | None = None


class ChatToolCall(Body):
    """A call an assistant made in an earlier turn, of a function or of a custom tool."""

    id: str | None = None
    type: str | None = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None


class ChatTurn(Body):
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


class ChatFunction(Body):
    """A function the model may call; `parameters` is a JSON schema. With `strict` it is refused
    where it cannot be enforced.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Flag = False


class ChatToolEntry(Body):
    """A tool on offer; types other than function are skipped."""

    type: str = "function"
    function: ChatFunction | None = None


class StreamOptions(Body):
    """Options of a stream. With `include_usage` a last chunk tells the usage."""

    include_usage: Flag = False


class ThinkingFields(Body):
    """`thinking`, as Anthropic, DeepSeek and GLM write it."""

    type: Literal["enabled", "disabled", "adaptive", "auto"] | None = None
    budget_tokens: Whole | None = None

    @property
    def enabled(self) -> bool | None:
        """None where the model decides."""
        return None if self.type in (None, "adaptive", "auto") else self.type == "enabled"


class ReasoningFields(Body):
    """`reasoning`, as OpenRouter writes it for chats."""

    effort: str | None = None
    max_tokens: Whole | None = None
    enabled: Flag | None = None


class ChatCompletionBody(SamplingFields):
    """The whole body. Of two limits `max_completion_tokens` counts, the newer name."""

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SamplingFields.other_names,
        "max_completion_tokens": ("max_tokens", "n_predict"),
    }
    first_name_counts: ClassVar[frozenset[str]] = frozenset({"max_completion_tokens"})

    messages: list[ChatTurn] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: Limit = None
    logprobs: Flag | None = None
    top_logprobs: Whole | None = None
    stream_options: StreamOptions | None = None
    tools: list[ChatToolEntry] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: Flag | None = None
    functions: list[ChatFunction] | None = None
    function_call: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @override
    def tool_places(self) -> Mapping[str, ToolPlace]:
        """Where the body has each tool, by the tool's name."""
        tools = [
            (one.function.name, f"tools.{at}.function")
            for at, one in enumerate(self.tools or ())
            if one.function is not None
        ]
        older = [(one.name, f"functions.{at}") for at, one in enumerate(self.functions or ())]
        return tool_places([*tools, *older])

    # Other servers' names for the same (`thinking`).
    reasoning: ReasoningFields | None = None
    thinking: ThinkingFields | None = None
    enable_thinking: Flag | None = None
    reasoning_budget: Whole | None = None
    reasoning_budget_tokens: Whole | None = None
    thinking_budget: Whole | None = None
    thinking_budget_tokens: Whole | None = None

    def thinking_options(self) -> dict[str, Any]:
        """How long the model may think, and what its template is told of it."""
        reasoning, thinking = self.reasoning, self.thinking
        switches = (
            self.enable_thinking,
            None if thinking is None else thinking.enabled,
            None if reasoning is None else reasoning.enabled,
        )
        return thinking_options(
            effort=self.reasoning_effort or (None if reasoning is None else reasoning.effort),
            budgets={
                "reasoning_budget": self.reasoning_budget,
                "reasoning_budget_tokens": self.reasoning_budget_tokens,
                "thinking_budget": self.thinking_budget,
                "thinking_budget_tokens": self.thinking_budget_tokens,
                "thinking.budget_tokens": None if thinking is None else thinking.budget_tokens,
                "reasoning.max_tokens": None if reasoning is None else reasoning.max_tokens,
            },
            enabled=next((one for one in switches if one is not None), None),
            template_kwargs=self.chat_template_kwargs,
        )
