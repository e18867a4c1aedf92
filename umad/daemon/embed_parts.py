"""Divides a request to embed or to rerank into parts, and joins what the engine answers. Pure.

A library of texts may take longer than its model stays: another model needs the room, or the engine
dies. What is answered by then is not computed again, and a model that has to leave ends only the
part that runs. An answer is the same in parts and as a whole.
Not: sending the parts (`umad.daemon.embeddings`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umad.errors import EngineFailed

# A part has at most so many texts, and so many characters where they are more than one text. That
# is 8,000 tokens, some seconds of a slow machine, and far more than one slice of work.
MOST_TEXTS = 256
MOST_CHARS = 32 * 1024
# Characters that count for a token id.
_ID_CHARS = 4
# The argument that has the texts, by the call's name.
_TEXTS = {"embed": "inputs", "rerank": "documents"}
_COUNTS = ("prompt_tokens", "cached_tokens", "cached_inputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The calls of one request, in order."""

    op: str
    # The arguments of each call.
    calls: tuple[Mapping[str, Any], ...]
    # How many of the best documents are wanted; None for all.
    top_n: int | None = None

    @classmethod
    def of(cls, op: str, args: Mapping[str, Any]) -> "Parts":
        """The parts of the call `op` with `args`; one where it is not long."""
        name = _TEXTS[op]
        texts: Sequence[Any] = args[name]
        ends = list(_ends(texts))
        if len(ends) < 2:
            return cls(op=op, calls=(args,))
        top_n = args.get("top_n")
        # The best of all cannot be told from the best of each part.
        whole = {**args, "top_n": None} if op == "rerank" else args
        calls = [
            {**whole, name: texts[first:end], "first": first, "total": len(texts)}
            for first, end in zip([0, *ends], ends, strict=False)
        ]
        return cls(op=op, calls=tuple(calls), top_n=top_n)

    def joined(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The answer to the request, from those to all parts. Raises `EngineFailed` for answers
        that do not fit together.
        """
        if len(answers) == 1:
            return dict(answers[0])
        try:
            value = self._ranking(answers) if self.op == "rerank" else _vectors(answers)
            return value | {name: sum(one.get(name, 0) for one in answers) for name in _COUNTS}
        except (KeyError, TypeError, ValueError):
            raise EngineFailed("the engine's answers do not fit together; try again") from None

    def _ranking(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ranked = [
            (part["first"] + index, score)
            for part, answer in zip(self.calls, answers, strict=True)
            for index, score in answer["ranked"]
        ]
        ranked.sort(key=lambda one: (-one[1], one[0]))
        return {"ranked": ranked[: self.top_n]}


def _vectors(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    (dimensions,) = {one["dimensions"] for one in answers}
    return {"dimensions": dimensions, "vectors": b"".join([one["vectors"] for one in answers])}


def _ends(texts: Sequence[Any]) -> Iterator[int]:
    """Where each part ends."""
    n_texts = n_chars = 0
    for at, text in enumerate(texts):
        size = len(text) * (1 if isinstance(text, str) else _ID_CHARS)
        if n_texts and (n_texts == MOST_TEXTS or n_chars + size > MOST_CHARS):
            yield at
            n_texts = n_chars = 0
        n_texts, n_chars = n_texts + 1, n_chars + size
    yield len(texts)
