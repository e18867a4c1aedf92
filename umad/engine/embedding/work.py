"""Describes embedding work: the form of an answer, and what one slice brought. Values only."""

from dataclasses import dataclass, field

from umad.engine.embedding.cache import Vector
from umad.errors import UmadError


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """The form of the answer that a request wants: vectors, or with `ranks` scores of pairs."""

    # Numbers of a vector.
    width: int
    # Scale vectors to length 1.
    normalize: bool = True
    # Answer with scores instead of vectors.
    ranks: bool = False
    # Give only so many scores, the best ones in order; None for all.
    top: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextVector:
    """The vector of one text, as the model made it."""

    call: int
    # Which of the texts that the request had computed.
    index: int
    # float32, all numbers that the model makes, and of nobody else.
    vector: Vector


@dataclass(slots=True)
class Embedded:
    """The result of one embedding slice."""

    # Wall time of the decode.
    ns: int = 0
    was_cut: bool = False
    # Texts that are complete now.
    vectors: list[TextVector] = field(default_factory=list)
    # Calls of the requests that have failed, and why.
    failed: dict[int, UmadError] = field(default_factory=dict)


NOTHING = Embedded()
