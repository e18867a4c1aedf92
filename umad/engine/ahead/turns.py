"""Holds a chat that is being answered, and one whose answer has ended. Values only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTurn:
    """What is needed of a chat to know its next turn's prompt, once its answer has ended."""

    # Turns and options as `umad.conversation.to_json` writes them.
    chat: str
    # The part of the answer that the template began.
    opening: str
    stops: tuple[str, ...]
    # The last mark of its prompt, up to which the next turn surely agrees; 0 where none is known.
    mark: int = 0
    # The chat has an answer in it already.
    is_later: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTurn:
    """A chat whose answer has ended."""

    asked: AskedTurn
    rid: int
    # int32 (n,): prompt and answer.
    tokens: NDArray[np.int32]
    n_prompt: int
    app: str
    owner: str
    salt: str
    session: str | None
    # How many requests had arrived before.
    n_arrivals: int
