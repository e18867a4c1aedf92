"""Puts texts and media of a prompt together: numbers of cells, spans of rows, and where rows are.

Not: rendering a chat, or tokenizing (`umad.engine.mail.intake`). Pure but for layouts, which the
encoder makes. Any thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from umad.engine.media.desk import MediumRun
from umad.engine.media.encoding import MediaEncoder, SizedMedium
from umad.engine.media.files import FileMedium
from umad.engine.media.layout import RowPiece, TextPiece
from umad.engine.media.rows import RowKey
from umad.errors import BadRequest
from umad.media.medium import Medium
from umad.media_slices import RowSpan
from umad.scheduler.media.cells import stand_ins


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MediaPrompt:
    """A prompt with media."""

    # int32 (n,): a number for each cell, negative ones for rows.
    tokens: NDArray[np.int32]
    spans: tuple[RowSpan, ...]
    # In the order of `spans`.
    runs: tuple[MediumRun, ...]


def of_tokens(tokens: NDArray[np.int32]) -> MediaPrompt:
    """A prompt without media."""
    return MediaPrompt(tokens=tokens, spans=(), runs=())


def laid_out(
    parts: Sequence[NDArray[np.int32] | Medium | FileMedium],
    encoder: MediaEncoder,
    *,
    most_rows: int,
) -> MediaPrompt:
    """Lay a prompt out. parts: tokens and media in order. most_rows: the most rows that one
    micro-batch computes. Raises `BadRequest` for a medium that the model cannot take, or with
    nothing behind it.
    """
    tokens: list[NDArray[np.int32]] = []
    spans: list[RowSpan] = []
    runs: list[MediumRun] = []
    at = 0
    for part in parts:
        if not isinstance(part, Medium | FileMedium):
            tokens.append(part)
            at += part.size
            continue
        shape = part if isinstance(part, Medium) else part.shape
        layout = encoder.layout(part) if isinstance(part, Medium) else part.layout
        for piece in layout.pieces:
            if isinstance(piece, TextPiece):
                tokens.append(piece.tokens)
            else:
                _check(shape, piece, most_rows)
                key = RowKey(shape.content_id, piece.index, encoder.rows_by)
                name = f"{key.content_id} {key.index} {key.projector}"
                n_positions = None if piece.places is None else piece.n_positions
                tokens.append(stand_ins(name, piece.n_rows, n_positions))
                spans.append(
                    RowSpan(
                        run=len(runs), start=at, n_cells=piece.n_rows, is_atomic=not piece.causal
                    )
                )
                runs.append(MediumRun(medium=part, piece=piece, key=key))
            at += piece.n_cells
    whole = np.concatenate(tokens) if tokens else np.empty(0, np.int32)
    if spans and spans[-1].end == whole.size:
        raise BadRequest("a text must follow the last image or sound", field="prompt")
    return MediaPrompt(tokens=whole, spans=tuple(spans), runs=tuple(runs))


def _check(medium: SizedMedium, piece: RowPiece, most_rows: int) -> None:
    if not piece.causal and piece.n_rows > most_rows:
        raise BadRequest(
            f"this {medium.kind} has {piece.n_rows} rows, which are computed at once, and a "
            f"micro-batch has {most_rows}: serve with a larger --ubatch and --batch",
            field="messages",
        )
