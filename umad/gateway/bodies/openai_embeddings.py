"""Body of POST /v1/embeddings.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from typing import Any, Literal

from pydantic import StrictInt

from umad.gateway.bodies.sampling import Lenient


class EmbeddingsBody(Lenient):
    """input: a text, a list of texts, token ids, or a list of those."""

    model: str | None = None
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = None
    user: str | None = None
