"""Describes the bodies of Anthropic's Messages API, as far as a local model can use them.

Source: the parameter types of the `anthropic` package. Fields for billing, caching or Anthropic's
own tools are accepted and have no effect. A block or a tool of an unknown type is kept as
`Unknown`; the translator skips or refuses it. Not: the translation of a body (`conversation`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, StrictInt, Tag
from typing_extensions import override

from umad.gateway.bodies.answer_form import FormFields, OutputConfig
from umad.gateway.bodies.base import Body, ToolPlace, tool_places
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.bodies.values import AS_NUMBER, AS_WHOLE, Flag, PositiveLimit


class _AnthropicBody(Body):
    """A body whose unknown fields are ignored, because beta headers bring new ones every month."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TextBlock(_AnthropicBody):
    type: Literal["text"]
    text: str


class ThinkingBlock(_AnthropicBody):
    type: Literal["thinking"]
    thinking: str


class ToolUseBlock(_AnthropicBody):
    type: Literal["tool_use"]
    id: str
    name: str
    # An object. Clients that could not read what a model wrote send text or null.
    input: Any = None


class ImageBlock(_AnthropicBody):
    type: Literal["image"]
    # {type: "base64", media_type, data} or {type: "url", url}. A history is taken in any form.
    source: Any = None


class TextSource(_AnthropicBody):
    type: Literal["text"]
    data: str


class OtherSource(_AnthropicBody):
    type: str


class DocumentBlock(_AnthropicBody):
    type: Literal["document"]
    source: TextSource | OtherSource
    title: str | None = None


class SearchResultBlock(_AnthropicBody):
    type: Literal["search_result"]
    title: str
    source: str
    content: list[TextBlock] = Field(default_factory=list)


class Unknown(_AnthropicBody):
    """A block or a tool of a type this version has no meaning for."""

    type: str


def _kind_in(*known: str) -> Discriminator:
    """Choose the model by the value of `type`. An unknown value gives `Unknown`; a missing one is
    refused there.

    The tags contain a space, so that they can be removed from the names of fields in errors.
    """

    def kind(value: Any) -> str:
        name = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"{name} block" if name in known else "unknown block"

    return Discriminator(kind)


_Text = Annotated[TextBlock, Tag("text block")]
_Image = Annotated[ImageBlock, Tag("image block")]
_Document = Annotated[DocumentBlock, Tag("document block")]
_SearchResult = Annotated[SearchResultBlock, Tag("search_result block")]
_Unknown = Annotated[Unknown, Tag("unknown block")]

ResultPart = Annotated[
    _Text | _Image | _Document | _SearchResult | _Unknown,
    _kind_in("text", "image", "document", "search_result"),
]


class ToolResultBlock(_AnthropicBody):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[ResultPart] | None = None
    is_error: Flag = False


ContentBlock = Annotated[
    _Text
    | _Image
    | _Document
    | _SearchResult
    | Annotated[ThinkingBlock, Tag("thinking block")]
    | Annotated[ToolUseBlock, Tag("tool_use block")]
    | Annotated[ToolResultBlock, Tag("tool_result block")]
    | _Unknown,
    _kind_in("text", "image", "document", "search_result", "thinking", "tool_use", "tool_result"),
]


class MessagesTurn(_AnthropicBody):
    """One turn. Agents send system turns in the middle of a conversation, too."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class CustomTool(_AnthropicBody):
    """A tool the client runs. Its `type` is "custom" or left out."""

    type: Literal["custom"] | None = None
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    input_schema: dict[str, Any]
    strict: Flag = False


def _tool_kind(value: Any) -> str:
    name = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "custom tool" if name in (None, "custom") else "unknown tool"


AnthropicTool = Annotated[
    Annotated[CustomTool, Tag("custom tool")] | Annotated[Unknown, Tag("unknown tool")],
    Discriminator(_tool_kind),
]


class AnthropicToolChoice(_AnthropicBody):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: Flag = False


class ThinkingOption(_AnthropicBody):
    """enabled and adaptive ask for thinking, at most `budget_tokens` of it where they are given."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[StrictInt, Field(ge=0), AS_WHOLE] | None = None


class CountTokensBody(_AnthropicBody):
    """`POST /v1/messages/count_tokens`."""

    model: str
    messages: list[MessagesTurn]
    system: str | list[TextBlock] | None = None
    tools: list[AnthropicTool] = Field(default_factory=list)
    tool_choice: AnthropicToolChoice | None = None
    thinking: ThinkingOption | None = None
    output_config: OutputConfig | None = None

    @override
    def tool_places(self) -> Mapping[str, ToolPlace]:
        """Where the body has each tool, by the tool's name."""
        named = [
            (one.name, f"tools.{at}")
            for at, one in enumerate(self.tools)
            if isinstance(one, CustomTool)
        ]
        return tool_places(named, "input_schema")


class MessagesBody(FormFields, Drawing, CountTokensBody):
    """`POST /v1/messages`. `output_format` is the beta spelling of `output_config.format`."""

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Drawing.other_names,
        "stop": ("stop_sequences",),
    }

    # -1 is no limit, as with llama-server.
    max_tokens: PositiveLimit
    stream: Flag = False
    temperature: Annotated[float, Field(ge=0.0), AS_NUMBER] | None = None
    top_p: Annotated[float, Field(ge=0.0, le=1.0), AS_NUMBER] | None = None
