"""Defines every verb of the clients once: its arguments, documentation, message and answer. Those
about jobs and stored models are in `umad.client.job_verbs`.

`umad.client.blocking` and `umad.client.asynchronous` make their methods from these functions. To
add a verb, write it here and name it in both.
Not: sending or waiting. Pure; each function only returns a value (`umad.client.methods`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from umad.client.chats import ChatReading, ChatResult, Piece
from umad.client.keywords import (
    ChatKeywords,
    GenerateKeywords,
    Prompt,
    TextKeywords,
    checked,
    given_of,
    one_completion,
    request_of,
    with_markup,
)
from umad.client.methods import EventFlow, Gathering, Question, Wait
from umad.client.results import (
    as_chat_prompt,
    as_count,
    as_embeddings,
    as_estimate,
    as_ids,
    as_nothing,
    as_pieces,
    as_ranking,
    as_rows,
    as_text,
)
from umad.client.rows import AdapterRow, ForgottenRow, MetricsRow, ModelRow, RequestRow
from umad.client.turns import Turn
from umad.conversation import ChatMessage, ChatOptions, ChatPrompt
from umad.embedding import Embeddings, EmbedRequest, Input, Ranking, RerankRequest
from umad.errors import ProtocolViolation
from umad.estimate import MemoryEstimate
from umad.protocol import messages
from umad.request import GenerateRequest
from umad.service import GenerationEvent, Tokens

# -- generations ---------------------------------------------------------------------------------


def generate(prompt: Prompt, **keywords: Unpack[GenerateKeywords]) -> EventFlow[GenerationEvent]:
    """Events of one request: `Accepted`, then `Progress` and `Tokens`, and `Done` of each
    completion.

    Raises the error that ends the request early. Leaving the iterator cancels the request.
    """
    request = request_of("generate", prompt, keywords, GenerateKeywords)
    return EventFlow(request=request, reader=lambda _: lambda event: (event,))


def text(prompt: Prompt, **keywords: Unpack[TextKeywords]) -> EventFlow[str]:
    """Pieces of the text that follows `prompt`, as they come. Raises the error that ends it
    early.
    """
    return _text("text", prompt, keywords)


def complete(prompt: Prompt, **keywords: Unpack[TextKeywords]) -> Gathering[str, str]:
    """The text that follows `prompt`. When the request is cancelled, the text so far."""
    return Gathering(flow=_text("complete", prompt, keywords), fold="".join)


def stream(
    turns: str | Sequence[Turn] | GenerateRequest, **keywords: Unpack[ChatKeywords]
) -> EventFlow[Piece]:
    """Pieces of a chat's answer: `Content` and `Reasoning` as they come, a `ToolCall` once it is
    complete, and the `ChatResult` last.

    Raises the error that ends the answer early.
    """
    return _chat("stream", turns, keywords)


def chat(
    turns: str | Sequence[Turn] | GenerateRequest, **keywords: Unpack[ChatKeywords]
) -> Gathering[Piece, ChatResult]:
    """The answer to a chat.

    A turn is a `ChatMessage` or a map such as {"role": "user", "content": "…"}; a text is a user's
    turn.
    """
    return Gathering(flow=_chat("chat", turns, keywords), fold=_result)


def _text(verb: str, prompt: Prompt, keywords: TextKeywords) -> EventFlow[str]:
    request = one_completion(request_of(verb, prompt, keywords, TextKeywords))
    return EventFlow(
        request=request,
        reader=lambda _: lambda event: (event.text,) if isinstance(event, Tokens) else (),
    )


def _chat(
    verb: str, turns: str | Sequence[Turn] | GenerateRequest, keywords: ChatKeywords
) -> EventFlow[Piece]:
    request = with_markup(
        one_completion(request_of(verb, turns, keywords, ChatKeywords, is_chat=True))
    )
    return EventFlow(
        request=request,
        reader=lambda models: ChatReading(request, models),
        wants_models=True,
    )


def _result(pieces: list[Piece]) -> ChatResult:
    last = pieces[-1] if pieces else None
    if not isinstance(last, ChatResult):
        raise ProtocolViolation("the daemon ended a chat before it had accepted it")
    return last


# -- texts that are embedded or compared ---------------------------------------------------------


class WorkKeywords(TypedDict, total=False):
    """The keywords of embedding and ranking. The fields of `EmbedRequest` explain them."""

    model: str | None
    truncate: bool | None
    lane: str | None
    app: str | None
    deadline_ms: int | None
    keep_alive_s: float | None


class EmbedKeywords(WorkKeywords, total=False):
    """The keywords of embedding."""

    dimensions: int | None
    normalize: bool | None
    task: str | None


class RerankKeywords(WorkKeywords, total=False):
    """The keywords of ranking."""

    top_n: int | None


def embed(
    inputs: str | Sequence[Input] | Sequence[int] | EmbedRequest, **keywords: Unpack[EmbedKeywords]
) -> Question[Embeddings]:
    """A vector for each of `inputs`: a text, texts, or token ids of one text or of each.

    Giving up the wait cancels the request. Raises `PromptTooLong` naming the text, `Unsupported`
    where the model has no vectors.
    """
    given = given_of("embed", keywords, EmbedKeywords)
    if isinstance(inputs, EmbedRequest):
        check_whole("embed", inputs, given)
        request = inputs
    else:
        values = checked("embed", {"input": inputs, **given})
        request = EmbedRequest(inputs=values.pop("input"), **values)
    request.check()
    return Question(
        message=lambda id_: messages.Embed(id=id_, request=request),
        read=as_embeddings,
        wait="embed",
    )


def rerank(
    query: str | RerankRequest,
    documents: Sequence[str] | None = None,
    **keywords: Unpack[RerankKeywords],
) -> Question[Ranking]:
    """`documents` in the order in which they answer `query`.

    Raises `Unsupported` unless the model is a reranker.
    """
    given = given_of("rerank", keywords, RerankKeywords)
    if isinstance(query, RerankRequest):
        check_whole("rerank", query, given if documents is None else {"documents": 1, **given})
        request = query
    else:
        values = {"query": query, "documents": documents or (), **given}
        request = RerankRequest(**checked("rerank", values))
    request.check()
    return Question(
        message=lambda id_: messages.Rerank(id=id_, request=request),
        read=as_ranking,
        wait="embed",
    )


def check_whole(verb: str, request: object, given: dict[str, Any]) -> None:
    """Raise `TypeError` where a whole request was given, and keywords beside it."""
    if given:
        raise TypeError(
            f"{verb}() was given a whole {type(request).__name__} and {', '.join(given)}; "
            "set it in the request (dataclasses.replace)"
        )


# -- single answers ------------------------------------------------------------------------------


def tokenize(
    text: str, *, model: str | None = None, special: bool = True
) -> Question[tuple[int, ...]]:
    """Token ids of `text`; special: recognise control tokens in it."""
    return Question(
        message=lambda id_: messages.Tokenize(id=id_, text=text, model=model, special=special),
        read=as_ids,
    )


def detokenize(ids: Sequence[int], *, model: str | None = None) -> Question[str]:
    """Text of `ids`."""
    return Question(
        message=lambda id_: messages.Detokenize(id=id_, ids=tuple(ids), model=model), read=as_text
    )


def pieces(ids: Sequence[int], *, model: str | None = None) -> Question[tuple[bytes, ...]]:
    """Bytes of each of `ids`; the bytes of one token may be part of a character."""
    return Question(
        message=lambda id_: messages.Detokenize(id=id_, ids=tuple(ids), model=model, pieces=True),
        read=as_pieces,
    )


def render(
    messages_: Sequence[ChatMessage] | None = None,
    *,
    chat: ChatOptions | None = None,
    model: str | None = None,
) -> Question[ChatPrompt]:
    """The model's chat template, and the prompt that it makes of these turns, if there are any.

    Raises `BadRequest` where the template refuses them.
    """
    turns = None if messages_ is None else tuple(messages_)
    options = chat or ChatOptions()
    return Question(
        message=lambda id_: messages.Render(id=id_, messages=turns, chat=options, model=model),
        read=as_chat_prompt,
    )


def cancel(request: str) -> Question[None]:
    """End a request by the daemon's id for it. Raises `UnknownRequest`."""
    return Question(message=lambda id_: messages.Cancel(id=id_, request=request), read=as_nothing)


def set_priority(target: str, lane: str) -> Question[int]:
    """Move a session's or request's work to `lane`; return how many requests moved."""
    return Question(
        message=lambda id_: messages.Priority(id=id_, target=target, lane=lane), read=as_count
    )


def load(
    model: str, *, as_request: bool | None = None, keep_alive_s: float | None = None
) -> Question[ModelRow]:
    """Load a model and wait until it is ready; return its facts.

    as_request: only where a request for tokens would load it, and by such a name. keep_alive_s: how
    long it stays after its last use; negative for ever. Raises `UnknownModel` or `ModelLoadFailed`.
    """
    return Question(
        message=lambda id_: messages.Load(
            id=id_, model=model, as_request=as_request, keep_alive_s=keep_alive_s
        ),
        read=ModelRow.of,
        wait="load",
    )


def unload(model: str) -> Question[None]:
    """Stop a model's engine; its running requests fail. Raises `UnknownModel`."""
    return Question(message=lambda id_: messages.Unload(id=id_, model=model), read=as_nothing)


def estimate(
    model: str,
    *,
    ctx_size: int | None = None,
    max_seqs: int | None = None,
    kv_type: str | None = None,
) -> Question[MemoryEstimate]:
    """Reckon the memory that a model would take, without loading it. What is None is as the
    daemon's settings have it.

    Raises `UnknownModel` or `ModelLoadFailed`; a model that is too large has an estimate that says
    so.
    """
    return Question(
        message=lambda id_: messages.Estimate(
            id=id_, model=model, ctx_size=ctx_size, max_seqs=max_seqs, kv_type=kv_type
        ),
        read=as_estimate,
        wait="load",
    )


def adapters(model: str | None = None) -> Question[list[AdapterRow]]:
    """Every LoRA adapter of this machine that was made for the architecture of a model.

    Raises `UnknownModel`.
    """
    return Question(
        message=lambda id_: messages.Adapters(id=id_, model=model), read=as_rows(AdapterRow)
    )


def models(*, stored: bool = False) -> Question[list[ModelRow]]:
    """Every loaded or loading model. stored: those too that a request would load, in the state
    "unloaded"; for admins.
    """
    return Question(
        message=lambda id_: messages.Models(id=id_, stored=stored or None), read=as_rows(ModelRow)
    )


def sessions() -> Question[list[RequestRow]]:
    """Every live request, with the session it belongs to."""
    return Question(message=lambda id_: messages.Sessions(id=id_), read=as_rows(RequestRow))


def forget(session: str | None = None, *, all: bool = False) -> Question[ForgottenRow]:
    """Delete what is kept of a session, or of all: in the model's cells, in host memory, in files.

    A running request continues and leaves nothing when it ends. Raises `UnknownRequest` where
    nothing is kept under that name.
    """
    if (session is not None) == all:
        raise TypeError("forget() takes a session's name, or all=True")
    return Question(
        message=lambda id_: messages.Forget(id=id_, session=session, all=all or None),
        read=ForgottenRow.of,
    )


def metrics() -> Question[MetricsRow]:
    """The scorecard: the waiting times of every app over the last seconds, and the device's
    work.
    """
    return Question(message=lambda id_: messages.Metrics(id=id_), read=MetricsRow.of)


def ping() -> Question[None]:
    """Return once the daemon has answered."""
    return Question(message=lambda id_: messages.Ping(id=id_), read=as_nothing)


def answer_of(request: messages.Request) -> Question[Any]:
    """Return the answer to a message that has one answer, as it came: for front ends that pass both
    on.
    """
    wait: Wait = "call"
    if isinstance(request, messages.Load):
        wait = "load"
    elif isinstance(request, messages.Embed | messages.Rerank):
        wait = "embed"
    return Question(
        message=lambda id_: replace(request, id=id_), read=lambda value: value, wait=wait
    )
