"""Reads and writes the fields of `embed` and `rerank`, and their answers.

A vector is binary on the wire: float32, little-endian. msgpack's own numbers would be more than
twice as long, and an object each on both sides.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from umad.embedding import Embeddings, EmbedRequest, Input, Ranked, Ranking, RerankRequest
from umad.protocol.fields import read_token_ids, wrong

VECTOR_TYPE = np.dtype("<f4")
_WORK_FIELDS = ("model", "truncate", "lane", "app", "deadline_ms", "keep_alive_s")
_EMBED_FIELDS = ("dimensions", "normalize", "task", *_WORK_FIELDS)
_RERANK_FIELDS = ("top_n", *_WORK_FIELDS)
_DEFAULT_EMBED = EmbedRequest(inputs=())
_DEFAULT_RERANK = RerankRequest(query="", documents=())


def read_inputs(name: str, value: Any) -> tuple[Input, ...]:
    """A text, an array of texts, an array of token ids, or an array of those."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise wrong(name, "a string or an array", value)
    if value and type(value[0]) is int:
        return (read_token_ids(name, value),)
    return tuple(
        [
            one if isinstance(one, str) else _read_ids(f"{name}[{at}]", one)
            for at, one in enumerate(value)
        ]
    )


def _read_ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise wrong(name, "a string or an array of token ids", value)
    return read_token_ids(name, value)


def write_embed(request: EmbedRequest) -> Mapping[str, Any]:
    """The fields of an `embed` besides type and id."""
    return {"input": request.inputs} | _changed(request, _DEFAULT_EMBED, _EMBED_FIELDS)


def write_rerank(request: RerankRequest) -> Mapping[str, Any]:
    """The fields of a `rerank` besides type and id."""
    body = {"query": request.query, "documents": request.documents}
    return body | _changed(request, _DEFAULT_RERANK, _RERANK_FIELDS)


def _changed(value: Any, default: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: given for name in names if (given := getattr(value, name)) != getattr(default, name)
    }


def embeddings_of(value: Mapping[str, Any]) -> Embeddings:
    """The answer to an `embed`. Raises `KeyError`, `TypeError` or `ValueError` for another
    value.
    """
    dimensions = int(value["dimensions"])
    vectors = np.frombuffer(value["vectors"], VECTOR_TYPE).reshape(-1, dimensions)
    return Embeddings(
        model=str(value["model"]),
        vectors=vectors.astype(np.float32, copy=False),
        prompt_tokens=int(value["prompt_tokens"]),
        cached_tokens=int(value.get("cached_tokens", 0)),
    )


def ranking_of(value: Mapping[str, Any]) -> Ranking:
    """The answer to a `rerank`. Raises `KeyError`, `TypeError` or `ValueError` for another
    value.
    """
    return Ranking(
        model=str(value["model"]),
        ranked=tuple(
            [Ranked(index=int(index), score=float(score)) for index, score in value["ranked"]]
        ),
        prompt_tokens=int(value["prompt_tokens"]),
        cached_tokens=int(value.get("cached_tokens", 0)),
    )
