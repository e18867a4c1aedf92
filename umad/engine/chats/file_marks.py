"""Marks the places of images and sounds in turns, so that they survive a chat's template.

A template writes texts and knows no files. So each file's place in its turn's text gets a mark, as
llama.cpp's servers do it, and the rendered text is cut at the marks. A mark consists of characters
that Unicode reserves and no text uses, and a number drawn for this one chat: a user who writes
marks hits none. Pure but for the number drawn. Not: what stands at a place (`umad.engine.media`).
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace

from umad.content import MediaFile, Piece, pieces_of
from umad.conversation import ChatMessage

# A mark begins with U+FDD5; ten more reserved characters are its digits. `plain_text` and
# `turn_ends` use those before.
_BEGIN = "\ufdd5"
_FIRST_DIGIT = 0xFDD6
_DIGITS = str.maketrans({str(n): chr(_FIRST_DIGIT + n) for n in range(10)})
_NUMBERS = {_FIRST_DIGIT + n: str(n) for n in range(10)}
_DRAWN, _PLACE = 16, 4


class FileMarks:
    """The marks of one chat."""

    def __init__(self) -> None:
        drawn = f"{secrets.randbelow(10**_DRAWN):0{_DRAWN}}".translate(_DIGITS)
        self._head = _BEGIN + drawn
        digits = f"[{chr(_FIRST_DIGIT)}-{chr(_FIRST_DIGIT + 9)}]"
        self._pattern = re.compile(f"{self._head}({digits}{{{_PLACE}}})")
        self.files: list[MediaFile] = []

    def marked(self, turns: Iterable[ChatMessage]) -> tuple[ChatMessage, ...]:
        """The turns with a mark in the place of each file, and no files."""
        return tuple(
            replace(turn, content=self._text(pieces_of(turn.content, turn.media)), media=())
            if turn.media
            else turn
            for turn in turns
        )

    def cut(self, rendered: str) -> Iterator[str | int]:
        """The texts of a rendered chat and the numbers of its files, in order. They take turns; a
        text is first and last, and may be empty."""
        pieces = self._pattern.split(rendered)
        for at, piece in enumerate(pieces):
            yield int(piece.translate(_NUMBERS)) if at % 2 else piece

    def replaced(self, rendered: str, by: str) -> str:
        """A rendered chat for people, with a word in the place of each file."""
        return self._pattern.sub(by, rendered)

    def _text(self, pieces: Iterable[Piece]) -> str:
        text = ""
        for piece in pieces:
            if isinstance(piece, str):
                text += piece
            else:
                text += self._head + f"{len(self.files):0{_PLACE}}".translate(_DIGITS)
                self.files.append(piece)
        return text
