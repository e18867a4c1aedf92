"""Serves POST /infill, /embedding, /tokenize and /detokenize, and has the table of the dialect.

The rest of the table's handlers stand in `completion`, `server_facts` and `models`.
"""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from umad.embedding import EmbedRequest
from umad.gateway import sse
from umad.gateway.bodies.adapters import choices
from umad.gateway.bodies.answers import (
    AppliedTemplate,
    Detokenized,
    Infilled,
    LlamaModels,
    Props,
    Succeeded,
    TokenList,
)
from umad.gateway.bodies.llama_completion import LlamaCompletionBody
from umad.gateway.bodies.llamacpp import (
    ApplyTemplateBody,
    DetokenizeBody,
    EmbeddingBody,
    InfillBody,
    LoadBody,
    TokenizeBody,
)
from umad.gateway.bodies.openai_embeddings import inputs_of
from umad.gateway.dialects.llamacpp import adapters as lora
from umad.gateway.dialects.llamacpp import completion, models, server_facts
from umad.gateway.dialects.llamacpp.answers import piece, whole
from umad.gateway.dialects.llamacpp.errors import LLAMACPP
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.generation import GatewayGeneration, collect
from umad.gateway.vectors import rows_response
from umad.infill.prompt import FimTokens, Gap, prompt_ids
from umad.request import GenerateRequest, SamplingParams, Usage
from umad.service import Done, Progress, Tokens

# The default length of an answer for llama-server's plugins; an infill is short.
N_PREDICT = 128
_NAMES = {"max_tokens": "n_predict"}


async def _infill(call: GatewayCall) -> ASGIApp:
    body = call.body(InfillBody)
    model = await call.model(body.model)
    facts = await call.shared.models.facts(model)

    async def tokenize(text: str) -> tuple[int, ...]:
        return await call.tokenize(text, model=model, special=False) if text else ()

    most = body.most_tokens(N_PREDICT)
    reads_only = most == 0
    gap = Gap(
        before=body.input_prefix,
        after=body.input_suffix,
        typed=body.prompt,
        files=[(one.filename, one.text) for one in body.input_extra],
    )
    ids = await prompt_ids(
        gap,
        FimTokens.of_facts(facts),
        tokenize,
        cells=int(facts.get("ctx") or 0),
        n_predict=N_PREDICT if most is None else most,
    )
    # A generation has one token at least. It is not shown where none was asked for.
    request = _request(body, ids, model=model, most=1 if reads_only else most)
    generation = await call.open(request)
    if body.stream:
        return call.stream(_pieces(generation, reads_only=reads_only))
    (completion,) = await collect(generation)
    return answer(
        whole(
            text="" if reads_only else completion.text,
            ids=completion.ids if body.return_tokens and not reads_only else (),
            model=model,
            reason=completion.finish_reason,
            stop=completion.stop,
            usage=_shown(completion.usage, reads_only=reads_only),
            timings=completion.timings,
        )
    )


def _request(
    body: InfillBody, ids: tuple[int, ...], *, model: str, most: int | None
) -> GenerateRequest:
    """Fields that were not given stay umad's defaults."""
    sampling = SamplingParams(max_tokens=most, fit=True, **body.drawing())
    constraint = None if body.form is None else body.form.constraint
    return GenerateRequest(
        prompt_ids=ids,
        model=model,
        lora=choices(body.lora),
        sampling=sampling,
        constraint=constraint,
    )


def _shown(usage: Usage, *, reads_only: bool) -> Usage:
    return replace(usage, completion_tokens=0) if reads_only else usage


async def _pieces(
    generation: GatewayGeneration, *, reads_only: bool
) -> AsyncGenerator[bytes, None]:
    async for event in generation:
        match event:
            case Tokens() if reads_only:
                continue
            case Tokens():
                yield sse.data(piece(event.text, event.ids))
            case Done():
                yield sse.data(
                    whole(
                        text="",
                        ids=(),
                        model=generation.accepted.model,
                        reason=event.finish_reason,
                        stop=event.stop,
                        usage=_shown(event.usage, reads_only=reads_only),
                        timings=event.timings,
                    )
                )
            case Progress():
                yield sse.comment(f"prefill {event.done_tokens}/{event.total_tokens}")


async def _tokenize(call: GatewayCall) -> ASGIApp:
    body = call.body(TokenizeBody)
    model = await call.model(body.model)
    ids = await call.tokenize(body.content, model=model, special=body.parse_special)
    if body.add_special:
        facts = await call.shared.models.facts(model)
        if facts.get("adds_bos"):
            ids = (int(facts["bos_token"]), *ids)
    if not body.with_pieces:
        return answer({"tokens": list(ids)})
    pieces = await call.shared.token_bytes.of(model, ids)
    return answer({"tokens": [{"id": one, "piece": _piece(pieces[one])} for one in ids]})


def _piece(raw: bytes) -> str | list[int]:
    """A token's text as llama-server shows it: a token that is part of a character is its bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)


async def _detokenize(call: GatewayCall) -> ASGIApp:
    body = call.body(DetokenizeBody)
    model = await call.model(body.model)
    ids = tuple(body.tokens)
    text = await call.detokenize(ids, model) if ids else ""
    return answer({"content": text})


async def _embedding(call: GatewayCall) -> ASGIApp:
    body = call.body(EmbeddingBody)
    found = await call.embed(
        EmbedRequest(
            inputs=inputs_of(body.content, call.written("content")),
            model=body.model,
            normalize=body.embd_normalize >= 0,
            truncate=body.truncate,
            task=body.task,
        )
    )
    # A list of lists: without pooling llama-server has one vector per token.
    return rows_response(
        found.vectors, name=None, row=lambda at, one: {"index": at, "embedding": [one]}
    )


def _facts(method: Any, path: str, handle: Any, summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method, path=path, handle=handle, dialect=LLAMACPP, summary=summary, **more
    )


ENDPOINTS = (
    *(
        Endpoint(
            method="POST",
            path=path,
            handle=_embedding,
            dialect=LLAMACPP,
            summary="Embed texts, as llama-server does",
            body=EmbeddingBody,
            is_work=True,
            names={"input": "content"},
        )
        for path in ("/embedding", "/embeddings")
    ),
    Endpoint(
        method="POST",
        path="/infill",
        handle=_infill,
        dialect=LLAMACPP,
        summary="Fill in the middle of a file",
        answer=Infilled,
        streams=sse.EVENTS,
        body=InfillBody,
        is_work=True,
        names=_NAMES,
    ),
    Endpoint(
        method="POST",
        path="/tokenize",
        handle=_tokenize,
        dialect=LLAMACPP,
        summary="Tokens of a text",
        answer=TokenList,
        body=TokenizeBody,
        is_work=True,
    ),
    Endpoint(
        method="POST",
        path="/detokenize",
        handle=_detokenize,
        dialect=LLAMACPP,
        summary="Text of tokens",
        answer=Detokenized,
        body=DetokenizeBody,
        is_work=True,
        names={"ids": "tokens"},
    ),
    *(
        Endpoint(
            method="POST",
            path=path,
            handle=completion.completion,
            dialect=LLAMACPP,
            summary="Continue prompts, as llama-server does",
            streams=sse.EVENTS,
            body=LlamaCompletionBody,
            is_work=True,
            names=completion.NAMES,
        )
        for path in ("/completion", "/completions")
    ),
    Endpoint(
        method="POST",
        path="/apply-template",
        handle=server_facts.apply_template,
        dialect=LLAMACPP,
        summary="The prompt of a chat",
        answer=AppliedTemplate,
        body=ApplyTemplateBody,
        is_work=True,
        names={"tool_name": "tool_choice"},
    ),
    _facts("GET", "/props", server_facts.props, "Properties of a model", answer=Props),
    _facts("POST", "/props", server_facts.change_props, "Change properties (not served)"),
    _facts("GET", "/slots", server_facts.slots, "The caller's live requests, as slots"),
    _facts("POST", "/slots/{id}", server_facts.change_slot, "Save a slot (not served)"),
    _facts("GET", "/lora-adapters", lora.adapters, "LoRA adapters of a model"),
    _facts("POST", "/lora-adapters", lora.change_adapters, "Scales of adapters, for everybody"),
    _facts("GET", "/models", models.models, "Models and their states", answer=LlamaModels),
    _facts(
        "POST",
        "/models",
        models.download,
        "Download a model, as a job",
        body=LoadBody,
        answer=Succeeded,
        for_admins=True,
    ),
    _facts("DELETE", "/models", models.remove, "Delete a model", answer=Succeeded, for_admins=True),
    _facts("POST", "/models/load", models.load, "Load a model", body=LoadBody, answer=Succeeded),
    _facts(
        "POST",
        "/models/unload",
        models.unload,
        "Unload a model",
        body=LoadBody,
        answer=Succeeded,
        for_admins=True,
    ),
    _facts(
        "GET",
        "/models/sse",
        models.news,
        "What happens to models",
        types=("text/event-stream",),
    ),
)
