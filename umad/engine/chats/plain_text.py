"""Keeps what users write from becoming control tokens: "<|im_end|>" in a message is eight signs.

Control tokens have a meaning in what the template writes and none in what came from outside.
So strings from outside are guarded before they are rendered: each occurrence of a control token's
text is put between two characters of Unicode that are for nobody's text (U+FDD0, U+FDD1), and the
rendered prompt is divided there: the marked parts are tokenised as plain text, all others with
control tokens. Text without such occurrences is tokenised in one piece, exactly as ever.
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
    """A stretch of the prompt. special: control tokens written in it are meant."""

    text: str
    special: bool


class PlainText:
    """Made of the texts of a model's control tokens."""

    def __init__(self, controls: Iterable[str]) -> None:
        known = {text for text in controls if text}
        self._controls = _compiled(known) if known else None

    def guard(self, text: str) -> str:
        """`text` with its control tokens marked. Marks that are in it already become U+FFFD."""
        if _BEGIN in text or _END in text:
            text = text.translate(_FORGED)
        if self._controls is None:
            return text
        return self._controls.sub(_marked, text)

    @staticmethod
    def parts(rendered: str) -> Iterator[TextPart]:
        """The prompt divided at the marks, which are gone. A template may have torn a pair apart:
        what has not both marks around it is the template's."""
        pieces = _EDGES.split(rendered)
        for at in range(0, len(pieces), 2):
            if pieces[at]:
                before = pieces[at - 1] if at else ""
                after = pieces[at + 1] if at + 1 < len(pieces) else ""
                yield TextPart(pieces[at], special=not (before == _BEGIN and after == _END))


def _compiled(texts: Iterable[str]) -> re.Pattern[str]:
    try:
        return re.compile(_any_of(texts))
    except RecursionError:  # a file whose tokens are the beginnings of each other, by the thousand
        longest_first = sorted(texts, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))


def _any_of(texts: Iterable[str]) -> str:
    """A pattern of the longest of `texts` at a place: one may begin with another.

    By their letters as a tree. As a plain list of a thousand control tokens it is gone through for
    every "<" of a text: a megabyte of those took minutes, and the interpreter with it.
    """
    tree: _Tree = {}
    for text in texts:
        branch = tree
        for letter in text:
            branch = branch.setdefault(letter, {})
        branch[""] = {}
    return _pattern(tree)


def _pattern(tree: _Tree) -> str:
    """Of what may follow. Letters that have no other beside them are gone through in a loop: a
    token may be longer than Python's stack is deep."""
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
