"""Decides whether a key is worth asking at, and whether the answer may have several lines. Pure."""

from dataclasses import dataclass
from typing import Literal

from umad.infill.cut import CLOSERS, Cut

Lines = Literal["auto", "single", "multi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a completion is asked for."""

    # The answer ends with its first line.
    is_single: bool
    # Strings at which the daemon ends the answer.
    stop: tuple[str, ...]
    max_tokens: int


SINGLE = Manner(is_single=True, stop=("\n",), max_tokens=48)
MULTI = Manner(is_single=False, stop=(), max_tokens=128)


def manner_of(cut: Cut, *, lines: Lines = "auto", is_automatic: bool = True) -> Manner | None:
    """How to ask at this cursor; None for not at all.

    is_automatic: a key was typed. Somebody who asks on purpose gets an answer wherever it is
    possible.
    """
    if not cut.is_text or not (cut.before.strip() or cut.after.strip()):
        return None
    if is_automatic and _is_inside_word(cut):
        return None
    if lines == "single":
        return SINGLE
    if lines == "multi":
        return MULTI
    return MULTI if CLOSERS.issuperset(cut.line_after) else SINGLE


def _is_inside_word(cut: Cut) -> bool:
    """A name is being changed in its middle: whatever is inserted there is in the way."""
    return is_word(cut.line_before[-1:]) and is_word(cut.line_after[:1])


def is_word(char: str) -> bool:
    """Whether this is one letter, digit or underscore; false for no character."""
    return char == "_" or char.isalnum()
