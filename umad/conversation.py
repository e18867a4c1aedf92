"""What a chat is made of: turns, tool calls, the tools on offer, how the template is to treat them.

Values only, checked once where they enter. Not: how they become a prompt
(`umad.engine.chats.chat_template`) or how an answer is taken apart again (`umad.chat`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from umad.errors import BadRequest

MAX_TOOLS = 512
MAX_TOOL_NAME_CHARS = 256
# A schema's or the template's arguments' JSON; the largest tool sets of agents are a tenth of it.
MAX_JSON_CHARS = 2**20

ToolChoice = Literal["auto", "none", "required"]
TOOL_CHOICES: tuple[str, ...] = get_args(ToolChoice)
# Names a template's own variables have: no request may put others in their place.
RESERVED_KWARGS = frozenset(
    ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "documents")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call the assistant made. arguments: JSON text, as the model wrote it."""

    name: str
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One turn. `role` is what the model's template knows: system, user, assistant, tool.

    name: of the speaker, or of the tool that answers. tool_calls: an assistant's.
    tool_call_id: which call a turn of role tool answers. reasoning: an assistant's thinking.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call. parameters: JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How the turns are rendered and the answer is written; for `messages` only.

    tool_choice: "required" forces a call by grammar; "none" hides the tools from the model.
    tool_name: forces a call of that tool. template_kwargs: more variables for the template, such
    as enable_thinking. continue_final: the last turn, an assistant's, is begun and goes on.
    markup: write control tokens (of tool calls, of channels) into the text, beginning with the
    mark of thinking that the template has opened, as `umad.chat` reads it.
    """

    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tool_name: str | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    continue_final: bool = False
    markup: bool = False

    @property
    def forces_call(self) -> bool:
        """The answer has to be a tool call."""
        return self.tool_choice == "required" or self.tool_name is not None

    def check(self, messages: tuple[ChatMessage, ...]) -> None:
        """Raise `BadRequest` naming the field for what no template could do."""
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


def to_json(messages: tuple[ChatMessage, ...], options: ChatOptions) -> str:
    """Both as one text, for the link and the journal; `from_json` is its inverse."""
    turns = [
        [m.role, m.content, m.name, _calls(m.tool_calls), m.tool_call_id, m.reasoning]
        for m in messages
    ]
    tools = [[tool.name, tool.description, tool.parameters] for tool in options.tools]
    rest = [
        options.tool_choice,
        options.tool_name,
        options.template_kwargs,
        options.continue_final,
        options.markup,
    ]
    try:
        return json.dumps([turns, tools, *rest], separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest("tools and template_kwargs hold what JSON has", field="tools") from error


def from_json(text: str) -> tuple[tuple[ChatMessage, ...], ChatOptions]:
    """Of our own making, so it is trusted."""
    turns, tools, tool_choice, tool_name, template_kwargs, continue_final, markup = json.loads(text)
    messages = tuple(
        ChatMessage(
            role=role,
            content=content,
            name=name,
            tool_calls=tuple(ToolCall(name=n, arguments=a, id=i) for n, a, i in calls),
            tool_call_id=call_id,
            reasoning=reasoning,
        )
        for role, content, name, calls, call_id, reasoning in turns
    )
    return messages, ChatOptions(
        tools=tuple(Tool(name=n, description=d, parameters=p) for n, d, p in tools),
        tool_choice=tool_choice,
        tool_name=tool_name,
        template_kwargs=template_kwargs,
        continue_final=continue_final,
        markup=markup,
    )


def _calls(calls: tuple[ToolCall, ...]) -> list[list[str | None]]:
    return [[call.name, call.arguments, call.id] for call in calls]
