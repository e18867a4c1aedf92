"""Serves Ollama's endpoints. Names may carry tags (`umad.model_names`), and answers repeat the name
that was asked, as Ollama's do.

`keep_alive` is how long the model stays after its last use; a negative one pins it. Only an admin's
counts, because a model is everybody's. An empty request with `keep_alive: 0` unloads a model that
nobody uses, and one that is used leaves when that has ended. Fetching, making, copying and deleting
models are in `keeping`.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from starlette.types import ASGIApp

from umad.embedding import EmbedRequest
from umad.errors import BadRequest, Unsupported
from umad.gateway import sse
from umad.gateway.bodies.answers import (
    OllamaChat,
    OllamaModel,
    OllamaModels,
    OllamaText,
    Version,
)
from umad.gateway.bodies.ollama import (
    EmbedBody,
    OllamaChatBody,
    OllamaEmbeddingsBody,
    OllamaGenerateBody,
    ShowBody,
)
from umad.gateway.dialects.ollama import keeping, listing
from umad.gateway.dialects.ollama.answers import ChatAnswer, RawAnswer
from umad.gateway.dialects.ollama.errors import OLLAMA
from umad.gateway.dialects.ollama.requests import (
    NAMES,
    chat_request,
    generate_request,
    insert_request,
)
from umad.gateway.dialects.ollama.stream import ChatLines, GenerateLines, Line, whole_of
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.model_facts import context_tokens
from umad.gateway.vectors import rows_response
from umad.infill.prompt import FimTokens, Gap, prompt_ids
from umad.request import GenerateRequest
from umad.version import __version__

# The Ollama whose published API this dialect follows; it is the first with /v1/messages. Clients
# ask for at least 0.6.4 (VS Code) or 0.13.4 (Codex), and take umad's own number for a too old one.
OLLAMA_VERSION = "0.14.1"
Kept = OllamaChatBody | OllamaGenerateBody | EmbedBody | OllamaEmbeddingsBody
# So many tokens of the context are left for an insertion whose length was not said.
INSERT_TOKENS = 128


async def _chat(call: GatewayCall) -> ASGIApp:
    body = call.body(OllamaChatBody)
    lines = ChatLines(model=body.model, created_at=_now())
    if not body.messages:
        return answer(dict(lines.end(await _keep(call, body))))
    reply = await call.chat(replace(chat_request(body), keep_alive_s=_kept_s(body)))
    return await _answered(call, body, ChatAnswer(call, reply, lines).lines())


async def _generate(call: GatewayCall) -> ASGIApp:
    body = call.body(OllamaGenerateBody)
    lines = GenerateLines(model=body.model, created_at=_now())
    if not body.prompt and not body.suffix:
        return answer(dict(lines.end(await _keep(call, body))))
    if body.suffix or body.raw:
        request = await _insert(call, body) if body.suffix else generate_request(body)
        generation = await call.open(replace(request, keep_alive_s=_kept_s(body)))
        return await _answered(call, body, RawAnswer(call, generation, lines).lines())
    request = replace(generate_request(body), keep_alive_s=_kept_s(body))
    reply = await call.chat(request)
    told = ChatAnswer(call, reply, lines, context_of=request)
    return await _answered(call, body, told.lines())


async def _insert(call: GatewayCall, body: OllamaGenerateBody) -> GenerateRequest:
    """The text between `prompt` and `suffix`, asked for with the model's own marks."""
    generate_request(body)  # refuses what it cannot follow
    model = await call.model(body.model)
    facts = await call.shared.models.facts(model)

    async def tokenize(text: str) -> tuple[int, ...]:
        return await call.tokenize(text, model=model, special=False) if text else ()

    try:
        marks = FimTokens.of_facts(facts)
    except Unsupported as error:
        raise Unsupported(error.message, field="suffix") from None
    wanted = None if body.options is None else body.options.num_predict
    ids = await prompt_ids(
        Gap(before=body.prompt or "", after=body.suffix or ""),
        marks,
        tokenize,
        cells=context_tokens(facts),
        n_predict=wanted if wanted is not None and wanted > 0 else INSERT_TOKENS,
    )
    return insert_request(body, ids, model=model)


async def _answered(
    call: GatewayCall, body: OllamaChatBody | OllamaGenerateBody, lines: AsyncGenerator[Line, None]
) -> ASGIApp:
    if body.stream is False:
        return answer(dict(whole_of([line async for line in lines])))
    return call.stream(_pieces(lines), media_type=sse.LINES)


async def _pieces(lines: AsyncGenerator[Line, None]) -> AsyncGenerator[bytes, None]:
    async for line in lines:
        yield sse.line(line)


async def _keep(call: GatewayCall, body: Kept) -> Literal["load", "unload"]:
    """Serve an empty request: load the model, or unload it once nobody uses it."""
    if body.keep_alive != 0:
        local = await call.local(body.model) or ""
        await call.service.load(local, keep_alive_s=_kept_s(body))
        call.shared.models.forget()
        return "load"
    row = await call.row(body.model)
    # Running requests of others would fail; Ollama waits for them, too.
    if not row.get("live"):
        await call.service.unload(str(row["name"]))
        call.shared.models.forget()
    else:
        await call.service.load(str(row["name"]), as_request=True, keep_alive_s=0)
    return "unload"


def _kept_s(body: Kept) -> float | None:
    """How long the model stays, as the daemon is told it."""
    return -1.0 if body.keep_alive == math.inf else body.keep_alive


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# -- vectors ---------------------------------------------------------------------------------------


async def _embed(call: GatewayCall) -> ASGIApp:
    body = call.body(EmbedBody)
    if not body.input:
        await _keep(call, body)
        return answer({"model": body.model, "embeddings": []})
    began_s = asyncio.get_running_loop().time()
    found = await call.embed(
        EmbedRequest(
            inputs=(body.input,) if isinstance(body.input, str) else tuple(body.input),
            model=body.model,
            dimensions=body.dimensions,
            truncate=body.truncate,
            keep_alive_s=_kept_s(body),
            task=body.task,
        )
    )
    took_s = asyncio.get_running_loop().time() - began_s
    rest = {
        "model": body.model,
        "total_duration": int(took_s * 1e9),
        "load_duration": 0,
        "prompt_eval_count": found.prompt_tokens,
    }
    return rows_response(
        found.vectors, name="embeddings", row=lambda _, numbers: numbers, rest=rest
    )


async def _embeddings(call: GatewayCall) -> ASGIApp:
    body = call.body(OllamaEmbeddingsBody)
    if not body.prompt:
        await _keep(call, body)
        return answer({"embedding": []})
    found = await call.embed(
        EmbedRequest(
            inputs=(body.prompt,),
            model=body.model,
            normalize=False,
            truncate=body.truncate,
            task=body.task,
            keep_alive_s=_kept_s(body),
        )
    )
    return answer({"embedding": found.vectors[0].tolist()})


# -- models ----------------------------------------------------------------------------------------


async def _tags(call: GatewayCall) -> ASGIApp:
    return answer({"models": listing.tags(await call.service.models(stored=True))})


async def _ps(call: GatewayCall) -> ASGIApp:
    return answer({"models": listing.running(await call.service.models(), datetime.now(UTC))})


async def _show(call: GatewayCall) -> ASGIApp:
    body = call.body(ShowBody)
    asked = body.model or body.name
    if not asked:
        raise BadRequest("model is missing", field="model")
    return answer(listing.shown(await call.row(asked, stored=True)))


async def _version(call: GatewayCall) -> ASGIApp:
    return answer({"version": OLLAMA_VERSION, "umad": __version__})


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/chat",
        handle=_chat,
        dialect=OLLAMA,
        summary="Answer a chat, as Ollama does",
        answer=OllamaChat,
        streams=sse.LINES,
        body=OllamaChatBody,
        is_work=True,
        names=NAMES,
    ),
    Endpoint(
        method="POST",
        path="/api/generate",
        handle=_generate,
        dialect=OLLAMA,
        summary="Answer a prompt, as Ollama does",
        answer=OllamaText,
        streams=sse.LINES,
        body=OllamaGenerateBody,
        is_work=True,
        names=NAMES,
    ),
    Endpoint(
        method="POST",
        path="/api/embed",
        handle=_embed,
        dialect=OLLAMA,
        summary="Embed texts, as Ollama does",
        body=EmbedBody,
        is_work=True,
    ),
    Endpoint(
        method="POST",
        path="/api/embeddings",
        handle=_embeddings,
        dialect=OLLAMA,
        summary="Embed a text, as Ollama did",
        body=OllamaEmbeddingsBody,
        is_work=True,
        names={"input": "prompt"},
    ),
    Endpoint(
        method="GET",
        path="/api/tags",
        handle=_tags,
        dialect=OLLAMA,
        summary="List the models",
        answer=OllamaModels,
    ),
    Endpoint(
        method="GET",
        path="/api/ps",
        handle=_ps,
        dialect=OLLAMA,
        summary="Models in memory",
        answer=OllamaModels,
    ),
    Endpoint(
        method="POST",
        path="/api/show",
        handle=_show,
        dialect=OLLAMA,
        summary="One model",
        answer=OllamaModel,
        body=ShowBody,
    ),
    Endpoint(
        method="GET",
        path="/api/version",
        handle=_version,
        dialect=OLLAMA,
        summary="The version of Ollama whose API this is, and umad's own",
        answer=Version,
        needs_key=False,
    ),
    *keeping.ENDPOINTS,
)
