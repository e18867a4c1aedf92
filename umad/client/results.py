"""Checks the type of the daemon's single answers. Each function raises `ProtocolViolation`."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from umad.client.rows import Row
from umad.conversation import ChatPrompt
from umad.embedding import Embeddings, Ranking
from umad.errors import ProtocolViolation
from umad.estimate import MemoryEstimate
from umad.protocol.embed_fields import embeddings_of, ranking_of

R = TypeVar("R", bound=Row)


def _wrong(wanted: str) -> ProtocolViolation:
    return ProtocolViolation(f"the daemon's answer is not {wanted}")


def as_ids(value: Any) -> tuple[int, ...]:
    """Token ids."""
    if not isinstance(value, list) or not set(map(type, value)) <= {int}:
        raise _wrong("an array of token ids")
    return tuple(value)


def as_text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise _wrong("a string")
    return value


def as_chat_prompt(value: Any) -> ChatPrompt:
    """A template, and a prompt that it made."""
    if not isinstance(value, dict):
        raise _wrong("a map of a template and a prompt")
    template = value.get("template")
    return ChatPrompt(
        template=None if template is None else as_text(template),
        text=as_text(value.get("text", "")),
        ids=as_ids(value.get("ids", [])),
    )


def as_pieces(value: Any) -> tuple[bytes, ...]:
    """Bytes of tokens."""
    if not isinstance(value, list) or not set(map(type, value)) <= {bytes}:
        raise _wrong("an array of bytes")
    return tuple(value)


def as_count(value: Any) -> int:
    """A count."""
    if type(value) is not int:
        raise _wrong("an integer")
    return value


def as_facts(value: Any) -> Mapping[str, Any]:
    """A map."""
    if not isinstance(value, dict):
        raise _wrong("a map")
    return value


def as_estimate(value: Any) -> MemoryEstimate:
    """An estimate."""
    try:
        return MemoryEstimate.from_map(as_facts(value))
    except TypeError as error:
        raise _wrong("a map of an estimate") from error


def as_rows(kind: type[R]) -> Callable[[Any], list[R]]:
    """An array of rows of this kind."""

    def read(value: Any) -> list[R]:
        if not isinstance(value, list):
            raise _wrong("an array of maps")
        return [kind.of(one) for one in value]

    return read


def as_nothing(value: Any) -> None:
    """Accept any answer: a newer daemon may say more than this client knows."""


def as_embeddings(value: Any) -> Embeddings:
    """Vectors."""
    try:
        return embeddings_of(as_facts(value))
    except (KeyError, TypeError, ValueError):
        raise _wrong("one of vectors") from None


def as_ranking(value: Any) -> Ranking:
    """Documents in order."""
    try:
        return ranking_of(as_facts(value))
    except (KeyError, TypeError, ValueError):
        raise _wrong("a ranking") from None
