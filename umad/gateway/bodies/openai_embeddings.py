"""Describes the bodies of POST /v1/embeddings and /v1/rerank.

https://platform.openai.com/docs/api-reference/embeddings/create
https://api.jina.ai/redoc#tag/rerank (Cohere's and llama-server's are alike)
https://huggingface.github.io/text-embeddings-inference (`texts`, with an answer of its own form)
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from umad.embedding import MAX_INPUTS, Input
from umad.errors import BadRequest
from umad.gateway.bodies.embedding_fields import EmbedFields, TextFields
from umad.gateway.bodies.values import Flag, Whole
from umad.request import MAX_TOKEN_ID


class EmbeddingsBody(EmbedFields):
    """The whole body. `input` is a text, a list of texts, token ids, or a list of lists of token
    ids. `dimensions`: keep so many numbers from each vector's beginning. `normalize`, on by
    default, gives each vector the length 1. `lane` is umad's own.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **EmbedFields.other_names,
        "normalize": ("normalized",),
    }

    model: str | None = None
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Whole | None = None
    normalize: Flag = True
    user: str | None = None
    lane: str | None = None

    def inputs(self) -> tuple[Input, ...]:
        """Texts or token ids. Raises `BadRequest` naming the first that is neither."""
        return inputs_of(self.input)


class RerankBody(TextFields):
    """The whole body. `documents` are texts, or maps with a text under "text". `return_documents`:
    send them back in the answer.
    """

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **TextFields.other_names,
        "documents": ("texts",),
        "return_documents": ("return_text",),
    }

    model: str | None = None
    query: str = Field(min_length=1)
    documents: list[str | dict[str, Any]]
    top_n: Whole | None = None
    return_documents: Flag = False
    lane: str | None = None

    def texts(self, field: str = "documents") -> tuple[str, ...]:
        """Texts of the documents; `field` is their name in the body. Raises `BadRequest` naming the
        first document that has none.
        """
        return tuple([_text(one, f"{field}.{at}") for at, one in enumerate(self.documents)])


def inputs_of(value: Any, field: str = "input") -> tuple[Input, ...]:
    """The texts or token ids of an `input`; `field` is its name in the body. Raises
    `BadRequest`.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise BadRequest(f"{field} is a text, a list of texts, or token ids", field=field)
    if value and all(type(one) is int for one in value):
        return (_ids(value, field),)
    if len(value) > MAX_INPUTS:
        raise BadRequest(f"{field} has {len(value)} texts, not 1 to {MAX_INPUTS}", field=field)
    return tuple(
        [
            one if isinstance(one, str) else _ids(one, f"{field}.{at}")
            for at, one in enumerate(value)
        ]
    )


def _ids(value: Any, field: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(one) is int and one >= 0 for one in value):
        raise BadRequest(f"{field} is a text or a list of token ids", field=field)
    if any(one > MAX_TOKEN_ID for one in value):
        raise BadRequest(f"{field}: a token id is at most {MAX_TOKEN_ID}", field=field)
    return tuple(value)


def _text(one: str | dict[str, Any], place: str) -> str:
    text = one if isinstance(one, str) else one.get("text")
    if not isinstance(text, str):
        raise BadRequest(f"{place} has no text", field=place)
    return text
