"""Serves POST /embedding, /tokenize and /detokenize, and has the table of the dialect.

The rest of the table's handlers stand in `completion`, `infill`, `server_facts`, `adapters` and
`models`.
"""

from typing import Any

from starlette.types import ASGIApp

from umad.embedding import EmbedRequest
from umad.gateway import sse
from umad.gateway.bodies.answers import (
    AppliedTemplate,
    Detokenized,
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
from umad.gateway.dialects.llamacpp import completion, infill, models, server_facts
from umad.gateway.dialects.llamacpp.errors import LLAMACPP
from umad.gateway.dialects.llamacpp.prompts import mixed_ids
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.vectors import rows_response


async def _tokenize(call: GatewayCall) -> ASGIApp:
    body = call.body(TokenizeBody)
    model = await call.model(body.model)
    facts = await call.shared.models.facts(model)

    async def tokenize(text: str) -> tuple[int, ...]:
        return await call.tokenize(text, model=model, special=body.parse_special)

    begins = body.add_special and facts.get("adds_bos")
    bos = int(facts["bos_token"]) if begins else None
    ids = await mixed_ids(body.content, "content", tokenize, bos=bos)
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
        handle=infill.infill,
        dialect=LLAMACPP,
        summary="Fill in the middle of a file",
        streams=sse.EVENTS,
        body=InfillBody,
        is_work=True,
        names=infill.NAMES,
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
