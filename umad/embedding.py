"""Texts to vectors, and documents in the order of a question: what is asked, what is answered.

Values only; pure. Not: the socket's messages (`umad.protocol`) or how a model makes vectors
(`umad.engine`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.errors import BadRequest

# As many as OpenAI's interface takes of one request.
MAX_INPUTS = 2048
MAX_DIMENSIONS = 2**16

Input = str | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """A vector for each of `inputs`, texts or token ids.

    dimensions: keep only the first so many numbers of each, for models trained to be cut
    (Matryoshka, arXiv 2205.13147); None for all. normalize: scale each vector to length 1, after
    the cut. truncate: of an input that is too long embed the beginning instead of refusing it.
    lane, app, deadline_ms: as in `umad.request.GenerateRequest`.
    """

    inputs: tuple[Input, ...]
    model: str | None = None
    dimensions: int | None = None
    normalize: bool = True
    truncate: bool = False
    lane: str | None = None
    app: str | None = None
    deadline_ms: int | None = None

    def check(self) -> None:
        """Raise `BadRequest` for what no model could do."""
        check_count("input", self.inputs)
        for at, one in enumerate(self.inputs):
            if not one:
                raise BadRequest(f"input {at} is empty: there is nothing to embed", field="input")
        if self.dimensions is not None and not 1 <= self.dimensions <= MAX_DIMENSIONS:
            raise BadRequest(
                f"dimensions is {self.dimensions}, not between 1 and {MAX_DIMENSIONS}",
                field="dimensions",
            )
        _check_deadline(self.deadline_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """How well each of `documents` answers `query`, best first. top_n: only so many of them.

    truncate: of a pair that is too long judge the beginning instead of refusing it.
    """

    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    model: str | None = None
    truncate: bool = False
    lane: str | None = None
    app: str | None = None
    deadline_ms: int | None = None

    def check(self) -> None:
        """Raise `BadRequest` for what no model could do."""
        if not self.query:
            raise BadRequest("query is empty: there is nothing to compare with", field="query")
        check_count("documents", self.documents)
        if self.top_n is not None and self.top_n < 1:
            raise BadRequest(f"top_n is {self.top_n}, not at least 1", field="top_n")
        _check_deadline(self.deadline_ms)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embeddings:
    """vectors: float32 (inputs, dimensions), in the order of the inputs. prompt_tokens: of all
    inputs together, as they were computed."""

    model: str
    vectors: NDArray[np.float32]
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A document by its place in the request. score: as the model gives it, higher is better; only
    scores of one request can be compared, and most models' are no probabilities."""

    index: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Documents, best first."""

    model: str
    ranked: tuple[Ranked, ...]
    prompt_tokens: int


def check_count(field: str, values: Sequence[object]) -> None:
    """Raise `BadRequest` unless there are 1 to `MAX_INPUTS` of them."""
    if not 1 <= len(values) <= MAX_INPUTS:
        raise BadRequest(f"{field} has {len(values)} texts, not 1 to {MAX_INPUTS}", field=field)


def _check_deadline(deadline_ms: int | None) -> None:
    if deadline_ms is not None and deadline_ms < 1:
        raise BadRequest(f"deadline_ms is {deadline_ms}, not at least 1", field="deadline_ms")
