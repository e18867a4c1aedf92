"""Keeps what users write from becoming control tokens: "<|im_end|>" in a message stays plain text.

Control tokens have a meaning in what the template writes and none in what came from outside.
So strings from outside are guarded before they are rendered: each occurrence of a control token's
text is put between two characters that Unicode reserves and no text uses (U+FDD0, U+FDD1). The
rendered prompt is divided there: the marked parts are tokenised as plain text, all others with
control tokens. Text without such occurrences is tokenised in one piece, as if unguarded.
Owner: immutable; the mailbox thread uses it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_BEGIN, _END = "\ufdd0", "\ufdd1"
_FORGED = str.maketrans({_BEGIN: "\ufffd", _END: "\ufffd"})
_EDGES = re.compile(f"([{_BEGIN}{_END}])")

_Tree = dict[str, "_Tree"]


class TextPart(NamedTuple):
    """A stretch of the prompt."""

    text: str
    # Control tokens in it are meant as such.
    special: bool


class PlainText:
    """Guards text against the control tokens of one model."""

    def __init__(self, controls: Iterable[str]) -> None:
        known = {text for text in controls if text}
        self._controls = _compiled(known) if known else None

    def guard(self, text: str) -> str:
        """Mark the control tokens in `text`. Marks that `text` already has become U+FFFD."""
        if _BEGIN in text or _END in text:
            text = text.translate(_FORGED)
        if self._controls is None:
            return text
        return self._controls.sub(_marked, text)

    @staticmethod
    def parts(rendered: str) -> Iterator[TextPart]:
        """Divide the prompt at the marks, which are removed. A template may have torn a pair of
        marks apart: text without both marks around it counts as the template's.
        """
        pieces = _EDGES.split(rendered)
        for at in range(0, len(pieces), 2):
            if pieces[at]:
                before = pieces[at - 1] if at else ""
                after = pieces[at + 1] if at + 1 < len(pieces) else ""
                yield TextPart(pieces[at], special=not (before == _BEGIN and after == _END))

    def controls_in(self, rendered: str) -> Iterator[tuple[int, int]]:
        """The positions, begin and end, of the control tokens that the template wrote."""
        if self._controls is None:
            return
        at = 0
        for piece in _EDGES.split(rendered):
            edges = rendered[max(0, at - 1) : at], rendered[at + len(piece) : at + len(piece) + 1]
            if piece not in (_BEGIN, _END) and edges != (_BEGIN, _END):
                for found in self._controls.finditer(rendered, at, at + len(piece)):
                    yield found.span()
            at += len(piece)

    @staticmethod
    def unguarded(rendered: str) -> str:
        """The text without marks."""
        return _EDGES.sub("", rendered)


def _compiled(texts: Iterable[str]) -> re.Pattern[str]:
    try:
        return re.compile(_any_of(texts))
    except RecursionError:  # thousands of tokens of which each begins the next
        longest_first = sorted(texts, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))


def _any_of(texts: Iterable[str]) -> str:
    """A pattern that finds the longest of `texts` at a place, since one may begin with another.

    The pattern is a tree by letters. A plain list of a thousand control tokens is searched for
    every "<" of a text: a megabyte of those took minutes, and the interpreter was blocked
    meanwhile.
    """
    tree: _Tree = {}
    for text in texts:
        branch = tree
        for letter in text:
            branch = branch.setdefault(letter, {})
        branch[""] = {}
    return _pattern(tree)


def _pattern(tree: _Tree) -> str:
    """The pattern of a tree. Letters without a branch are handled in a loop and not by recursion,
    because a token may be longer than Python's stack is deep.
    """
    run = ""
    while len(tree) == 1 and "" not in tree:
        ((letter, tree),) = tree.items()
        run += re.escape(letter)
    inner = [re.escape(letter) + _pattern(branch) for letter, branch in tree.items() if letter]
    if not inner:
        return run
    choice = "|".join(inner)
    return f"{run}(?:{choice}){'?' if '' in tree else ''}"


def _marked(found: re.Match[str]) -> str:
    return f"{_BEGIN}{found[0]}{_END}"
