"""Makes a request from the arguments of a generation, as a caller writes them.

No argument is dropped. An unknown name raises `TypeError` with the nearest one. A whole
`GenerateRequest` or `SamplingParams` beside keywords that it already decides raises `TypeError`
too. A value of the wrong type raises `BadRequest`, naming the keyword. None is the same as leaving
a keyword out.
Not: the meaning of a request's fields (`umad.request`). Values only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, TypedDict

from umad.client.turns import Turn, tools_of, turns_of
from umad.constraint import Constraint
from umad.conversation import ChatOptions, Tool, ToolChoice
from umad.errors import BadRequest
from umad.protocol.fields import FieldReader, nearest
from umad.protocol.parsing import KINDS, read_one_constraint
from umad.request import SAMPLING_FIELDS, GenerateRequest, LogitsUse, SamplingParams

# A text to continue, the turns of a chat, or a request that is already complete.
Prompt = str | Sequence[Turn] | GenerateRequest


class RequestKeywords(TypedDict, total=False):
    """The keywords every generation takes.

    The fields of `SamplingParams` and `GenerateRequest` explain them.
    """

    model: str | None
    lane: str | None
    app: str | None
    session: str | None
    deadline_ms: int | None
    keep_alive_s: float | None
    # LoRA adapters, each a map of name and scale. `model` may name them instead.
    lora: Sequence[Mapping[str, Any]] | None
    # False: none of its next tokens is guessed. Guesses change no token, only the pace.
    speculate: bool | None
    # The JSON schema of the answer: a map, its JSON text, or a pydantic model.
    schema: Any
    # GBNF, or a map of one of gbnf, lark and regex.
    grammar: str | Mapping[str, str] | None
    sampling: SamplingParams | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repetition_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    penalty_last_n: int | None
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]] | None
    seed: int | None
    max_tokens: int | None
    fit: bool | None
    stop: str | Sequence[str] | None
    logprobs: int | None
    prompt_logprobs: int | None
    ignore_eos: bool | None


class TextKeywords(RequestKeywords, total=False):
    """The keywords of a generation whose answer is read as text."""

    # For a prompt: control tokens written in it are meant as such.
    special: bool | None
    # For turns: more variables for the template.
    template_kwargs: Mapping[str, Any] | None
    # For turns: the last turn is unfinished, and the answer continues it.
    continue_final: bool | None
    # For turns: the most tokens of thinking.
    thinking_tokens: int | None
    # For turns: token ids of an earlier conversation.
    context: Sequence[int] | None


class ChatKeywords(RequestKeywords, total=False):
    """The keywords of a chat."""

    tools: Sequence[Tool | Mapping[str, Any]] | None
    # "required" forces a call; `tool_name` forces one of that tool.
    tool_choice: ToolChoice | None
    tool_name: str | None
    template_kwargs: Mapping[str, Any] | None
    continue_final: bool | None
    # False: the answer ends with its first tool call.
    parallel_tool_calls: bool | None
    # False: a fenced block of JSON is text, also if it is a call of one of `tools`.
    fenced_calls: bool | None
    thinking_tokens: int | None
    context: Sequence[int] | None


class GenerateKeywords(TextKeywords, total=False):
    """The keywords of a generation whose events are read."""

    n: int | None
    logits: LogitsUse | None
    # An answer that was cut, to be continued: {"tokens": …, "fingerprint": …}. `seed` and
    # `max_tokens` are those that `Accepted` told.
    resume: Mapping[str, Any] | None
    tools: Sequence[Tool | Mapping[str, Any]] | None
    tool_choice: ToolChoice | None
    tool_name: str | None
    markup: bool | None
    parallel_tool_calls: bool | None
    fenced_calls: bool | None


_CHAT_FIELDS = (
    "tools",
    "tool_choice",
    "tool_name",
    "template_kwargs",
    "continue_final",
    "markup",
    "parallel_tool_calls",
    "fenced_calls",
    "thinking_tokens",
    "context",
)
_READERS: Mapping[str, FieldReader] = {**KINDS["generate"].readers, **KINDS["chat"].readers}


def request_of(
    verb: str, prompt: Prompt, keywords: Mapping[str, Any], known: type, *, is_chat: bool = False
) -> GenerateRequest:
    """The checked request of a call of `verb`.

    known: the `TypedDict` of the keywords it takes. is_chat: a text is a user's turn and not a
    prompt. Raises `TypeError` and `BadRequest`.
    """
    given = given_of(verb, keywords, known)
    if isinstance(prompt, GenerateRequest):
        if given:
            raise TypeError(
                f"{verb}() was given a whole GenerateRequest, which is already complete, and "
                f"{_listed(given)}; set it in the request (dataclasses.replace)"
            )
        prompt.check()
        return prompt
    sampling = _sampling(verb, given)
    constraint = _constraint(given)
    chat = {name: _read(name, given.pop(name)) for name in _CHAT_FIELDS if name in given}
    place = {name: _read(name, value) for name, value in given.items()}
    if isinstance(prompt, str) and not is_chat:
        if chat:
            raise BadRequest(
                f"{_listed(chat)} belongs to a chat: give turns instead of a text",
                field=next(iter(chat)),
            )
        request = GenerateRequest(prompt=prompt, sampling=sampling, constraint=constraint, **place)
    else:
        if "special" in place:
            raise BadRequest("special belongs to a prompt: turns are always text", field="special")
        request = GenerateRequest(
            messages=turns_of(prompt),
            chat=ChatOptions(**chat),
            sampling=sampling,
            constraint=constraint,
            **place,
        )
    request.check()
    return request


def given_of(verb: str, keywords: Mapping[str, Any], known: type) -> dict[str, Any]:
    """The keywords that are not None. Raises `TypeError` for one that `verb` does not take."""
    names = known.__annotations__
    for name in keywords:
        if name not in names:
            raise TypeError(f"{verb}() takes no keyword {name!r}{nearest(name, names)}")
    return {name: value for name, value in keywords.items() if value is not None}


def checked(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` after the protocol's readers for requests of this kind have checked them.

    Raises `BadRequest`.
    """
    readers = KINDS[kind].readers
    return {name: readers[name](name, _plain(value)) for name, value in values.items()}


def one_completion(request: GenerateRequest) -> GenerateRequest:
    """`request`, which must ask for one completion. Raises `BadRequest` where it asks for more."""
    if request.n != 1:
        raise BadRequest("this call returns one completion: n must be 1", field="n")
    return request


def with_markup(request: GenerateRequest) -> GenerateRequest:
    """`request`, with its answer written so that `umad.chat` can parse it."""
    if request.messages is None:
        raise BadRequest(
            "a chat has messages; a prompt is what text() goes on from", field="prompt"
        )
    return replace(request, chat=replace(request.chat, markup=True))


def _sampling(verb: str, given: dict[str, Any]) -> SamplingParams:
    whole = given.pop("sampling", None)
    named = {name: _read(name, given.pop(name)) for name in SAMPLING_FIELDS if name in given}
    if whole is None:
        return SamplingParams(**named)
    if not isinstance(whole, SamplingParams):
        raise BadRequest("sampling must be SamplingParams", field="sampling")
    if named:
        raise TypeError(
            f"{verb}() was given a whole SamplingParams and {_listed(named)}; "
            "set it there (dataclasses.replace)"
        )
    return whole


def _constraint(given: dict[str, Any]) -> Constraint | None:
    constraints: dict[str, Any] = {}
    if "schema" in given:
        schema = given.pop("schema")
        if callable(made := getattr(schema, "model_json_schema", None)):
            schema = made()
        constraints["schema"] = KINDS["generate"].readers["json_schema"]("schema", _plain(schema))
    if "grammar" in given:
        constraints["grammar"] = _read("grammar", given.pop("grammar"))
    return read_one_constraint(constraints)


def _read(name: str, value: Any) -> Any:
    if name == "tools":
        return tools_of(value)
    if name == "logit_bias" and isinstance(value, Mapping):
        value = list(value.items())
    return _READERS[name](name, _plain(value))


def _plain(value: Any) -> Any:
    """`value` as it would arrive over a socket: types of Python and numpy become plain ones."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
