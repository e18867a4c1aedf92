"""Collects the vectors of one request, and makes its answer of them.

Not: the vectors of other requests (`cache`), nor how one is computed. Owner: the embed thread that
makes it; from then on the step thread, where something has to be computed.
"""

from typing import Any

import numpy as np

from umad.engine.embedding.cache import Vector
from umad.engine.embedding.lookup import TextVectors
from umad.engine.embedding.work import AnswerForm
from umad.protocol.link import EngineReply


class Answer:
    """The answer to one request, in the making."""

    def __init__(self, call: int, texts: TextVectors, form: AnswerForm) -> None:
        self.texts = texts
        self._call = call
        self._form = form
        # float32 (known and computed texts, width).
        self._table = np.empty((len(texts.known) + len(texts.keys), form.width), np.float32)
        for row, vector in enumerate(texts.known):
            self._put(row, vector)
        self._n_left = len(texts.keys)

    @property
    def is_whole(self) -> bool:
        """Whether every vector is there."""
        return self._n_left == 0

    def take(self, index: int, vector: Vector) -> None:
        """Add the vector of a text that was computed; each comes once."""
        self._put(len(self.texts.known) + index, vector)
        self._n_left -= 1

    def _put(self, row: int, vector: Vector) -> None:
        cut = vector[: self._form.width]
        length = float(np.linalg.norm(cut)) if self._form.normalize else 0.0
        self._table[row] = cut / np.float32(length) if length else cut

    def reply(self) -> EngineReply:
        """The reply, as plain values for the wire (`umad.protocol.embed_fields`)."""
        form, texts = self._form, self.texts
        vectors = self._table
        if texts.rows != tuple(range(len(texts.rows))):
            vectors = vectors[list(texts.rows)]
        value: dict[str, Any]
        if form.ranks:
            scores = vectors[:, 0]
            best = np.argsort(-scores, kind="stable")[: form.top].tolist()
            value = {"ranked": [(index, float(scores[index])) for index in best]}
        else:
            raw = np.ascontiguousarray(vectors, "<f4").tobytes()
            value = {"dimensions": form.width, "vectors": raw}
        counts = {
            "prompt_tokens": texts.n_tokens,
            "cached_tokens": texts.n_known_tokens,
            "cached_inputs": texts.n_known,
        }
        return EngineReply(call=self._call, value=value | counts)
