"""Turns the tokens of one completion into text as it becomes certain, up to a stop string.

Text is certain in whole characters, and once no stop string can begin in it. The text after n
tokens is a function of those n tokens. So a resumed stream replays the ids it has, drops the text
that comes out, and continues exactly.

Not: the bytes of a token (`piece` gives them), or ending the completion.
Owner: one completion; one thread at a time.
"""

from codecs import utf_8_decode
from collections.abc import Callable
from typing import NamedTuple

from umad.sampling.stops import StopMatcher


class Chunk(NamedTuple):
    """Text that is certain now.

    It is a NamedTuple because one is made for each token, in a third of a frozen dataclass's time.
    """

    text: str
    # The stop string before which the text has ended; None while it goes on.
    stop: str | None


class Detokenizer:
    """Decodes UTF-8 piece by piece, and looks for stop strings.

    Invalid bytes become U+FFFD in the way of `bytes.decode(errors="replace")` (the Unicode
    Standard, chapter 3, maximal subparts), however tokens cut the bytes.
    """

    __slots__ = ("_matcher", "_partial", "_piece")

    def __init__(self, piece: Callable[[int], bytes], *, stops: tuple[str, ...] = ()) -> None:
        self._piece = piece
        self._partial = b""
        self._matcher = StopMatcher(stops) if stops else None

    @property
    def stop(self) -> str | None:
        """The stop string that has ended the text; None for none yet. `flush` may find one that
        `push` left open because a longer or an earlier one could still have come."""
        return self._matcher.stop if self._matcher else None

    def push(self, token: int) -> Chunk:
        """Return the text that `token` makes certain. Once a stop string was found, return no text,
        and that stop string again."""
        data = self._piece(token)
        if self._partial:
            data = self._partial + data
        text, used = utf_8_decode(data, "replace", False)
        self._partial = data[used:]
        matcher = self._matcher
        if matcher is None:
            return Chunk(text, None)
        text = matcher.push(text)
        return Chunk(text, matcher.stop)

    def flush(self) -> str:
        """Return the text that was held back, at the end of the completion. Half a character
        becomes U+FFFD. The beginning of a stop string is text, unless it holds a shorter one (see
        `stop`)."""
        text, _ = utf_8_decode(self._partial, "replace", True)
        self._partial = b""
        if self._matcher is None:
            return text
        certain = self._matcher.push(text)
        return certain + self._matcher.flush()
