"""nano's tokens with control tokens of any names beside them. Not a test."""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from umad import nano
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.llama import Model

T = TypeVar("T")

llama.start()
NANO = Model(str(nano.path()), vocab_only=True)


class NamedControls:
    """A vocabulary in which `names` are control tokens, as in the file of a template's model."""

    bos = eos = sep = -1
    adds_bos = adds_eos = adds_sep = False
    covers_all_bytes = True
    drops_blanks = False

    def __init__(self, names: Sequence[str]) -> None:
        self._ids = {name: NANO.n_vocab + at for at, name in enumerate(names)}
        self._names = list(names)
        self.n_vocab = NANO.n_vocab + len(names)
        longest_first = sorted(names, key=len, reverse=True)
        self._any = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def chat_template(self, name: str | None = None) -> str | None:
        return None

    def eog_tokens(self) -> frozenset[int]:
        return frozenset()

    def control_tokens(self) -> frozenset[int]:
        return frozenset(self._ids.values())

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        words = text.decode("utf-8", "surrogatepass")
        pieces = self._any.split(words) if parse_special and self._names else [words]
        ids: list[int] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                ids.append(self._ids[piece])
            else:
                raw = piece.encode("utf-8", "surrogatepass")
                ids += NANO.tokenize(raw, add_special=False, parse_special=False).tolist()
        return np.array(ids, np.int32)

    def piece(self, token: int, *, special: bool) -> bytes:
        if token >= NANO.n_vocab:
            return self._names[token - NANO.n_vocab].encode() if special else b""
        return NANO.piece(token, special=special)

    def guidance_tokenizer(self, make: Callable[..., T]) -> T:
        raise ValueError("nothing is constrained here")
