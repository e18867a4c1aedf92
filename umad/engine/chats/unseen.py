"""Puts words in the place of images and sounds that the model cannot take.

A client sends its whole history with every request, so an earlier turn is never refused: the model
reads that something stood there. Only what is asked about now is refused, because an answer would
pass over it. What a tool brought is not asked about: an agent goes on without it. Pure.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from umad.content import MEDIA_NAMES, MediaFile, PlacedFile, joined, pieces_of
from umad.conversation import ChatMessage, asked_turn
from umad.errors import MediaUnsupported

_SENSES = {"image": "reads no images", "audio": "hears no sound"}


def as_seen(
    messages: Sequence[ChatMessage], kinds: Collection[str], *, is_answered: bool = False
) -> tuple[ChatMessage, ...]:
    """The turns with the files of `kinds`, which the model takes, and with words for all others.

    is_answered: the last turn has its answer, so nothing is asked now.
    Raises `MediaUnsupported` for a file that the model is asked about now.
    """
    if not any(turn.media for turn in messages):
        return tuple(messages)
    now = None if is_answered else asked_turn(messages)
    return tuple(_turn(turn, kinds, at == now) for at, turn in enumerate(messages))


def check_seen(media: Sequence[MediaFile], kinds: Collection[str]) -> None:
    """Raise `MediaUnsupported` for the first of these files that the model cannot take."""
    for file in media:
        if file.kind not in kinds:
            raise MediaUnsupported(
                f"this model {_SENSES[file.kind] if kinds else 'reads only text'}, and is asked "
                f"about {MEDIA_NAMES[file.kind]}",
                field=file.place or None,
            )


def _turn(turn: ChatMessage, kinds: Collection[str], is_asked: bool) -> ChatMessage:
    if is_asked:
        check_seen([one.file for one in turn.media], kinds)
    if all(one.file.kind in kinds for one in turn.media):
        return turn
    content, media = joined(
        [
            one if isinstance(one, str) or one.kind in kinds else stand_in(one.kind, kinds)
            for one in pieces_of(turn.content, turn.media)
        ]
    )
    return replace(turn, content=content, media=media)


def unreadable(file: MediaFile) -> str:
    """The words in the place of an earlier turn's file that cannot be read."""
    return f"[{MEDIA_NAMES[file.kind]} stood here; its file cannot be read]"


def stand_in(kind: str, kinds: Collection[str] = ()) -> str:
    """The words in the place of a file that a model with these `kinds` cannot take."""
    why = f"this model {_SENSES[kind]}" if kinds else "this model reads only text"
    return f"[{MEDIA_NAMES[kind]} stood here; {why}]"


def placed_in(media: Sequence[tuple[str, bytes, str, int]]) -> tuple[PlacedFile, ...]:
    """The files of a `Submit` at their places in its prompt."""
    places = [at for *_, at in media]
    return tuple(
        PlacedFile(at=at, file=one) for at, one in zip(places, files_of(media), strict=True)
    )


def files_of(media: Sequence[tuple[str, bytes, str, int]]) -> tuple[MediaFile, ...]:
    """The files of a `Submit`."""
    return tuple(
        MediaFile(kind="image" if kind == "image" else "audio", data=data, place=place)
        for kind, data, place, _ in media
    )
