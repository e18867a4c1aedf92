"""Renders chat messages to text with the model's own Jinja template.

It decides what the template is told of turns and tools, and where the answer begins. Not: how the
template runs (`umad.engine.chats.template_program`) and where
(`umad.engine.chats.template_process`). Threads: those of `umad.engine.mail.long_intake`.
"""

import bisect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from umad.chat.formats import ChatFormat, format_of
from umad.conversation import ChatMessage, ChatOptions
from umad.engine.chats.family_turns import (
    call_words,
    family_turns,
    message_shape,
    with_answer_begun,
)
from umad.engine.chats.past_calls import in_words
from umad.engine.chats.template_program import (
    MessagesRefused,
    Renderer,
    TemplateFailed,
    to_json,
)
from umad.engine.chats.template_values import guarded, offers_tools, tool_values, turn_values
from umad.engine.chats.thinking_variables import ThinkingVariables
from umad.engine.chats.turn_ends import (
    NEXT_TURN,
    TurnEnd,
    before_unknown,
    turn_ends,
    unknown_words,
    with_signs,
)
from umad.engine.chats.turn_forms import Guard, is_told, plainer_forms
from umad.errors import BadRequest

# Templates usually have a few kilobytes.
MAX_TEMPLATE_CHARS = 1_000_000
# A template that refuses a chat is not run on further forms of it after so long. Usual ones take
# some milliseconds for all of them.
RETRY_S = 10.0
# A chat that takes longer to render is not rendered once more to find the ends of its turns. The
# largest ones that people have take a tenth of it.
MARKED_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A chat rendered to the text of a prompt."""

    text: str
    # The opening mark of the thinking in which the answer begins; "" where it begins in none.
    opened: str = ""
    # The answer may begin with thinking, opened or not.
    may_think: bool = False
    # The places up to which the chat's next turn will agree with it, where they were asked for.
    ends: tuple[TurnEnd, ...] = ()


class ChatTemplate:
    """The template of one model."""

    def __init__(
        self,
        source: str | None,
        *,
        bos_text: str,
        eos_text: str,
        run: Callable[[str], Renderer],
    ) -> None:
        """source: None where the model has no template; then `render` says so. run: starts what
        runs the template.
        """
        # The template's own text.
        self.source = source
        # The family that the template belongs to.
        self.format: ChatFormat = format_of(source)
        self._specials = {"bos_token": bos_text, "eos_token": eos_text}
        family = self.format.family
        self._call_words = call_words(family, source or "")
        self._shaped = message_shape(family, source or "")
        self._thinking = ThinkingVariables(
            source or "", is_harmony=family == "harmony", is_refused=self._is_refused
        )
        self._renderer: Renderer | None = None
        self._finds_no_ends = False
        self._flaw = ""
        if source is None:
            self._flaw = "this model has no chat template; send a prompt instead of messages"
        elif len(source) > MAX_TEMPLATE_CHARS:
            self._flaw = (
                f"this model has a chat template of {len(source)} characters, too long to be run"
            )
        else:
            try:
                self._renderer = run(source)
            except TemplateFailed as error:
                self._flaw = str(error)

    def render(
        self,
        messages: Sequence[ChatMessage],
        options: ChatOptions | None = None,
        guard: Guard = str,
        *,
        ends: bool = False,
    ) -> Rendered:
        """Render the prompt. It ends where the assistant's answer begins or goes on.

        guard: applied to every string that came from outside before the template sees it. ends:
        find the ends of turns, too, which takes as long again.
        Raises `BadRequest` when there is no template or it refuses these messages.
        """
        if self._renderer is None:
            raise BadRequest(self._flaw, field="messages")
        options = options or ChatOptions()
        asking = messages[:-1] if options.continue_final else messages
        is_asked = bool(asking) and asking[-1].role == "user"
        if offers_tools(options) and not self.format.takes_tools:
            messages = _told_of_tools(in_words(messages), options)
        begun = messages[-1] if options.continue_final else None
        turns = messages[:-1] if begun is not None else messages
        began_s = time.monotonic()
        try:
            form, text = self._text(turns, options, guard)
        except TemplateFailed as error:
            raise BadRequest(str(error), field="messages") from error
        rendered = self._begun(text, begun, guard)
        if ends and time.monotonic() - began_s < MARKED_S:
            found = self._ends(form, text, options, guard, is_asked=is_asked)
            rendered = replace(rendered, ends=found)
        return rendered

    def next_turn(
        self,
        messages: Sequence[ChatMessage],
        answer: ChatMessage,
        options: ChatOptions,
        guard: Guard = str,
    ) -> tuple[str, int] | None:
        """The chat with its answer as the next turn will show it, and the place in that text at
        which something stands that is not known yet: the turn's own words, or an id of a call. None
        where the template shows no such chat.
        """
        if self._renderer is None:
            return None
        role = "tool" if answer.tool_calls else "user"
        call = answer.tool_calls[0].id if answer.tool_calls else None
        words = ChatMessage(role=role, content=unknown_words(), tool_call_id=call)
        turns: Sequence[ChatMessage] = (*messages, answer, words)
        if offers_tools(options) and not self.format.takes_tools:
            turns = _told_of_tools(in_words(turns), options)
        try:
            _, text = self._text(turns, options, guard)
        except TemplateFailed:
            return None
        at = before_unknown(text)
        return None if at is None else (text, at)

    def _ends(
        self, form: "_Form", text: str, options: ChatOptions, guard: Guard, *, is_asked: bool
    ) -> tuple[TurnEnd, ...]:
        """The ends of turns in `text`, which `form` was rendered to. is_asked: the last turn is a
        user's.
        """
        signed = with_signs(form.turns)
        for behind in (NEXT_TURN, ()) if is_asked else ((),):
            if self._finds_no_ends:
                break
            try:
                other = self._run(replace(form, turns=(*signed, *behind)), options, guard)
            except MessagesRefused:
                continue
            except TemplateFailed:
                # It was ended for taking too long, on a chat that it has just rendered.
                self._finds_no_ends = True
                break
            return turn_ends(text, other)
        return ()

    def _text(
        self, turns: Sequence[ChatMessage], options: ChatOptions, guard: Guard
    ) -> tuple["_Form", str]:
        """The turns as they are or, where the template does not take them or leaves some out, in
        the first plainer form that it takes. Returns that form, and its text.
        """
        refusal: MessagesRefused | None = None
        last: tuple[_Form, str] | None = None
        knows_calls = self.format.takes_tools
        began_s = time.monotonic()
        has_tools = offers_tools(options)
        for form in _forms(tuple(turns), knows_calls=knows_calls, has_tools=has_tools):
            try:
                text = self._run(form, options, guard)
            except MessagesRefused as error:
                refusal = refusal or error
                if time.monotonic() - began_s > RETRY_S:
                    raise refusal from None
                continue
            last = form, text
            if form.is_plainer or is_told(turns, text, guard, knows_calls=knows_calls):
                return last
        if last is not None:  # with some words left out, and no other form was taken
            return last
        assert refusal is not None
        raise MessagesRefused(f"{refusal}{self._place(turns, options, guard, str(refusal))}")

    def _place(
        self, turns: Sequence[ChatMessage], options: ChatOptions, guard: Guard, why: str
    ) -> str:
        """The turn that is the first to be refused with the words `why`, to be told to a person."""

        def is_refused(n_turns: int) -> bool:
            try:
                self._run(_Form(turns[:n_turns]), options, guard)
            except MessagesRefused as error:
                return str(error) == why
            return False

        n_turns = bisect.bisect_left(range(1, len(turns) + 1), True, key=is_refused) + 1
        role = turns[n_turns - 1].role if n_turns <= len(turns) else ""
        return f" (at message {n_turns}, of role {role})" if role else ""

    def _run(self, form: "_Form", options: ChatOptions, guard: Guard) -> str:
        assert self._renderer is not None
        family = self.format.family
        words = self._call_words
        messages = [
            turn_values(turn, guard, objects=form.objects, words=words)
            for turn in family_turns(family, form.turns)
        ]
        tools = tool_values(options, guard)
        variables = self._thinking.of(options.template_kwargs, options.thinking_tokens)
        values: dict[str, Any] = {
            **guarded(variables, guard),
            "messages": self._shaped(messages),
            "add_generation_prompt": True,
            "tools": tools or [] if form.lists_tools else tools,
            **self._specials,
        }
        return with_answer_begun(family, self._renderer.render(values))

    def _is_refused(self, variables: Mapping[str, Any]) -> bool:
        """Whether an ordinary chat is refused with these variables, and is not without them."""
        assert self._renderer is not None
        chat: dict[str, Any] = {
            "messages": [{"role": "user", "content": "Hello."}],
            "add_generation_prompt": True,
            "tools": None,
            **self._specials,
        }
        for values, is_refused in (({**chat, **variables}, True), (chat, False)):
            try:
                self._renderer.render(values)
            except MessagesRefused:
                continue
            except TemplateFailed:
                return False
            return not is_refused
        return False

    def _begun(self, text: str, begun: ChatMessage | None, guard: Guard) -> Rendered:
        """Add the part of the answer that exists already to `text`."""
        thinking = self.format.thinking
        if thinking is None:
            # In harmony the model chooses its channels itself, unless a turn has been begun.
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
            is_over = stripped.endswith((closing, self.format.answer_opening or closing))
            return Rendered(text=text, opened=opened, may_think=not is_over)
        if begun.reasoning is not None:
            text += ("" if opened else f"{opening}\n") + guard(begun.reasoning)
            if not begun.content:
                return Rendered(text=text, opened=opened or opening, may_think=True)
        if opened or begun.reasoning is not None:
            text += self.format.thinking_end()
        return Rendered(text=text + guard(begun.content))


@dataclass(frozen=True, slots=True)
class _Form:
    """The turns in one form."""

    turns: Sequence[ChatMessage]
    # A template gets arguments as objects, as Hugging Face passes them. Some templates join them to
    # text as strings and fail on objects; those get text.
    objects: bool = True
    # Hugging Face passes None for no tools, and some templates walk through them anyway.
    lists_tools: bool = False
    # The turns are not those that the client sent.
    is_plainer: bool = False


def _forms(turns: Sequence[ChatMessage], *, knows_calls: bool, has_tools: bool) -> Iterator[_Form]:
    """The turns as they are, then in plainer forms, each with arguments as objects and as text.
    knows_calls: the template has a way of its own to write calls.
    """
    before: list[Sequence[ChatMessage]] = []
    words = turns if knows_calls else in_words(turns)
    for at, form in enumerate([turns, turns, words, *plainer_forms(words)]):
        again = has_tools if at == 1 else form in before
        before.append(form)
        if again:
            continue
        first = _Form(form, lists_tools=at > 0, is_plainer=at > 2)
        yield first
        if any(turn.tool_calls for turn in form):
            yield replace(first, objects=False)


# The words of Hermes' and Qwen's templates, for models whose template cannot name tools.
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
    """Put the tools into the system turn."""
    tools = "\n".join(to_json(tool) for tool in tool_values(options, str) or ())
    told = _TOOLS_TOLD.format(tools=tools)
    turns = list(messages)
    if turns and turns[0].role == "system":
        first = turns.pop(0)
        told = f"{first.content}\n\n{told}"
    return [ChatMessage(role="system", content=told), *turns]
