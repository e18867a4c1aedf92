"""Reads images and sounds as the dialects write them: base64, or an address.

A dialect's translation makes a `WrittenFile` of each and refuses none, because a client sends its
whole history with every request. `settled` decides once the turns are known: what is wrong in the
words to be answered now is refused by its place, and in a history it becomes an empty file, in
whose place the model reads words. Pure. Not: fetching an address (`umad.gateway.remote`).
"""

import base64
import binascii
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_to_bytes

from umad.content import MediaFile, MediaKind, PlacedFile
from umad.conversation import ChatMessage, asked_turn
from umad.errors import BadMedia
from umad.media.recognizing import is_known, is_sound
from umad.request import GenerateRequest

_ADDRESSES = ("http://", "https://")
_MOST_ADDRESS_CHARS = 8192
_NOT_BASE64 = "this is not base64"
_SEND_IT = "send the file itself, as a data: URL or in base64"
_NOT_FETCHED = f"umad fetches no addresses unless media.remote_urls is set: {_SEND_IT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFile(MediaFile):
    """A file with what is wrong with the way it was written."""

    # In words; empty where nothing is.
    fault: str = ""
    # Where it can be fetched, and it is at fault unless it was; empty where its bytes are there.
    address: str = ""


def from_base64(kind: MediaKind, written: Any, place: str) -> WrittenFile:
    """The file of a text in base64. Some clients put a data: URL there."""
    if not isinstance(written, str):
        return WrittenFile(kind=kind, data=b"", place=place, fault="a file's bytes are missing")
    if written.startswith("data:"):
        return from_url(kind, written, place)
    data = _decoded(written)
    if data is None:
        return WrittenFile(kind=kind, data=b"", place=place, fault=_NOT_BASE64)
    return WrittenFile(kind=kind, data=data, place=place)


def from_url(kind: MediaKind, written: Any, place: str) -> WrittenFile:
    """The file of a data: URL (RFC 2397). An address of http or https may be fetched later; all
    others are at fault.
    """
    if not isinstance(written, str):
        return WrittenFile(kind=kind, data=b"", place=place, fault="a file's address is missing")
    if written[:5].lower() != "data:":
        return _from_address(kind, written, place)
    head, comma, body = written.partition(",")
    if not comma:
        return WrittenFile(kind=kind, data=b"", place=place, fault="this data: URL has no comma")
    if not head.endswith(";base64"):
        return WrittenFile(kind=kind, data=unquote_to_bytes(body), place=place)
    data = _decoded(body)
    fault = _NOT_BASE64 if data is None else ""
    return WrittenFile(kind=kind, data=data or b"", place=place, fault=fault)


def _from_address(kind: MediaKind, written: str, place: str) -> WrittenFile:
    """What stands in the place of a data: URL. Some clients put base64 there, as llama-server
    takes it.
    """
    scheme, colon, _ = written[:64].partition(":")
    scheme = scheme.lower()
    if written.lower().startswith(_ADDRESSES):
        if len(written) > _MOST_ADDRESS_CHARS:
            fault = f"an address has at most {_MOST_ADDRESS_CHARS} characters"
            return WrittenFile(kind=kind, data=b"", place=place, fault=fault)
        return WrittenFile(kind=kind, data=b"", place=place, fault=_NOT_FETCHED, address=written)
    data = None if colon else _decoded(written)
    if data and is_known(data):
        return WrittenFile(kind=kind, data=data, place=place)
    fault = f"a file's address is a data: URL: {_SEND_IT}"
    if colon and scheme == "file":
        fault = f"umad opens no files for its clients: {_SEND_IT}"
    elif colon and scheme.isalnum():
        fault = f"umad fetches no {scheme}: addresses: {_SEND_IT}"
    return WrittenFile(kind=kind, data=b"", place=place, fault=fault)


def of_any_kind(written: Any, place: str) -> WrittenFile:
    """The file of a text in base64, of the kind that its first bytes tell."""
    file = from_base64("image", written, place)
    return replace(file, kind="audio") if is_sound(file.data) else file


def kind_of_url(written: Any) -> MediaKind | None:
    """What a data: URL says that it is; None for anything else."""
    head = written[:64] if isinstance(written, str) else ""
    kinds: dict[str, MediaKind] = {"data:image/": "image", "data:audio/": "audio"}
    return next((kind for begins, kind in kinds.items() if head.startswith(begins)), None)


def _decoded(text: str) -> bytes | None:
    """None where it is no base64. Line breaks and a missing end are taken, as most decoders do, and
    so is the alphabet of URLs (RFC 4648, 5).
    """
    packed = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def settled(request: GenerateRequest) -> GenerateRequest:
    """`request` with files that can be sent. Raises `BadMedia` for one that was written wrong and
    is asked about now.
    """
    if not any(isinstance(one.file, WrittenFile) for one in request.placed):
        return request
    if request.messages is None:
        return replace(request, media=_plain(request.media, is_asked=True))
    return replace(request, messages=settled_turns(request.messages))


def settled_turns(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    """The same for the turns of a chat."""
    now = asked_turn(messages)
    return tuple(
        replace(turn, media=_plain(turn.media, is_asked=at == now)) if turn.media else turn
        for at, turn in enumerate(messages)
    )


def _plain(media: tuple[PlacedFile, ...], *, is_asked: bool) -> tuple[PlacedFile, ...]:
    return tuple(replace(one, file=_plain_file(one.file, is_asked)) for one in media)


def _plain_file(file: MediaFile, is_asked: bool) -> MediaFile:
    fault = file.fault if isinstance(file, WrittenFile) else ""
    if fault and is_asked:
        raise BadMedia(f"{file.place}: {fault}", field=file.place)
    return MediaFile(kind=file.kind, data=file.data, place=file.place)
