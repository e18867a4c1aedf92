"""Wraps a vocabulary of llama.cpp: text to ids and back, and the kinds of its tokens.

Not: weights (`llama`). Any thread: llama.cpp's vocabulary does not change after the load.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from umad.engine.llamacpp.library import lib

T = TypeVar("T")
_PIECE_BYTES = 64


class LlamaVocab:
    """The vocabulary behind a `llama_vocab` pointer."""

    def __init__(self, vocab: Any) -> None:
        self._vocab = vocab
        self.n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self.bos: int = lib.llama_vocab_bos(self._vocab)
        self.eos: int = lib.llama_vocab_eos(self._vocab)
        self._eog: frozenset[int] | None = None
        self.adds_bos: bool = lib.llama_vocab_get_add_bos(self._vocab)
        self.adds_eos: bool = lib.llama_vocab_get_add_eos(self._vocab)
        self.adds_sep: bool = lib.llama_vocab_get_add_sep(self._vocab)
        self.sep: int = lib.llama_vocab_sep(self._vocab)

    def fim_tokens(self) -> Mapping[str, int]:
        """The fill-in-the-middle tokens that the model knows: prefix, suffix, middle, repo,
        separator.
        """
        found = {
            "prefix": lib.llama_vocab_fim_pre(self._vocab),
            "suffix": lib.llama_vocab_fim_suf(self._vocab),
            "middle": lib.llama_vocab_fim_mid(self._vocab),
            "repo": lib.llama_vocab_fim_rep(self._vocab),
            "separator": lib.llama_vocab_fim_sep(self._vocab),
        }
        return {name: token for name, token in found.items() if token >= 0}

    def eog_tokens(self) -> frozenset[int]:
        """Every token that ends a generation. It calls llama.cpp for each token: milliseconds, ask
        once.
        """
        if self._eog is None:
            is_eog, vocab = lib.llama_vocab_is_eog, self._vocab
            self._eog = frozenset(token for token in range(self.n_vocab) if is_eog(vocab, token))
        return self._eog

    def control_tokens(self) -> frozenset[int]:
        """Tokens that have a meaning and stand for no text; those for fill-in-the-middle are among
        them. It calls llama.cpp for each token: ask once.
        """
        is_control, vocab = lib.llama_vocab_is_control, self._vocab
        return frozenset(token for token in range(self.n_vocab) if is_control(vocab, token))

    @property
    def covers_all_bytes(self) -> bool:
        """True if the tokens of a text contain every byte of it. They do with byte pairs (BPE) and
        SentencePiece (SPM). Other kinds use one token for a whole word that they do not know.
        """
        kind = lib.llama_vocab_type(self._vocab)
        return kind in (lib.LLAMA_VOCAB_TYPE_SPM, lib.LLAMA_VOCAB_TYPE_BPE)

    @property
    def drops_blanks(self) -> bool:
        """True if some token swallows all blanks beside it (`tokenizer_st_partition` of
        llama-vocab.cpp). It calls llama.cpp for each token: ask once.
        """
        attr_of, vocab = lib.llama_vocab_get_attr, self._vocab
        strips = lib.LLAMA_TOKEN_ATTR_LSTRIP | lib.LLAMA_TOKEN_ATTR_RSTRIP
        return any(attr_of(vocab, token) & strips for token in range(self.n_vocab))

    def tokenize(self, text: bytes, *, add_special: bool, parse_special: bool) -> NDArray[np.int32]:
        """Token ids, int32 (n,). Releases the GIL."""
        # A token has at least one byte, but for the added ends and a leading space.
        room = len(text) + 8
        while True:
            out = np.empty(room, np.int32)
            n = lib.llama_tokenize(
                self._vocab,
                text,
                len(text),
                out.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
                room,
                add_special,
                parse_special,
            )
            if n >= 0:
                return out[:n].copy()
            room = -n

    def piece(self, token: int, *, special: bool) -> bytes:
        """The bytes of one token. Control tokens give b"" unless `special`."""
        room = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            n = lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if n >= 0:
                return buffer.raw[:n]
            room = -n

    def guidance_tokenizer(self, make: Callable[..., T]) -> T:
        """Call `llguidance.LLTokenizer.from_llamacpp` (`make`) with the vocabulary. llguidance
        expects 0xff before the bytes of a control token. It calls back into llama.cpp to tokenize.
        """
        controls = self.control_tokens()
        tokens = [
            (b"\xff" if token in controls else b"") + self.piece(token, special=True)
            for token in range(self.n_vocab)
        ]
        return make(
            tokens=tokens,
            vocab_ptr=self._vocab,
            tokenize_fptr=ctypes.cast(lib._lib.llama_tokenize, ctypes.c_void_p).value,
            eos_token=sorted(self.eog_tokens()),
        )
