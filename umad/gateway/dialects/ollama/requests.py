"""Translates Ollama's bodies into umad's requests. Pure.

An option that was not given keeps umad's default. The options that configure a runner (num_ctx,
num_gpu, …) have no effect, so apps that disagree about them share one loaded model.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from umad.content import joined
from umad.conversation import ChatMessage, ChatOptions, Tool, ToolCall
from umad.errors import BadRequest, Unsupported
from umad.gateway.bodies import ollama as bodies
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.bodies.thinking import thinking_options
from umad.gateway.written_files import WrittenFile, from_base64
from umad.request import GenerateRequest, SamplingParams

# This dialect's names for umad's fields, for errors.
NAMES = {
    **{name: f"options.{name}" for name in Drawing.model_fields},
    "max_tokens": "options.num_predict",
    "logprobs": "top_logprobs",
}


def chat_request(body: bodies.OllamaChatBody) -> GenerateRequest:
    """The generation of `/api/chat`. Raises `BadRequest` with a field of the body."""
    messages = body.messages or []
    turns = tuple(_turn(one, f"messages.{at}") for at, one in enumerate(messages))
    tools = tuple(_tools(body.tools or ()))
    return GenerateRequest(
        messages=turns,
        chat=ChatOptions(
            tools=tools,
            continue_final=bool(turns) and _is_begun(turns[-1]),
            markup=True,
            **_thinking(body.think),
        ),
        constraint=None if body.form is None else body.form.constraint,
        model=body.model,
        sampling=sampling_of(body),
        speculate=body.is_guessed,
    )


def generate_request(body: bodies.OllamaGenerateBody) -> GenerateRequest:
    """The generation of `/api/generate`: the prompt as one turn of a chat, or unchanged with `raw`.

    Raises `BadRequest`, and `Unsupported` for fields that umad cannot follow.
    """
    if body.template:
        raise Unsupported("the model's own template is used; send raw instead", field="template")
    if body.raw:
        _check_raw(body)
    prompt, media = joined([*_images(body.images, "images"), body.prompt or ""])
    sampling = sampling_of(body)
    model, form = body.model, body.form
    constraint = None if form is None else form.constraint
    if body.raw:
        return GenerateRequest(
            prompt=prompt,
            media=media,
            constraint=constraint,
            model=model,
            sampling=sampling,
            speculate=body.is_guessed,
        )
    system = [ChatMessage(role="system", content=body.system)] if body.system else []
    return GenerateRequest(
        messages=(*system, ChatMessage(role="user", content=prompt, media=media)),
        chat=ChatOptions(markup=True, context=tuple(body.context or ()), **_thinking(body.think)),
        constraint=constraint,
        model=model,
        sampling=sampling,
        speculate=body.is_guessed,
    )


def _check_raw(body: bodies.OllamaGenerateBody) -> None:
    """Refuse what Ollama refuses beside a raw prompt, because all of it is the template's."""
    for name in ("system", "context"):
        if getattr(body, name):
            raise BadRequest(f"raw takes the prompt as it is, without {name}", field=name)


def insert_request(
    body: bodies.OllamaGenerateBody, ids: tuple[int, ...], *, model: str
) -> GenerateRequest:
    """The generation that fills the gap before `suffix`. ids: the prompt with the model's marks."""
    return GenerateRequest(
        prompt_ids=ids,
        constraint=None if body.form is None else body.form.constraint,
        model=model,
        sampling=sampling_of(body),
        speculate=body.is_guessed,
    )


def sampling_of(body: bodies.OllamaChatBody | bodies.OllamaGenerateBody) -> SamplingParams:
    """Sampling of `options`, under umad's names."""
    options = body.options or bodies.Options()
    given = options.drawing()
    if body.logprobs:
        given["logprobs"] = body.top_logprobs or 0
    # 0 means "until it ends", too.
    return SamplingParams(fit=True, max_tokens=options.num_predict or None, **given)


def _turn(message: bodies.OllamaTurn, field: str) -> ChatMessage:
    if message.role not in ("system", "user", "assistant", "tool"):
        raise BadRequest(
            f"no role {message.role[:64]!r}; there are system, user, assistant and tool",
            field=f"{field}.role",
        )
    calls = tuple(
        ToolCall(
            name=call.function.name,
            arguments=call.function.arguments,
            id=call.id,
        )
        for call in message.tool_calls or ()
    )
    content, media = joined([*_images(message.images, f"{field}.images"), message.content or ""])
    return ChatMessage(
        role=message.role,
        content=content,
        media=media,
        name=message.tool_name,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
        reasoning=message.thinking or None,
    )


def _images(images: Sequence[str] | None, field: str) -> list[WrittenFile]:
    """The images of a turn. They stand before its words, as in Ollama's server/prompt.go."""
    return [from_base64("image", one, f"{field}.{at}") for at, one in enumerate(images or ())]


def _is_begun(turn: ChatMessage) -> bool:
    return turn.role == "assistant" and not turn.tool_calls


def _tools(tools: Sequence[bodies.OllamaTool]) -> Iterator[Tool]:
    """Tools of unknown types are skipped."""
    for tool in tools:
        function = tool.function
        if tool.type == "function" and function is not None:
            yield Tool(
                name=function.name,
                description=function.description or "",
                parameters=function.parameters or {"type": "object", "properties": {}},
            )


def _thinking(think: bodies.Think | None) -> dict[str, Any]:
    """How long the model may think; where the client does not say, the model's default holds."""
    if think is None or isinstance(think, bool):
        return thinking_options(enabled=think)
    return thinking_options(effort=think, enabled=think not in ("none", "minimal"))
