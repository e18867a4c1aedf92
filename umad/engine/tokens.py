"""Defines the seam to a model's vocabulary: text to token ids and back.

Not: how an engine uses it (`vocab`). Any thread may ask, because a vocabulary does not change.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class TokenTable(Protocol):
    """A model's vocabulary."""

    n_vocab: int
    # Ids; below 0 where the model has none.
    bos: int
    eos: int
    sep: int
    adds_bos: bool
    adds_eos: bool
    adds_sep: bool

    @property
    def covers_all_bytes(self) -> bool:
        """True if the tokens of a text together contain every byte of it."""
        ...

    @property
    def drops_blanks(self) -> bool:
        """True if some token swallows the blanks beside it."""
        ...

    def chat_template(self, name: str | None = None) -> str | None:
        """The Jinja source in the model's file, or the template called `name`; None without one."""
        ...

    def eog_tokens(self) -> frozenset[int]:
        """Tokens that end a generation."""
        ...

    def control_tokens(self) -> frozenset[int]:
        """Tokens that have a meaning and stand for no text."""
        ...

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        """Token ids, int32 (n,). add_special: add the ends that the model wants around a text.
        parse_special: recognise control tokens in the text.
        """
        ...

    def piece(self, token: int, *, special: bool) -> bytes:
        """Bytes of one token. A control token gives no bytes unless `special`."""
        ...

    def guidance_tokenizer(self, make: Callable[..., T]) -> T:
        """Call `make` (`llguidance.LLTokenizer.from_llamacpp`) with the vocabulary and return the
        result. Raises `ValueError` where the vocabulary cannot be constrained.
        """
        ...
