"""Describes a chat: its turns, tool calls, tools on offer, and options for the template.

Values only, checked once where they enter. Not: rendering them into a prompt
(`umad.engine.chats.chat_template`) or parsing an answer (`umad.chat`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from umad.content import MAX_FILES, MediaFile, PlacedFile, check_media
from umad.errors import BadRequest

MAX_TOOLS = 512
MAX_TOOL_NAME_CHARS = 256
MAX_THINKING_TOKENS = 10_000_000
# Longest JSON text of a schema or of the template's arguments. The largest tool sets of agents are
# a tenth of it.
MAX_JSON_CHARS = 2**20

ToolChoice = Literal["auto", "none", "required"]
TOOL_CHOICES: tuple[str, ...] = get_args(ToolChoice)
# Names of the template's own variables. No request may replace them.
RESERVED_KWARGS = frozenset(
    ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "documents")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the assistant made."""

    name: str
    # JSON text, as the model wrote it.
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One turn of a chat."""

    # A role the model's template knows: system, user, assistant, tool.
    role: str
    content: str
    # The name of the speaker, or of the tool that answers.
    name: str | None = None
    # The calls an assistant made.
    tool_calls: tuple[ToolCall, ...] = ()
    # The call that a turn of role tool answers.
    tool_call_id: str | None = None
    # An assistant's thinking.
    reasoning: str | None = None
    # The images and sounds between the words of `content`, in order.
    media: tuple[PlacedFile, ...] = ()


def asked_now(roles: Sequence[str]) -> int | None:
    """The place of the user's words that are to be answered now; None where a turn of somebody else
    came after them. roles: of all turns. System turns count for neither.
    """
    for at in range(len(roles) - 1, -1, -1):
        if roles[at] not in ("system", "developer"):
            return at if roles[at] == "user" else None
    return None


def asked_turn(messages: Sequence[ChatMessage]) -> int | None:
    """The place of the turn whose images and sounds are asked about now; None where none is. What a
    tool brought is not asked about, nor what stands in a user's turn behind its result.
    """
    now = asked_now([turn.role for turn in messages])
    return None if now and messages[now - 1].role == "tool" else now


def media_of(messages: Iterable[ChatMessage]) -> tuple[MediaFile, ...]:
    """The files of all turns, in order."""
    return tuple(one.file for turn in messages for one in turn.media)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call."""

    name: str
    description: str = ""
    # JSON schema of its arguments.
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    # Refuse the request where these parameters cannot be enforced, instead of taking any object.
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """The options for rendering the turns and writing the answer; for `messages` only."""

    tools: tuple[Tool, ...] = ()
    # "required" forces a call by grammar; "none" hides the tools from the model.
    tool_choice: ToolChoice = "auto"
    # Forces a call of that tool.
    tool_name: str | None = None
    # More variables for the template, such as enable_thinking.
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    # The last turn is an unfinished assistant's turn, and the answer continues it.
    continue_final: bool = False
    # Write control tokens (of tool calls, of channels) into the text, as `umad.chat` reads it. The
    # text begins with the mark of thinking that the template has opened.
    markup: bool = False
    # False, with markup: the answer ends with its first tool call.
    parallel_tool_calls: bool = True
    # Whether a fenced block of JSON that is a call of one of `tools` counts as that call.
    fenced_calls: bool = True
    # The most tokens of thinking. Behind them the thinking is closed in the model's own form. None:
    # the model decides.
    thinking_tokens: int | None = None
    # Token ids of an earlier conversation, which stand before the rendered turns.
    context: tuple[int, ...] = ()

    @property
    def forces_call(self) -> bool:
        """Whether the answer must be a tool call."""
        return self.tool_choice == "required" or self.tool_name is not None

    def check(self, messages: tuple[ChatMessage, ...]) -> None:
        """Raise `BadRequest`, naming the field, for options that no template could follow."""
        if len(self.tools) > MAX_TOOLS:
            raise BadRequest(f"at most {MAX_TOOLS} tools", field="tools")
        names = [tool.name for tool in self.tools]
        for at, name in enumerate(names):
            if not 0 < len(name) <= MAX_TOOL_NAME_CHARS:
                raise BadRequest(
                    f"a tool's name has 1 to {MAX_TOOL_NAME_CHARS} characters",
                    field=f"tools[{at}].name",
                )
            if name in names[:at]:
                raise BadRequest("two tools have the same name", field=f"tools[{at}].name")
        if self.tool_choice == "none" and self.tool_name is not None:
            raise BadRequest(
                "tool_choice none and a tool_name exclude each other", field="tool_name"
            )
        if self.tool_choice == "required" and not names:
            raise BadRequest("tool_choice required needs tools", field="tool_choice")
        if self.tool_name is not None and self.tool_name not in names:
            raise BadRequest("tool_name is none of the tools' names", field="tool_name")
        most = self.thinking_tokens
        if most is not None and not 0 <= most <= MAX_THINKING_TOKENS:
            raise BadRequest(
                f"thinking_tokens must be between 0 and {MAX_THINKING_TOKENS}",
                field="thinking_tokens",
            )
        for key in self.template_kwargs:
            if key in RESERVED_KWARGS:
                raise BadRequest(
                    f"template_kwargs cannot set {key}", field=f"template_kwargs.{key}"
                )
        if self.continue_final and (not messages or messages[-1].role != "assistant"):
            raise BadRequest(
                "continue_final needs a last message of role assistant", field="continue_final"
            )
        if self.continue_final and self.forces_call:
            raise BadRequest(
                "continue_final and a forced tool call exclude each other", field="continue_final"
            )
        if len(media_of(messages)) > MAX_FILES:
            raise BadRequest(f"at most {MAX_FILES} images and sounds", field="messages")
        for at, turn in enumerate(messages):
            check_media(turn.content, turn.media, f"messages[{at}].content")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """The prompt that a model's template makes of a chat."""

    # The template's own text; None where the model has none.
    template: str | None
    # "" where no messages were given, and `ids` is empty.
    text: str = ""
    ids: tuple[int, ...] = ()


def to_json(messages: tuple[ChatMessage, ...], options: ChatOptions) -> str:
    """Both as one text, for the link and the journal; `from_json` is its inverse. Of files it has
    the places alone: `media_of` has the files in the same order.
    """
    turns = [
        [
            m.role,
            m.content,
            m.name,
            _calls(m.tool_calls),
            m.tool_call_id,
            m.reasoning,
            [[one.at, one.file.kind] for one in m.media],
        ]
        for m in messages
    ]
    tools = [[tool.name, tool.description, tool.parameters, tool.strict] for tool in options.tools]
    rest = [
        options.tool_choice,
        options.tool_name,
        options.template_kwargs,
        options.continue_final,
        options.markup,
        options.parallel_tool_calls,
        options.fenced_calls,
        options.thinking_tokens,
        options.context,
    ]
    try:
        return json.dumps([turns, tools, *rest], separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest("tools and template_kwargs hold JSON values", field="tools") from error


def from_json(
    text: str, files: Iterable[MediaFile] | None = None
) -> tuple[tuple[ChatMessage, ...], ChatOptions]:
    """Inverse of `to_json`. umad wrote the text itself, so it is trusted. files: the files of the
    turns; without them, each stands there without bytes.
    """
    left = None if files is None else iter(files)
    turns, tools, choice, tool_name, template_kwargs, *rest = json.loads(text)
    continue_final, markup, parallel_tool_calls, fenced_calls, thinking_tokens, context = rest
    messages = tuple(
        ChatMessage(
            role=role,
            content=content,
            name=name,
            tool_calls=tuple(ToolCall(name=n, arguments=a, id=i) for n, a, i in calls),
            tool_call_id=call_id,
            reasoning=reasoning,
            media=tuple(
                PlacedFile(
                    at=at, file=MediaFile(kind=kind, data=b"") if left is None else next(left)
                )
                for at, kind in places
            ),
        )
        for role, content, name, calls, call_id, reasoning, places in turns
    )
    return messages, ChatOptions(
        tools=tuple(Tool(name=n, description=d, parameters=p, strict=s) for n, d, p, s in tools),
        tool_choice=choice,
        tool_name=tool_name,
        template_kwargs=template_kwargs,
        continue_final=continue_final,
        markup=markup,
        parallel_tool_calls=parallel_tool_calls,
        fenced_calls=fenced_calls,
        thinking_tokens=thinking_tokens,
        context=tuple(context),
    )


def _calls(calls: tuple[ToolCall, ...]) -> list[list[str | None]]:
    return [[call.name, call.arguments, call.id] for call in calls]
