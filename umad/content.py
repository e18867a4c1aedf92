"""Describes what a turn says: text, and the images and sounds between its words.

The text is one string. A file has a place in it, a number of characters, and no mark: whatever
characters a user writes, they stand for nothing but themselves. Values only, checked where they
enter. Pure. Not: decoding a file (`umad.media`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from umad.errors import BadRequest

MediaKind = Literal["image", "audio"]
MEDIA_KINDS: tuple[MediaKind, ...] = get_args(MediaKind)
# What the kinds are called in texts for people and models.
MEDIA_NAMES: dict[str, str] = {"image": "an image", "audio": "a sound"}

# Files of one request. An agent sends its whole history with every request, screenshots included.
MAX_FILES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """An image or a sound as its client has it: the bytes of a file, of a kind that is not known
    yet to be true.
    """

    kind: MediaKind
    # Not shown: it may be megabytes, and is the user's own.
    data: bytes = field(repr=False)
    # Where the client wrote it, for errors. The same file may stand elsewhere.
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """A file in a text."""

    # How many characters of the text stand before it.
    at: int
    file: MediaFile


Piece = str | MediaFile


def pieces_of(text: str, media: tuple[PlacedFile, ...]) -> Iterator[Piece]:
    """The text cut at the files' places, and the files, in order. No text is empty."""
    begun = 0
    for one in media:
        if one.at > begun:
            yield text[begun : one.at]
            begun = one.at
        yield one.file
    if begun < len(text):
        yield text[begun:]


def joined(pieces: Iterable[Piece], between: str = "") -> tuple[str, tuple[PlacedFile, ...]]:
    """The inverse of `pieces_of`, with `between` between two pieces. Empty texts are left out."""
    text = ""
    media: list[PlacedFile] = []
    is_first = True
    for piece in pieces:
        if piece == "":
            continue
        text += "" if is_first else between
        is_first = False
        if isinstance(piece, str):
            text += piece
        else:
            media.append(PlacedFile(at=len(text), file=piece))
    return text, tuple(media)


def beside(
    first: tuple[str, tuple[PlacedFile, ...]],
    second: tuple[str, tuple[PlacedFile, ...]],
    between: str,
) -> tuple[str, tuple[PlacedFile, ...]]:
    """Two contents as one, with `between` between them unless one of them is empty."""
    text, media = first
    if not (text or media):
        return second
    begins = len(text) + (len(between) if second[0] or second[1] else 0)
    moved = tuple(replace(one, at=begins + one.at) for one in second[1])
    return text + (between if begins > len(text) else "") + second[0], media + moved


def check_media(text: str, media: tuple[PlacedFile, ...], field: str) -> None:
    """Raise `BadRequest` for places that are not in order, or not in the text."""
    places = [one.at for one in media]
    if places != sorted(places) or any(not 0 <= at <= len(text) for at in places):
        raise BadRequest(f"{field} has a file at a place that is not in its text", field=field)
