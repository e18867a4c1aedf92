"""Translates a Messages body into a `GenerateRequest`.

Anthropic's turns differ from a chat template's: a turn is a list of blocks, tool results stand in a
user's turn, system turns may come in the middle, and a last turn of the assistant is the beginning
of the answer. Pure. Not: rendering the model's template, nor parsing its answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from umad.content import Piece, beside, joined
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall, asked_now
from umad.errors import BadRequest
from umad.gateway.bodies import anthropic as bodies
from umad.gateway.bodies.past_turns import json_text, unread
from umad.gateway.bodies.thinking import thinking_options
from umad.gateway.dialects.anthropic.attribution import without_attribution
from umad.gateway.written_files import WrittenFile, from_base64, from_url
from umad.request import GenerateRequest, SamplingParams

# Anthropic's own default; umad's defaults are for apps that say nothing about sampling.
TEMPERATURE = 1.0
BETWEEN_BLOCKS = "\n\n"


def request_of(body: bodies.MessagesBody) -> GenerateRequest:
    """The generation `body` asks for. Raises `BadRequest` with a field of the body."""
    form = body.form
    return GenerateRequest(
        messages=turns_of(body),
        chat=options_of(body),
        constraint=None if form is None else form.constraint,
        model=body.model,
        sampling=sampling_of(body),
        speculate=body.is_guessed,
    )


def counting_request(body: bodies.CountTokensBody) -> GenerateRequest:
    """The shortest generation on the same prompt."""
    return GenerateRequest(
        messages=turns_of(body),
        chat=options_of(body),
        model=body.model,
        sampling=SamplingParams(max_tokens=1),
    )


def sampling_of(body: bodies.MessagesBody) -> SamplingParams:
    """The body's sampling. A field that was not given keeps umad's default, except the
    temperature.
    """
    given = {"temperature": TEMPERATURE, **body.drawing()}
    return SamplingParams(max_tokens=body.max_tokens, fit=True, **given)


def options_of(body: bodies.CountTokensBody) -> ChatOptions:
    """Tools and how the template is to treat the turns."""
    tools = tuple(_tool(one) for one in body.tools if isinstance(one, bodies.CustomTool))
    choice = body.tool_choice
    if choice is not None and choice.type == "tool":
        _check_named(choice, tools)
    thinking = _thinking(body)
    return ChatOptions(
        tools=tools,
        tool_choice="none"
        if choice is not None and choice.type == "none"
        else "required"
        if choice is not None and choice.type == "any" and tools
        else "auto",
        tool_name=choice.name if choice is not None and choice.type == "tool" else None,
        continue_final=_is_begun(body.messages),
        markup=True,
        parallel_tool_calls=choice is None or not choice.disable_parallel_tool_use,
        **thinking,
    )


def _thinking(body: bodies.CountTokensBody) -> dict[str, Any]:
    """How long the model may think. Where the client does not say, a template that can leave the
    thinking out does so, and a model that thinks all the same may.
    """
    option, config = body.thinking, body.output_config
    if option is None:
        return {"template_kwargs": {"enable_thinking": False}}
    return thinking_options(
        effort=None if config is None else config.effort,
        budgets={"thinking.budget_tokens": option.budget_tokens},
        enabled=option.type != "disabled",
    )


def _tool(tool: bodies.CustomTool) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=tool.input_schema,
        strict=tool.strict,
    )


def _check_named(choice: bodies.AnthropicToolChoice, tools: Sequence[Tool]) -> None:
    names = [tool.name for tool in tools]
    if choice.name is None:
        raise BadRequest("a tool_choice of type tool needs a name", field="tool_choice.name")
    if choice.name not in names:
        known = f"there are {', '.join(names)}" if names else "no tools were given"
        raise BadRequest(f"no tool has that name; {known}", field="tool_choice.name")


def _is_begun(messages: Sequence[bodies.MessagesTurn]) -> bool:
    """Whether the last turn is the beginning of the answer, which the model continues."""
    if not messages or messages[-1].role != "assistant":
        return False
    content = messages[-1].content
    return isinstance(content, str) or all(block.type == "text" for block in content)


# -- turns -----------------------------------------------------------------------------------------


def turns_of(body: bodies.CountTokensBody) -> tuple[ChatMessage, ...]:
    """The conversation, system prompt first. Raises `BadRequest` with a field of the body."""
    if not body.messages:
        raise BadRequest("messages is empty", field="messages")
    tool_names: dict[str, str] = {}
    turns: list[ChatMessage] = []
    system = _system_text(body.system)
    now = asked_now([one.role for one in body.messages])
    for at, message in enumerate(body.messages):
        if message.role == "system" and not turns:
            system = _joined((system, _plain_text(message.content)))
        else:
            place = f"messages.{at}.content"
            turns.extend(_turns(message, place, tool_names, is_asked=at == now))
    head = [ChatMessage(role="system", content=system)] if system else []
    return (*head, *_merged(turns))


def _system_text(system: str | Sequence[bodies.TextBlock] | None) -> str:
    if system is None:
        return ""
    text = system if isinstance(system, str) else _joined(block.text for block in system)
    return without_attribution(text)


def _turns(
    message: bodies.MessagesTurn, place: str, tool_names: dict[str, str], *, is_asked: bool
) -> Iterator[ChatMessage]:
    """The turns of one message. place: its content's. is_asked: it is to be answered now."""
    match message.role:
        case "assistant":
            yield _assistant(message.content, tool_names)
        case "system":
            # Templates want their system turn first; agents mark such words for the model in this
            # way.
            said = _plain_text(message.content)
            yield ChatMessage(role="user", content=f"<system-reminder>\n{said}\n</system-reminder>")
        case "user":
            yield from _user(message.content, place, tool_names, is_asked=is_asked)


def _assistant(
    content: str | Sequence[bodies.ContentBlock], tool_names: dict[str, str]
) -> ChatMessage:
    """The assistant's turn, without the blocks of Anthropic's own tools."""
    if isinstance(content, str):
        return ChatMessage(role="assistant", content=content)
    calls: list[ToolCall] = []
    thoughts: list[str] = []
    texts: list[str] = []
    for block in content:
        if isinstance(block, bodies.TextBlock):
            texts.append(block.text)
        elif isinstance(block, bodies.ThinkingBlock):
            thoughts.append(block.thinking)
        elif isinstance(block, bodies.ToolUseBlock):
            tool_names[block.id] = block.name
            arguments = str(json_text(block.input))
            calls.append(ToolCall(name=block.name, arguments=arguments, id=block.id))
    return ChatMessage(
        role="assistant",
        content="".join(texts),
        tool_calls=tuple(calls),
        reasoning="".join(thoughts) or None,
    )


def _user(
    content: str | Sequence[bodies.ContentBlock],
    place: str,
    tool_names: dict[str, str],
    *,
    is_asked: bool,
) -> Iterator[ChatMessage]:
    if isinstance(content, str):
        yield ChatMessage(role="user", content=content)
        return
    if any(isinstance(block, bodies.ToolResultBlock) for block in content):
        is_asked = False  # a tool has brought what stands beside its result
    pieces: list[Piece] = []
    for at, block in enumerate(content):
        if isinstance(block, bodies.ToolResultBlock):
            if pieces:
                yield _said(pieces)
                pieces = []
            yield _tool_result(block, f"{place}.{at}.content", tool_names)
        else:
            pieces.append(_read(block, f"{place}.{at}", is_asked=is_asked))
    if pieces:
        yield _said(pieces)


def _said(pieces: Sequence[Piece]) -> ChatMessage:
    content, media = joined(pieces, BETWEEN_BLOCKS)
    return ChatMessage(role="user", content=content, media=media)


def _tool_result(
    block: bodies.ToolResultBlock, place: str, tool_names: dict[str, str]
) -> ChatMessage:
    """A tool's answer. A block that no model can read is named."""
    content = block.content or ""
    pieces: list[Piece] = (
        [content]
        if isinstance(content, str)
        else [_read(one, f"{place}.{at}") for at, one in enumerate(content)]
    )
    said, media = joined(pieces, BETWEEN_BLOCKS)
    if block.is_error:
        said, media = beside(("Error: ", ()), (said, media), "")
    return ChatMessage(
        role="tool",
        content=said,
        media=media,
        name=tool_names.get(block.tool_use_id),
        tool_call_id=block.tool_use_id,
    )


def _read(
    block: bodies.ContentBlock | bodies.ResultPart, place: str, *, is_asked: bool = False
) -> Piece:
    """The text of a block, or its image. What is neither is named, and where it is asked about now,
    refused.
    """
    text = _text_in(block)
    if text is not None:
        return text
    if isinstance(block, bodies.ImageBlock):
        return _image(block.source, f"{place}.source")
    if not is_asked:
        return unread(block.type)
    raise BadRequest(
        f"{place}: text and images are read, not a block of type {block.type[:64]}", field=place
    )


def _image(source: Any, place: str) -> WrittenFile:
    given = source if isinstance(source, dict) else {}
    if given.get("type") == "url":
        return from_url("image", given.get("url"), f"{place}.url")
    return from_base64("image", given.get("data"), f"{place}.data")


def _text_in(block: bodies.ContentBlock | bodies.ResultPart) -> str | None:
    if isinstance(block, bodies.TextBlock):
        return block.text
    if isinstance(block, bodies.DocumentBlock) and isinstance(block.source, bodies.TextSource):
        return _joined((block.title or "", block.source.data))
    if isinstance(block, bodies.SearchResultBlock):
        return _joined((block.title, block.source, *(one.text for one in block.content)))
    return None


def _plain_text(content: str | Sequence[bodies.ContentBlock]) -> str:
    """The words of a system turn."""
    if isinstance(content, str):
        return content
    return _joined(_text_in(block) or unread(block.type) for block in content)


def _merged(turns: Sequence[ChatMessage]) -> Iterator[ChatMessage]:
    """The turns with neighbouring user turns joined: some templates insist that the roles
    alternate.
    """
    open_turn: ChatMessage | None = None
    for turn in turns:
        # Which images are asked about now is known by their turns, so these stay apart.
        is_text = open_turn is not None and not (open_turn.media or turn.media)
        if open_turn is not None and turn.role == "user" and is_text:
            open_turn = ChatMessage(role="user", content=_joined((open_turn.content, turn.content)))
            continue
        if open_turn is not None:
            yield open_turn
        open_turn = turn if turn.role == "user" else None
        if open_turn is None:
            yield turn
    if open_turn is not None:
        yield open_turn


def _joined(texts: Iterator[str] | Sequence[str]) -> str:
    return BETWEEN_BLOCKS.join(text for text in texts if text)
