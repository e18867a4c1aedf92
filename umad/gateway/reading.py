"""The parts of an answer, and the reader for a model's family of formats.

The one place of the gateway that knows where they come from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A call of a tool begins; index counts the calls of the answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments, JSON text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call's arguments are whole."""

    index: int


Part = Content | Reasoning | CallBegan | CallArguments | CallEnded


class Reader(Protocol):
    """Reads one answer. Pure."""

    def push(self, text: str) -> Iterable[Part]:
        """What is decided with `text` added."""
        ...

    def finish(self) -> Iterable[Part]:
        """What was held back."""
        ...


class _PlainReader:
    """Of a model that marks nothing."""

    def push(self, text: str) -> Iterable[Part]:
        return (Content(text),) if text else ()

    def finish(self) -> Iterable[Part]:
        return ()


def reader_of(facts: Mapping[str, Any]) -> Reader:
    """The reader of one answer of the model with these facts."""
    return _PlainReader()
