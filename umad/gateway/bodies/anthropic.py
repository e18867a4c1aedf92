"""Bodies that Anthropic's Messages API accepts, as far as a local model can mean something by them.

Source: the parameter types of the `anthropic` package. What steers billing, caching or Anthropic's
own tools is accepted and has no effect; a block or a tool of an unknown type is kept as `Unknown`
for the translator to skip or refuse. Not: what any of it becomes (`conversation`).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


class _Body(BaseModel):
    """Fields it does not know are ignored: beta headers bring new ones every month."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TextBlock(_Body):
    type: Literal["text"]
    text: str


class ThinkingBlock(_Body):
    type: Literal["thinking"]
    thinking: str


class ToolUseBlock(_Body):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any] = {}


class ImageBlock(_Body):
    type: Literal["image"]


class TextSource(_Body):
    type: Literal["text"]
    data: str


class OtherSource(_Body):
    type: str


class DocumentBlock(_Body):
    type: Literal["document"]
    source: TextSource | OtherSource
    title: str | None = None


class SearchResultBlock(_Body):
    type: Literal["search_result"]
    title: str
    source: str
    content: list[TextBlock] = []


class Unknown(_Body):
    """A block or a tool of a type this version has no meaning for."""

    type: str


def _kind_in(*known: str) -> Discriminator:
    """By the value of `type`; what is not known is `Unknown`, what has none is refused there.

    Tags have a space, so that the names of fields that errors tell do not have them in it.
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


class ToolResultBlock(_Body):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[ResultPart] | None = None
    is_error: bool = False


Block = Annotated[
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


class Message(_Body):
    """One turn. Agents send system turns in the middle of a conversation, too."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class CustomTool(_Body):
    """A tool the client runs. Its `type` is "custom" or left out."""

    type: Literal["custom"] | None = None
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    input_schema: dict[str, Any]


def _tool_kind(value: Any) -> str:
    name = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "custom tool" if name in (None, "custom") else "unknown tool"


Tool = Annotated[
    Annotated[CustomTool, Tag("custom tool")] | Annotated[Unknown, Tag("unknown tool")],
    Discriminator(_tool_kind),
]


class ToolChoice(_Body):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Thinking(_Body):
    """enabled and adaptive ask for thinking; how much of it is the model's own affair."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(default=None, ge=0)


class OutputFormat(_Body):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    type: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")


class OutputConfig(_Body):
    format: OutputFormat | None = None


class CountTokensBody(_Body):
    """`POST /v1/messages/count_tokens`."""

    model: str
    messages: list[Message]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None


class MessagesBody(CountTokensBody):
    """`POST /v1/messages`. output_format: the beta spelling of `output_config.format`."""

    max_tokens: int = Field(ge=1)
    stop_sequences: list[str] = []
    stream: bool = False
    temperature: float | None = Field(default=None, ge=0.0)
    top_k: int | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, ge=0.0, le=1.0)
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """The JSON schema the answer must follow, where one was given."""
        config = self.output_config
        wanted = (config.format if config is not None else None) or self.output_format
        return wanted.json_schema if wanted is not None else None
