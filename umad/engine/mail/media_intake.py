"""Takes the images and sounds of requests in: from files in turns to numbers of cells in a prompt.

What is asked about now and cannot be read is refused with its place. An earlier turn's file that
cannot be read becomes words, since a client sends it with every request. Not: which kinds the model
takes (`umad.engine.chats.unseen`), or when rows are made (the scheduler). Any thread.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from umad.content import MediaFile, PlacedFile, joined, pieces_of
from umad.conversation import ChatMessage, asked_turn
from umad.engine.chats.file_marks import FileMarks
from umad.engine.chats.unseen import as_seen, check_seen, unreadable
from umad.engine.media.encoding import MediaEncoder
from umad.engine.media.files import FileMedium, MediaFiles
from umad.engine.media.prompt import MediaPrompt, laid_out, of_tokens
from umad.engine.vocab import Vocabulary
from umad.errors import BadMedia, BadRequest

_Ids = NDArray[np.int32]
# llama.cpp's own word for the place of a medium in a prompt.
PLACE_WORD = "<__media__>"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTurns:
    """The turns of a chat as a template gets them, and what its marks stand for."""

    turns: tuple[ChatMessage, ...]
    marks: FileMarks
    # In the order of the marks' numbers.
    media: tuple[FileMedium, ...] = ()
    # The marks of the turn that is asked now.
    asked: frozenset[int] = frozenset()


class MediaIntake:
    """The eyes and ears of one model. kinds: what it takes; none for a model of texts, which needs
    neither files nor encoder. most_rows: the most rows of one micro-batch.
    """

    def __init__(
        self,
        vocab: Vocabulary,
        *,
        kinds: Sequence[str] = (),
        files: MediaFiles | None = None,
        encoder: MediaEncoder | None = None,
        most_rows: int = 0,
    ) -> None:
        self.kinds = kinds
        self._vocab = vocab
        self._files = files
        self._encoder = encoder
        self._most_rows = most_rows

    def seen(self, messages: Sequence[ChatMessage], *, pixels: bool) -> SeenTurns:
        """The turns of a chat with marks in the places of the files that the model takes. pixels:
        files are decoded, where rows have to be made of them. Raises `MediaUnsupported` and
        `BadMedia` for a file that is asked about now.
        """
        turns = as_seen(messages, self.kinds)
        marks = FileMarks()
        if self._files is None or not any(turn.media for turn in turns):
            return SeenTurns(turns=turns, marks=marks)
        read = _once(self._files.read if pixels else self._files.sized)
        now = asked_turn(turns)
        turns = tuple(
            turn if at == now or not turn.media else _readable(turn, read)
            for at, turn in enumerate(turns)
        )
        media = [[read(one.file) for one in turn.media] for turn in turns]
        n_before = sum(map(len, media[:now])) if now is not None else 0
        n_asked = len(media[now]) if now is not None else 0
        return SeenTurns(
            turns=marks.marked(turns),
            marks=marks,
            media=tuple(one for of_turn in media for one in of_turn),
            asked=frozenset(range(n_before, n_before + n_asked)),
        )

    def of_chat(self, seen: SeenTurns, rendered: str, before: _Ids | None = None) -> MediaPrompt:
        """The prompt of a rendered chat. before: tokens of an earlier conversation. Raises
        `BadRequest` where the template leaves out what is asked about.
        """
        parts: list[_Ids | FileMedium] = [] if before is None else [before]
        told: set[int] = set()
        for at, piece in enumerate(seen.marks.cut(rendered)):
            if isinstance(piece, int):
                told.add(piece)
                parts.append(seen.media[piece])
                continue
            ids = self._text_ids(piece, is_first=at == 0)
            # The beginning token stands before the earlier conversation already.
            parts.append(ids if at or before is None else self._vocab.without_bos(ids))
        left_out = min(seen.asked - told, default=None)
        if left_out is not None:
            raise BadRequest(
                "the model's template leaves out this image or sound",
                field=seen.media[left_out].file.place or "messages",
            )
        return self._laid(parts)

    def of_text(
        self, text: str, media: Iterable[PlacedFile], tokenize: Callable[[str, bool], _Ids]
    ) -> MediaPrompt:
        """The prompt of a text with files. tokenize: a piece of it, and whether it is the first.
        Raises `MediaUnsupported` and `BadMedia`.
        """
        placed = tuple(media)
        check_seen([one.file for one in placed], self.kinds)
        if self._files is None or not placed:
            return of_tokens(tokenize(text, True))
        read = _once(self._files.read)
        parts: list[_Ids | FileMedium] = []
        if placed and placed[0].at == 0:
            parts.append(tokenize("", True))
        for piece in pieces_of(text, placed):
            parts.append(tokenize(piece, not parts) if isinstance(piece, str) else read(piece))
        return self._laid(parts)

    def _text_ids(self, text: str, *, is_first: bool) -> _Ids:
        if is_first and not text:  # the beginning token alone
            return self._vocab.tokenize("", special=True, with_ends=True)
        return self._vocab.tokenize_rendered(text, is_first=is_first)

    def _laid(self, parts: Sequence[_Ids | FileMedium]) -> MediaPrompt:
        assert self._encoder is not None
        return laid_out(parts, self._encoder, most_rows=self._most_rows)


def _once(read: Callable[[MediaFile], FileMedium]) -> Callable[[MediaFile], FileMedium]:
    """`read`, which reads equal files of one request once."""
    known: dict[MediaFile, FileMedium] = {}

    def one(file: MediaFile) -> FileMedium:
        if file not in known:
            known[file] = read(file)
        return known[file]

    return one


def _readable(turn: ChatMessage, read: Callable[[MediaFile], FileMedium]) -> ChatMessage:
    """An earlier turn with words in the place of each file that cannot be read."""
    pieces = [
        one if isinstance(one, str) or _is_readable(one, read) else unreadable(one)
        for one in pieces_of(turn.content, turn.media)
    ]
    content, media = joined(pieces)
    return replace(turn, content=content, media=media)


def _is_readable(file: MediaFile, read: Callable[[MediaFile], FileMedium]) -> bool:
    try:
        read(file)
    except BadMedia:
        return False
    return True
