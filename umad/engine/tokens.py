"""The seam to a model's vocabulary: text to token ids and back.

Not: what an engine does with it (`vocab`). Any thread may ask: a vocabulary does not change.
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
        """Every byte of a text stands in a token of it."""
        ...

    @property
    def drops_blanks(self) -> bool:
        """Some token takes the blanks beside it with it."""
        ...

    def chat_template(self, name: str | None = None) -> str | None:
        """The Jinja source in the model's file, or the one of that name; None without."""
        ...

    def eog_tokens(self) -> frozenset[int]:
        """Tokens that end a generation."""
        ...

    def control_tokens(self) -> frozenset[int]:
        """Tokens that mean something and stand for no text."""
        ...

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        """Ids, int32 (n,). add_special: with the ends that the model wants around a text;
        parse_special: control tokens are recognised in it."""
        ...

    def piece(self, token: int, *, special: bool) -> bytes:
        """Bytes of one token; of a control token none unless `special`."""
        ...

    def guidance_tokenizer(self, make: Callable[..., T]) -> T:
        """What `make` (`llguidance.LLTokenizer.from_llamacpp`) makes of the vocabulary. Raises
        `ValueError` where it cannot be constrained."""
        ...
