"""Joins tokens to words, and tells when each was said. Pure.

A word begins with a blank, as the tokens of Whisper have it; a token without one goes on with the
word before, and so do marks behind a word. Languages that are written without blanks get a word for
each run of tokens that is whole characters. Times are whisper.cpp's own of the tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Languages written without blanks between words.
WITHOUT_BLANKS = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of a text. Its bytes may be a part of a character."""

    data: bytes
    start_s: float
    end_s: float
    probability: float


def words_of(
    tokens: Iterable[Token], *, language: str
) -> Iterator[tuple[str, float, float, float]]:
    """(text, start, end, probability) of each word. The text has no blanks around it."""
    run: list[Token] = []
    for token in tokens:
        if run and _begins(token, run, by_characters=language in WITHOUT_BLANKS):
            yield from _word(run)
            run = []
        run.append(token)
    if run:
        yield from _word(run)


def _begins(token: Token, run: list[Token], *, by_characters: bool) -> bool:
    if by_characters:
        return _is_whole(b"".join(one.data for one in run))
    return token.data[:1] == b" "


def _word(run: list[Token]) -> Iterator[tuple[str, float, float, float]]:
    text = b"".join(one.data for one in run).decode("utf-8", "replace").strip()
    if text:
        probability = sum(one.probability for one in run) / len(run)
        yield text, run[0].start_s, max(one.end_s for one in run), probability


def _is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
