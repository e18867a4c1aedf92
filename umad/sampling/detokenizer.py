"""Text of one completion, as it becomes certain: whole characters, up to a stop string.

Not: which bytes a token stands for (`piece` says), nor ending the completion. The text after n
tokens is a function of those n tokens, so a resumed stream replays the ids it has, drops what
comes out, and continues exactly. Owner: one completion; one thread at a time.
"""

from codecs import utf_8_decode
from collections.abc import Callable
from typing import NamedTuple

from umad.sampling.stops import StopMatcher


class Chunk(NamedTuple):
    """Text that is certain now; stop: the stop string before which the text has ended.

    A NamedTuple because one is made for each token: a third of a frozen dataclass's time.
    """

    text: str
    stop: str | None


class Detokenizer:
    """Incremental UTF-8 and stop strings.

    Invalid bytes become U+FFFD as `bytes.decode(errors="replace")` has it (the Unicode
    Standard, chapter 3, maximal subparts), however tokens cut the bytes.
    """

    __slots__ = ("_matcher", "_partial", "_piece")

    def __init__(self, piece: Callable[[int], bytes], *, stops: tuple[str, ...] = ()) -> None:
        self._piece = piece
        self._partial = b""
        self._matcher = StopMatcher(stops) if stops else None

    @property
    def stop(self) -> str | None:
        """The stop string that has ended the text; `flush` may find one that `push` left open
        because a longer or an earlier one could still have come."""
        return self._matcher.stop if self._matcher else None

    def push(self, token: int) -> Chunk:
        """What is certain with `token`. Once a stop was found: no text, and that stop again."""
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
        """What was held back, at the end: half a character becomes U+FFFD, and what might have
        become a stop string is text, unless it holds a shorter one (see `stop`)."""
        text, _ = utf_8_decode(self._partial, "replace", True)
        self._partial = b""
        if self._matcher is None:
            return text
        certain = self._matcher.push(text)
        return certain + self._matcher.flush()
