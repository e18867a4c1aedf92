"""Reads and writes what a turn says: a text, or an array of texts, images and sounds.

    "…"   or   [{"type": "text", "text": "…"}, {"type": "image", "data": <binary>}, …]

An image or a sound is the bytes of its file, as the client has them. There are no paths: whoever
may open a file opens it and sends what is in it. Not: decoding (`umad.media`).
"""

from typing import Any

from umad.content import (
    MAX_FILES,
    MEDIA_KINDS,
    MediaFile,
    Piece,
    PlacedFile,
    joined,
    pieces_of,
)
from umad.errors import BadRequest
from umad.protocol.fields import kind_of, nearest, quoted, read_text, wrong

# Texts of one content. Agents send a text for each file that they mention.
MAX_PARTS = 4096
_TEXT = "text"
_TYPES = (_TEXT, *MEDIA_KINDS)

Content = tuple[str, tuple[PlacedFile, ...]]


def read_content(name: str, value: Any) -> Content:
    """The text, and the files in it. Each file knows its place in the request."""
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, list):
        raise wrong(name, "a string or an array of parts", value)
    if len(value) > MAX_PARTS:
        raise BadRequest(f"{name} has at most {MAX_PARTS} parts", field=name)
    text, media = joined([_part(f"{name}[{at}]", one) for at, one in enumerate(value)])
    if len(media) > MAX_FILES:
        raise BadRequest(f"{name} has at most {MAX_FILES} images and sounds", field=name)
    return text, media


def _part(name: str, value: Any) -> Piece:
    if not isinstance(value, dict):
        raise wrong(name, "a map of type and text, or of type and data", value)
    kind = value.get("type")
    if kind not in _TYPES:
        raise BadRequest(
            f"{name}.type is one of {', '.join(_TYPES)}{nearest(kind, _TYPES)}",
            field=f"{name}.type",
        )
    inside = _TEXT if kind == _TEXT else "data"
    for key in value:
        if key not in ("type", inside):
            raise BadRequest(
                f"{name} has type and {inside} and nothing else, not {quoted(key)}", field=name
            )
    given = value.get(inside)
    if kind == _TEXT:
        return read_text(f"{name}.{_TEXT}", given)
    if isinstance(given, bytes):
        return MediaFile(kind=kind, data=given, place=name)
    hint = "; the client opens a file and sends its bytes" if isinstance(given, str) else ""
    raise BadRequest(
        f"{name}.data must be binary, not {kind_of(given)}{hint}", field=f"{name}.data"
    )


def write_content(text: str, media: tuple[PlacedFile, ...]) -> str | list[dict[str, Any]]:
    """The inverse of `read_content`."""
    if not media:
        return text
    return [
        {"type": _TEXT, _TEXT: one}
        if isinstance(one, str)
        else {"type": one.kind, "data": one.data}
        for one in pieces_of(text, media)
    ]


def file_names(name: str, text: str, media: tuple[PlacedFile, ...]) -> dict[str, str]:
    """The place of each file as a client wrote it, by the place that it gets in the frame."""
    return {
        f"{name}[{at}]": one.place
        for at, one in enumerate(pieces_of(text, media))
        if not isinstance(one, str) and one.place
    }
