"""BERT as its papers describe it, in numpy: words to pieces, pieces to a vector. Not tests.

It shares no code with llama.cpp or umad, so that both can be compared with it.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tests.weights.minilm import EPSILON, HEADS, LAYERS, MiniLm

Array = NDArray[np.float32]
_MOST_CHARS = 100
# Abramowitz and Stegun, 7.1.26: the error function to 1.5e-7.
_ERF_STEP = 0.3275911
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


class Bert:
    """all-MiniLM-L6-v2."""

    def __init__(self, model: MiniLm) -> None:
        self._weights = model.weights
        self._ids = {word: at for at, word in enumerate(model.vocabulary)}

    def token_ids(self, text: str) -> list[int]:
        """The ids of a text's pieces, between the marks of its beginning and its end."""
        pieces = [piece for word in _words(text) for piece in self._pieces(word)]
        return [self._ids[one] for one in ("[CLS]", *pieces, "[SEP]")]

    def vector(self, ids: Sequence[int]) -> Array:
        """The mean of the last states, scaled to length 1."""
        states = self._states(ids).mean(axis=0)
        found: Array = states / np.linalg.norm(states)
        return found

    # -- words ------------------------------------------------------------------------------------

    def _pieces(self, word: str) -> list[str]:
        """The longest piece that fits, again and again."""
        if len(word) > _MOST_CHARS:
            return ["[UNK]"]
        found, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if mark + word[start:e] in self._ids), None)
            if end is None:
                return ["[UNK]"]
            found.append(mark + word[start:end])
            start = end
        return found

    # -- layers -----------------------------------------------------------------------------------

    def _states(self, ids: Sequence[int]) -> Array:
        embeddings = [self._weights[f"embeddings.{one}_embeddings.weight"] for one in _EMBEDDINGS]
        words, positions, types = embeddings
        states = self._norm("embeddings", words[list(ids)] + positions[: len(ids)] + types[0])
        for layer in range(LAYERS):
            states = self._layer(f"encoder.layer.{layer}.", states)
        return states

    def _layer(self, layer: str, states: Array) -> Array:
        parts = [self._linear(f"{layer}attention.self.{one}", states) for one in _ATTENDS]
        query, key, value = (
            part.reshape(len(states), HEADS, -1).transpose(1, 0, 2) for part in parts
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(states.shape)
        attended = self._linear(f"{layer}attention.output.dense", mixed)
        states = self._norm(f"{layer}attention.output", states + attended)
        inner = self._linear(f"{layer}intermediate.dense", states)
        inner = (0.5 * inner * (1 + _erf(inner / math.sqrt(2)))).astype(np.float32)
        return self._norm(f"{layer}output", states + self._linear(f"{layer}output.dense", inner))

    def _linear(self, name: str, states: Array) -> Array:
        made: Array = states @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return made

    def _norm(self, name: str, states: Array) -> Array:
        centred = states - states.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        weight, bias = (self._weights[f"{name}.LayerNorm.{one}"] for one in ("weight", "bias"))
        made: Array = scaled * weight + bias
        return made


def _erf(values: Array) -> Array:
    size = np.abs(values)
    step = 1 / (1 + _ERF_STEP * size)
    tail = step * np.polyval(_ERF[::-1], step) * np.exp(-(size**2))
    made: Array = np.sign(values) * (1 - tail)
    return made


_EMBEDDINGS = ("word", "position", "token_type")
_ATTENDS = ("query", "key", "value")


def _words(text: str) -> Iterator[str]:
    """Words in small letters and without accents; each punctuation mark and each Chinese sign is a
    word of its own.
    """
    word = ""
    for one in unicodedata.normalize("NFD", text.lower()):
        if unicodedata.category(one) == "Mn":
            continue
        stands_alone = _is_mark(one) or "\u4e00" <= one <= "\u9fff"
        if one.isspace() or stands_alone:
            if word:
                yield word
            word = ""
        if stands_alone:
            yield one
        elif not one.isspace():
            word += one
    if word:
        yield word


def _is_mark(one: str) -> bool:
    is_ascii_mark = one.isascii() and one.isprintable() and not one.isalnum() and one != " "
    return is_ascii_mark or unicodedata.category(one).startswith("P")
