"""Defines the toy's vocabulary and its logits: bytes, four marks, and a hash. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_N_BYTES = 256
# ChatML's marks, behind the bytes.
MARKS = (b"<|bos|>", b"<|endoftext|>", b"<|im_start|>", b"<|im_end|>")
N_VOCAB = _N_BYTES + len(MARKS)
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FIRST_STATE = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
# The logits of bytes that a person can read are higher by this much.
_READABLE = 6.0


def next_state(state: int, token: int) -> int:
    """The hash of a text that goes on with `token` (splitmix64, Steele and others 2014)."""
    mixed = (state + (token + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def toy_logits(states: Sequence[int]) -> NDArray[np.float32]:
    """float32 (len(states), N_VOCAB): each row follows from its hash alone."""
    rows = np.empty((len(states), N_VOCAB), np.float32)
    for at, state in enumerate(states):
        rows[at] = np.random.Generator(np.random.Philox(state)).random(N_VOCAB, np.float32)
    readable = slice(ord(" "), ord("~") + 1)
    rows[:, readable] += _READABLE
    return rows


class ToyTokens:
    """The toy's vocabulary. `umad.engine.tokens.TokenTable` says what it has to do."""

    def __init__(self) -> None:
        self.n_vocab = N_VOCAB
        self.bos = _N_BYTES
        self.eos = _N_BYTES + 1
        self.sep = -1
        self.adds_bos = False
        self.adds_eos = False
        self.adds_sep = False
        self.covers_all_bytes = True
        self.drops_blanks = False

    def chat_template(self, name: str | None = None) -> str | None:
        """The ChatML template; there are no others."""
        return _TEMPLATE if name is None else None

    def eog_tokens(self) -> frozenset[int]:
        """The end of a text and the end of a turn."""
        return frozenset((self.eos, _N_BYTES + 3))

    def control_tokens(self) -> frozenset[int]:
        """The four marks."""
        return frozenset(range(_N_BYTES, N_VOCAB))

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        """A token for each byte; marks are recognised with `parse_special`."""
        tokens: list[int] = []
        at = 0
        while at < len(text):
            mark = _mark_at(text, at) if parse_special else None
            if mark is None:
                tokens.append(text[at])
                at += 1
            else:
                tokens.append(_N_BYTES + mark)
                at += len(MARKS[mark])
        return np.array(tokens, np.int32)

    def piece(self, token: int, *, special: bool) -> bytes:
        """The byte, or with `special` the mark."""
        if token < _N_BYTES:
            return bytes([token])
        return MARKS[token - _N_BYTES] if special else b""

    def guidance_tokenizer(self, make: Callable[..., T]) -> T:
        """Raises `ValueError`: llguidance needs a llama.cpp vocabulary, and there is none."""
        raise ValueError("the numpy backend has no vocabulary for grammars")


def _mark_at(text: bytes, at: int) -> int | None:
    if text[at] != MARKS[0][0]:
        return None
    return next((n for n, mark in enumerate(MARKS) if text.startswith(mark, at)), None)
