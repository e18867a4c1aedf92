"""Chat messages to text, with the model's own Jinja template.

The template comes out of a file somebody downloaded, so it runs in jinja2's immutable sandbox,
its products and its output bounded. What templates expect to find is what Hugging Face's
`apply_chat_template` gives them: raise_exception, strftime_now, tojson without HTML escapes,
trim_blocks and lstrip_blocks. Owner: the mailbox thread.
"""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from typing_extensions import override

from umad.chat.call_ids import numbered
from umad.chat.formats import ChatFormat, format_of
from umad.conversation import ChatMessage, ChatOptions
from umad.errors import BadRequest

# A few kilobytes are usual; what a hostile template could multiply is bounded by this.
MAX_TEMPLATE_CHARS = 1_000_000
MAX_RENDERED_CHARS = 64 * 2**20
MAX_POWER = 64

Guard = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The prompt as text. opened: the mark of thinking under which the answer begins, or "".

    may_think: the answer may begin with thinking, opened or not.
    """

    text: str
    opened: str = ""
    may_think: bool = False


class _Environment(ImmutableSandboxedEnvironment):
    """Besides the sandbox's own rules: nothing is multiplied beyond all bounds."""

    intercepted_binops = frozenset(("*", "**"))

    @override
    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        if operator == "**" and not (isinstance(right, int) and right <= MAX_POWER):
            raise jinja2.TemplateRuntimeError("a power too high")
        sized, times = (right, left) if isinstance(left, int) else (left, right)
        is_repetition = isinstance(sized, str | list | tuple) and isinstance(times, int)
        if is_repetition and len(sized) * times > MAX_TEMPLATE_CHARS:
            raise jinja2.TemplateRuntimeError("a string or list is repeated too often")
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    """The template of one model, compiled once. format: the family it belongs to."""

    def __init__(self, source: str | None, *, bos_text: str, eos_text: str) -> None:
        """`source` None: the model has none, and `render` says so."""
        self.format: ChatFormat = format_of(source)
        self._specials = {"bos_token": bos_text, "eos_token": eos_text}
        self._template: jinja2.Template | None = None
        self._flaw: str | None = None
        if source is None:
            self._flaw = "has no chat template; send a prompt instead of messages"
            return
        if len(source) > MAX_TEMPLATE_CHARS:
            self._flaw = f"has a chat template of {len(source)} characters, too long to be run"
            return
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            self._flaw = f"has a chat template that cannot be read: {error}"

    @property
    def is_usable(self) -> bool:
        """Whether `render` can work at all."""
        return self._template is not None

    def render(
        self,
        messages: Sequence[ChatMessage],
        options: ChatOptions | None = None,
        guard: Guard = str,
    ) -> Rendered:
        """The prompt, ending where the assistant's answer begins or goes on.

        guard: applied to every string that came from outside before the template sees it.
        Raises `BadRequest` when there is no template or it refuses these messages.
        """
        if self._template is None:
            raise BadRequest(f"this model {self._flaw}", field="messages")
        options = options or ChatOptions()
        if _offers_tools(options) and not self.format.takes_tools:
            messages = _told_of_tools(messages, options)
        if self.format.family == "kimi":
            messages = numbered(messages)
        begun = messages[-1] if options.continue_final else None
        turns = messages[:-1] if begun is not None else messages
        # A template gets arguments as objects, as Hugging Face does; some add them up as text.
        try:
            text = self._text(turns, options, guard, objects=True)
        except BadRequest:
            if not any(turn.tool_calls for turn in turns):
                raise
            text = self._text(turns, options, guard, objects=False)
        return self._begun(text, begun, guard)

    def _text(
        self, turns: Sequence[ChatMessage], options: ChatOptions, guard: Guard, *, objects: bool
    ) -> str:
        assert self._template is not None
        values: dict[str, Any] = {
            **_guarded(options.template_kwargs, guard),
            "messages": [_turn(turn, guard, objects=objects) for turn in turns],
            "add_generation_prompt": True,
            "tools": _tools(options, guard),
            **self._specials,
        }
        pieces: list[str] = []
        room = MAX_RENDERED_CHARS
        try:
            for piece in self._template.generate(values):
                room -= len(piece)
                if room < 0:
                    raise BadRequest(
                        f"the chat template makes more than {MAX_RENDERED_CHARS} characters",
                        field="messages",
                    )
                pieces.append(piece)
        except jinja2.TemplateError as error:
            raise BadRequest(
                f"the model's chat template refuses these messages: {error}", field="messages"
            ) from error
        except (
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            # Templates are programs; what they stumble over is these messages.
            raise BadRequest(
                f"the model's chat template fails on these messages: {error}", field="messages"
            ) from error
        return "".join(pieces)

    def _begun(self, text: str, begun: ChatMessage | None, guard: Guard) -> Rendered:
        """`text` and what of the answer is there already."""
        thinking = self.format.thinking
        if thinking is None:
            # In harmony the model chooses its channels by itself, unless a turn has been begun.
            may_think = self.format.family == "harmony" and begun is None
            if begun is None or self.format.family != "harmony":
                return Rendered(
                    text=text + guard(begun.content if begun else ""), may_think=may_think
                )
            return Rendered(text=f"{text}<|channel|>final<|message|>{guard(begun.content)}")
        opening, closing = thinking
        stripped = text.rstrip()
        opened = text[text.rindex(opening) :] if stripped.endswith(opening) else ""
        if begun is None:
            return Rendered(text=text, opened=opened, may_think=not stripped.endswith(closing))
        if begun.reasoning is not None:
            text += ("" if opened else f"{opening}\n") + guard(begun.reasoning)
            if not begun.content:
                return Rendered(text=text, opened=opened or opening, may_think=True)
        if opened or begun.reasoning is not None:
            text += f"\n{closing}\n\n"
        return Rendered(text=text + guard(begun.content))


def _offers_tools(options: ChatOptions) -> bool:
    return bool(options.tools) and options.tool_choice != "none"


# What Hermes' and Qwen's templates say, for models whose template has no word for tools.
_TOOLS_TOLD = """# Tools

You may call one or more functions to assist with the user query. These are their signatures:
<tools>
{tools}
</tools>

For each function call, return a JSON object with its name and arguments within tool_call tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def _told_of_tools(messages: Sequence[ChatMessage], options: ChatOptions) -> list[ChatMessage]:
    """The turns with the tools in the system's, and calls and answers as text."""
    tools = "\n".join(_to_json(tool) for tool in _tools(options, str) or ())
    told = _TOOLS_TOLD.format(tools=tools)
    turns = [_as_text(turn) for turn in messages]
    if turns and turns[0].role == "system":
        first = turns.pop(0)
        told = f"{first.content}\n\n{told}"
    return [ChatMessage(role="system", content=told), *turns]


def _as_text(turn: ChatMessage) -> ChatMessage:
    if turn.role == "tool":
        return ChatMessage(
            role="user", content=f"<tool_response>\n{turn.content}\n</tool_response>"
        )
    calls = [
        f"<tool_call>\n"
        f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}'
        f"\n</tool_call>"
        for call in turn.tool_calls
    ]
    said = [turn.content] if turn.content else []
    return replace(turn, content="\n".join([*said, *calls]), tool_calls=()) if calls else turn


def _turn(turn: ChatMessage, guard: Guard, *, objects: bool) -> dict[str, Any]:
    """As templates know turns; what is not set is not there."""
    values: dict[str, Any] = {"role": guard(turn.role), "content": guard(turn.content)}
    for name in ("name", "tool_call_id"):
        if (given := getattr(turn, name)) is not None:
            values[name] = guard(given)
    if turn.reasoning is not None:
        # Qwen and DeepSeek call it the one, gpt-oss the other.
        values["reasoning_content"] = values["thinking"] = guard(turn.reasoning)
    if turn.tool_calls:
        values["tool_calls"] = [
            {
                "type": "function",
                "id": guard(call.id or ""),
                "function": {
                    "name": guard(call.name),
                    "arguments": _arguments(call.arguments, guard, objects=objects),
                },
            }
            for call in turn.tool_calls
        ]
    return values


def _arguments(text: str, guard: Guard, *, objects: bool) -> Any:
    if objects:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return guard(text)
        if isinstance(value, dict):
            return _guarded(value, guard)
    return guard(text)


def _tools(options: ChatOptions, guard: Guard) -> list[dict[str, Any]] | None:
    if not _offers_tools(options):
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": guard(tool.name),
                "description": guard(tool.description),
                "parameters": _guarded(tool.parameters, guard),
            },
        }
        for tool in options.tools
    ]


def _guarded(value: Any, guard: Guard) -> Any:
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, Mapping):
        return {guard(str(key)): _guarded(one, guard) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_guarded(one, guard) for one in value]
    return value


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format_: str) -> str:
    return datetime.datetime.now().astimezone().strftime(format_)


def _to_json(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
