"""Describes the body of POST /v1/responses.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from umad.gateway.bodies.base import Body, ToolPlace, tool_places
from umad.gateway.bodies.openai_chat import ContentPart
from umad.gateway.bodies.past_turns import Arguments
from umad.gateway.bodies.sampling import SamplingFields
from umad.gateway.bodies.values import Flag, Limit, Whole


class Item(Body):
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


class ResponseToolEntry(Body):
    """A tool on offer; types other than function are skipped."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ReasoningOption(Body):
    """Options of the thinking."""

    effort: str | None = None
    max_tokens: Whole | None = None


class ResponseBody(SamplingFields):
    """The whole body."""

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **SamplingFields.other_names,
        "max_output_tokens": ("max_completion_tokens", "max_tokens", "n_predict"),
    }

    input: str | list[Item] | None = None
    instructions: str | None = None
    max_output_tokens: Limit = None
    previous_response_id: str | None = Field(default=None, max_length=128)
    store: Flag | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: Flag | None = None
    reasoning: ReasoningOption | None = None
    reasoning_budget: Whole | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    include: list[str] | None = None
    top_logprobs: Whole | None = None
    background: Flag | None = None
    conversation: Any = None
    prompt: Any = None

    def items(self) -> list[Item]:
        """The input as items; a text is a user's message."""
        if isinstance(self.input, str):
            return [Item(role="user", content=self.input)]
        return list(self.input or ())

    @override
    def tool_places(self) -> Mapping[str, ToolPlace]:
        """Where the body has each tool, by the tool's name."""
        named = [(one.get("name"), f"tools.{at}") for at, one in enumerate(self.tools or ())]
        return tool_places([(name, place) for name, place in named if isinstance(name, str)])
