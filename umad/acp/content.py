"""Makes a turn's text, images and sounds of what an editor puts into a prompt. Pure."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from acp import schema

from umad.content import MEDIA_NAMES, MediaFile, MediaKind, Piece, PlacedFile, joined
from umad.errors import BadMedia, Unsupported

_BETWEEN = "\n"


def content_of(blocks: Sequence[Any]) -> tuple[str, tuple[PlacedFile, ...]]:
    """The prompt's text, and the images and sounds in it. The text has words, links by their names,
    and the text of files that were embedded.

    Raises `Unsupported` for other bytes, and `BadMedia` for an image that is none.
    """
    return joined([_piece(block, f"prompt[{at}]") for at, block in enumerate(blocks)], _BETWEEN)


def _piece(block: Any, place: str) -> Piece:
    match block:
        case schema.TextContentBlock():
            return str(block.text)
        case schema.ImageContentBlock():
            return _file("image", block.data, place)
        case schema.AudioContentBlock():
            return _file("audio", block.data, place)
        case schema.ResourceContentBlock():
            return f"[{block.name}]({block.uri})"
        case schema.EmbeddedResourceContentBlock():
            return _embedded(block.resource, place)
        case _:
            kind = getattr(block, "type", type(block).__name__)
            raise Unsupported(f"the prompt has a part of type {kind}, which umad does not read")


def _embedded(resource: Any, place: str) -> Piece:
    if isinstance(resource, schema.TextResourceContents):
        return f'<file uri="{resource.uri}">\n{resource.text}\n</file>'
    kinds: dict[str, MediaKind] = {"image": "image", "audio": "audio"}
    kind = kinds.get((resource.mime_type or "").partition("/")[0])
    if kind is None:
        raise Unsupported(f"{resource.uri} is no text, image or sound")
    return _file(kind, resource.blob, place)


def _file(kind: MediaKind, data: str, place: str) -> MediaFile:
    try:
        found = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        name = MEDIA_NAMES[kind].partition(" ")[2]
        raise BadMedia(f"{place}: this {name} is no base64, or empty", field=place)
    return MediaFile(kind=kind, data=found, place=place)
