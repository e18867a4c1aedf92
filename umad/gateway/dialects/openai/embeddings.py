"""Serves POST /v1/embeddings and /v1/rerank.

By default the `openai` package asks for base64 and unpacks it itself. Base64 takes a quarter of the
bytes of decimal numbers, and the gateway need not write any.
"""

import base64
from typing import Any

from starlette.types import ASGIApp

from umad.embedding import EmbedRequest, Ranking, RerankRequest
from umad.gateway.bodies.openai_embeddings import EmbeddingsBody, RerankBody
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.vectors import rows_response


async def _embeddings(call: GatewayCall) -> ASGIApp:
    body = call.body(EmbeddingsBody)
    found = await call.embed(
        EmbedRequest(
            inputs=body.inputs(),
            model=body.model,
            dimensions=body.dimensions,
            normalize=body.normalize,
            truncate=body.truncate,
            task=body.task,
            lane=body.lane,
        )
    )
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    if body.encoding_format == "base64":
        rows = [
            {"object": "embedding", "index": at, "embedding": base64.b64encode(one).decode()}
            for at, one in enumerate(found.vectors.astype("<f4"))
        ]
        return answer({"object": "list", "data": rows, "model": found.model, "usage": usage})

    def row(at: int, numbers: list[float]) -> dict[str, Any]:
        return {"object": "embedding", "index": at, "embedding": numbers}

    rest = {"object": "list", "model": found.model, "usage": usage}
    return rows_response(found.vectors, name="data", row=row, rest=rest)


async def _rerank(call: GatewayCall) -> ASGIApp:
    body = call.body(RerankBody)
    given = call.written("documents")
    documents = body.texts(given)
    found = await call.rerank(
        RerankRequest(
            query=body.query,
            documents=documents,
            top_n=body.top_n,
            truncate=body.truncate,
            model=body.model,
            lane=body.lane,
        )
    )
    if given == "texts":
        return answer(_as_tei(found, documents if body.return_documents else None))
    results: list[dict[str, Any]] = [
        {"index": one.index, "relevance_score": one.score} for one in found.ranked
    ]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": documents[result["index"]]}
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    return answer({"object": "list", "model": found.model, "results": results, "usage": usage})


def _as_tei(found: Ranking, texts: tuple[str, ...] | None) -> list[dict[str, Any]]:
    """The answer to a body with `texts`, as Text Embeddings Inference and llama-server give it.
    Scores are the model's own.
    """
    if texts is None:
        return [{"index": one.index, "score": one.score} for one in found.ranked]
    return [
        {"index": one.index, "score": one.score, "text": texts[one.index]} for one in found.ranked
    ]


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/embeddings",
        handle=_embeddings,
        dialect=OPENAI,
        summary="Embed texts",
        body=EmbeddingsBody,
        is_work=True,
    ),
    *(
        Endpoint(
            method="POST",
            path=path,
            handle=_rerank,
            dialect=OPENAI,
            summary="Documents in the order in which they answer a query",
            body=RerankBody,
            is_work=True,
        )
        for path in ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking")
    ),
)
