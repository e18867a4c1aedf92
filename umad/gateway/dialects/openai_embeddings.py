"""POST /v1/embeddings: there is no engine for it yet, and that is what it says."""

from starlette.types import ASGIApp

from umad.errors import Unsupported
from umad.gateway.bodies.openai_embeddings import EmbeddingsBody
from umad.gateway.call import Call
from umad.gateway.dialects.openai_shape import OPENAI
from umad.gateway.endpoint import Endpoint


async def _embeddings(call: Call) -> ASGIApp:
    call.body(EmbeddingsBody)
    raise Unsupported("embeddings are not supported by this version")


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
)
