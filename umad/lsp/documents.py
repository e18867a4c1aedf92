"""Keeps the open files as lines, and changes them as the editor says.

A change costs as much as it changes, also in a file of 200,000 lines. Lines end where LSP says that
they end (\\n, \\r\\n, \\r) and nowhere else: a form feed or U+2028 stays within its line.
Columns count in the units that editor and server have agreed on. Not: files on the disk.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Encoding = Literal["utf-8", "utf-16", "utf-32"]
_LINE_END = re.compile(r"\r\n|\n|\r")
# Characters of two units of UTF-16.
_PAIR = re.compile("[\U00010000-\U0010ffff]")
# Bytes of UTF-8 that begin no character.
_CONTINUING = bytes(range(0x80, 0xC0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A position as the editor counts: lines from 0, and units of the line's text."""

    line: int
    units: int


@dataclass(slots=True, kw_only=True)
class Document:
    """One open file."""

    uri: str
    language: str
    encoding: Encoding = "utf-16"
    # Without their ends. There is always one, which may be empty.
    lines: list[str] = field(default_factory=lambda: [""])

    def replace_all(self, text: str) -> None:
        """The editor sent the whole text."""
        self.lines = _LINE_END.split(text)

    def replace(self, start: Place, end: Place, text: str) -> None:
        """The editor replaced what is between two places, in either order. What lies beyond the
        file is its end.
        """
        (first, from_column), (last, to_column) = sorted((self._at(start), self._at(end)))
        new = _LINE_END.split(text)
        new[0] = self.lines[first][:from_column] + new[0]
        new[-1] += self.lines[last][to_column:]
        self.lines[first : last + 1] = new

    def column(self, place: Place) -> int:
        """How many characters stand before `place` in its line."""
        return self._at(place)[1]

    def _at(self, place: Place) -> tuple[int, int]:
        """Line and column. What lies beyond the file or the line is its end."""
        if place.line >= len(self.lines):
            return len(self.lines) - 1, len(self.lines[-1])
        line = max(0, place.line)
        return line, _chars(self.lines[line], place.units, self.encoding)


class Documents:
    """The files that the editor has open, by their URI."""

    def __init__(self) -> None:
        self.encoding: Encoding = "utf-16"
        self._open: dict[str, Document] = {}

    def open(self, uri: str, language: str, text: str) -> None:
        """The editor opened a file."""
        document = Document(uri=uri, language=language, encoding=self.encoding)
        document.replace_all(text)
        self._open[uri] = document

    def close(self, uri: str) -> None:
        """The editor closed it."""
        self._open.pop(uri, None)

    def get(self, uri: str) -> Document | None:
        """The open file; None where it is not open."""
        return self._open.get(uri)

    def all(self) -> Sequence[Document]:
        """Every open file."""
        return tuple(self._open.values())


def _chars(line: str, units: int, encoding: Encoding) -> int:
    """The characters that `units` units are. A place within a character is behind it.

    Python looks at no single character here: a line may have millions.
    """
    if units <= 0:
        return 0
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    if encoding == "utf-8":
        begun = line[:units].encode("utf-8", "surrogatepass")[:units]
        return len(begun.translate(None, _CONTINUING))
    n_pairs = 0
    for pair in _PAIR.finditer(line, 0, units):
        begins = pair.start() + n_pairs
        if begins >= units:
            break
        if begins + 1 == units:
            return pair.end()
        n_pairs += 1
    return min(units - n_pairs, len(line))
