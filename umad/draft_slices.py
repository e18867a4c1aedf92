"""Defines what a draft model is asked to guess before a step, and what it answers. Values only."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class DraftOrder(NamedTuple):
    """One stream whose next tokens a draft model is to guess."""

    rid: int
    # int32 (n,): its known tokens; a view.
    tokens: NDArray[np.int32]
    # What the draft has computed of a text serves texts of the same salt only.
    salt: Hashable
    # At most so many of the tokens that the draft has not read yet are read.
    most_read: int
    # So many tokens are guessed, if all known ones are read by then; 0 for none.
    n_guesses: int


class Drafted(NamedTuple):
    """What a draft model has done for one stream."""

    rid: int
    # So many tokens of the text and of the guesses behind it are read now; -1 where the draft
    # cannot read this text, or has no room for it.
    n_held: int
    # The guesses: those that were asked for, or fewer.
    tokens: tuple[int, ...] = ()


class DraftCall(NamedTuple):
    """The cost of one decode of a draft model."""

    # Rows of streams that a token was drawn for, and the cells that they read.
    n_rows: int
    n_row_cells: int
    # Tokens that were only read, and the cells that those read.
    n_tokens: int
    n_token_cells: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftDone:
    """The results of some orders."""

    drafted: tuple[Drafted, ...] = ()
    calls: tuple[DraftCall, ...] = ()
    # Wall time of all of it.
    ms: float = 0.0
    # Weights touched, and KV read and written.
    bytes_moved: int = 0
