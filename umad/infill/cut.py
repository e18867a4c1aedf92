"""Cuts the text around the cursor out of a file.

The daemon keeps the prompt of the key before, and computes only what changed. So the cut begins at
the same place as long as it can: it moves in strides of lines, never line by line. Work is
proportional to the cut, never to the file. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass

# 256 lines are what llama.vim and llama.vscode send; a stride is a quarter of them.
BEFORE_LINES = 256
AFTER_LINES = 64
STRIDE_LINES = 64
# Lines of a file that a program wrote may be endless. Twice what the prompt's window holds of
# tokens of four characters (`umad.infill.prompt`).
BEFORE_CHARS = 16_384
AFTER_CHARS = 4_096
_STRIDE_CHARS = 4_096
# What may stand behind the cursor where a line is as good as finished: what editors close by
# themselves, and ends of statements.
CLOSERS = frozenset(" \t)]}>\"'`;,:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The text around a cursor; its lines end with a line feed."""

    before: str
    after: str

    @property
    def line_before(self) -> str:
        """The cursor's line up to the cursor."""
        return self.before[self.before.rfind("\n") + 1 :]

    @property
    def line_after(self) -> str:
        """The cursor's line behind the cursor."""
        return self.after.partition("\n")[0]

    @property
    def is_text(self) -> bool:
        """False for a file of bytes that an editor opened all the same."""
        return "\0" not in self.before and "\0" not in self.after


def cut_around(
    line_at: Callable[[int], str], n_lines: int, line: int, column: int, *, is_whole: bool = True
) -> Cut:
    """The cut at a cursor.

    line_at: a line of the file by its number from 0, without its end. column: characters of the
    cursor's line before it. A cursor beyond the file's end stands at the end.
    is_whole: False leaves out what is behind the cursor, for a model that cannot use it.
    """
    if n_lines <= 0:
        return Cut(before="", after="")
    line = min(max(line, 0), n_lines - 1)
    here = line_at(line)
    column = min(max(column, 0), len(here))
    first = _first_line(line)
    before = "\n".join([*map(line_at, range(first, line)), here[:column]])
    last = min(n_lines, line + 1 + AFTER_LINES) if is_whole else line + 1
    after = "\n".join([here[column:], *map(line_at, range(line + 1, last))])
    return Cut(before=_end_of(before), after=after[:AFTER_CHARS] if is_whole else "")


def _first_line(line: int) -> int:
    """The first line of the cut: at most `BEFORE_LINES` before `line`, and a multiple of the
    stride.
    """
    least = max(0, line - BEFORE_LINES)
    return -(-least // STRIDE_LINES) * STRIDE_LINES


def _end_of(text: str) -> str:
    """The end of `text`, whose beginning moves in strides as `text` grows."""
    beyond = len(text) - BEFORE_CHARS
    if beyond <= 0:
        return text
    return text[-(-beyond // _STRIDE_CHARS) * _STRIDE_CHARS :]
