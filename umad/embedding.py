"""Describes requests for vectors of texts and for a ranking of documents, and their answers.

Values only; pure. Not: the socket's messages (`umad.protocol`) or how a model makes vectors
(`umad.engine`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.errors import BadRequest

# As many inputs as OpenAI's interface takes in one request.
MAX_INPUTS = 2048
MAX_DIMENSIONS = 2**16

MAX_PREFIX_CHARS = 2048
MAX_TASK_CHARS = 64

Input = str | tuple[int, ...]

# What a vector is for, under the names that models' cards and other makers' interfaces have for it.
_TASKS: Mapping[str, tuple[str, ...]] = {
    "query": ("search query", "retrieval query"),
    "document": ("passage", "search document", "retrieval document", "retrieval passage"),
    "classification": (),
    "clustering": ("separation",),
    "similarity": ("semantic similarity", "sentence similarity", "text matching", "sts"),
    "code": ("code query", "code retrieval", "code retrieval query"),
    "question": ("question answering",),
    "facts": ("fact checking", "fact verification"),
}
_TASK_OF = {name: task for task, others in _TASKS.items() for name in (task, *others)}
_BETWEEN_WORDS = re.compile(r"[\s._-]+")


def task_named(name: str) -> str:
    """One name for a task, however it is written: RETRIEVAL_QUERY, search_query and query are the
    same. Any other name is a task of its own.
    """
    words = _BETWEEN_WORDS.sub(" ", name).strip().casefold()
    return _TASK_OF.get(words, words)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """A request for one vector for each of `inputs`.

    `lane`, `app`, `deadline_ms` and `keep_alive_s` mean the same as in
    `umad.request.GenerateRequest`.
    """

    # Texts or token ids.
    inputs: tuple[Input, ...]
    model: str | None = None
    # Keep only the first so many numbers of each vector, for models trained to be cut (Matryoshka,
    # arXiv 2205.13147); None for all.
    dimensions: int | None = None
    # Scale each vector to length 1, after the cut.
    normalize: bool = True
    # Embed the beginning of an input that is too long instead of refusing it.
    truncate: bool = False
    # What the vectors are for, such as query or document: the model's card says what is put before
    # each text. None puts nothing there.
    task: str | None = None
    lane: str | None = None
    app: str | None = None
    deadline_ms: int | None = None
    keep_alive_s: float | None = None

    def check(self) -> None:
        """Raise `BadRequest` for a request that no model could answer."""
        check_count("input", self.inputs)
        for at, one in enumerate(self.inputs):
            if not one:
                raise BadRequest(f"input {at} is empty: there is nothing to embed", field="input")
        if self.dimensions is not None and not 1 <= self.dimensions <= MAX_DIMENSIONS:
            raise BadRequest(
                f"dimensions is {self.dimensions}, not between 1 and {MAX_DIMENSIONS}",
                field="dimensions",
            )
        self._check_task()
        _check_deadline(self.deadline_ms)

    def _check_task(self) -> None:
        if self.task is None:
            return
        if not 0 < len(self.task) <= MAX_TASK_CHARS:
            raise BadRequest(f"task has 1 to {MAX_TASK_CHARS} characters", field="task")
        if not all(isinstance(one, str) for one in self.inputs):
            raise BadRequest(
                "a task puts words before texts, and input has token ids: put its words there "
                "yourself, or leave the task out",
                field="task",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A request to rank `documents` by how well they answer `query`, best first."""

    query: str
    documents: tuple[str, ...]
    # Return only so many documents; None for all.
    top_n: int | None = None
    model: str | None = None
    # Judge the beginning of a pair that is too long instead of refusing it.
    truncate: bool = False
    lane: str | None = None
    app: str | None = None
    deadline_ms: int | None = None
    keep_alive_s: float | None = None

    def check(self) -> None:
        """Raise `BadRequest` for a request that no model could answer."""
        if not self.query:
            raise BadRequest("query is empty: there is nothing to compare with", field="query")
        check_count("documents", self.documents)
        if self.top_n is not None and self.top_n < 1:
            raise BadRequest(f"top_n is {self.top_n}, not at least 1", field="top_n")
        _check_deadline(self.deadline_ms)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embeddings:
    """The answer to an `EmbedRequest`."""

    model: str
    # float32 (inputs, dimensions), in the order of the inputs.
    vectors: NDArray[np.float32]
    # Tokens of all inputs together.
    prompt_tokens: int
    # Those of them that were not computed, because vectors of the same texts were at hand.
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One document of a ranking."""

    # The document's place in the request.
    index: int
    # The model's own figure; higher is better. Only scores of one request can be compared, and most
    # models' scores are no probabilities.
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The answer to a `RerankRequest`: documents, best first."""

    model: str
    ranked: tuple[Ranked, ...]
    # Tokens of all pairs together, and those of them that were not computed.
    prompt_tokens: int
    cached_tokens: int = 0


def check_count(field: str, values: Sequence[object]) -> None:
    """Raise `BadRequest` unless there are 1 to `MAX_INPUTS` values."""
    if not 1 <= len(values) <= MAX_INPUTS:
        raise BadRequest(f"{field} has {len(values)} texts, not 1 to {MAX_INPUTS}", field=field)


def _check_deadline(deadline_ms: int | None) -> None:
    if deadline_ms is not None and deadline_ms < 1:
        raise BadRequest(f"deadline_ms is {deadline_ms}, not at least 1", field="deadline_ms")
