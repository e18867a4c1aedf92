"""Train the byte-level BPE and encode with it. Not llama.cpp's tokenizer, but equal to it.

The pre-tokenizer is GPT-2's, which llama.cpp knows as `gpt-2`: a newline and the indent after
it become one token, so a prompt that ends in `:` ends at a token boundary seen in training.
Owner: the training script; a trained tokenizer is a file and never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from umad.nano.train.corpus import SPECIALS, Sample

PRE_TOKENIZER = "gpt-2"
N_VOCAB_TOKENS = 5120
TokenIds = npt.NDArray[np.uint16]


def train(texts: Iterable[str], *, n_vocab_tokens: int = N_VOCAB_TOKENS) -> Tokenizer:
    """A BPE over `texts`; special tokens take the first ids, then the 256 bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_vocab_tokens,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=48,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def encode(tokenizer: Tokenizer, samples: Sequence[Sample]) -> TokenIds:
    """All samples as one stream of ids; the pieces of a sample are encoded apart."""
    pieces = [piece for sample in samples for piece in sample]
    streams: list[TokenIds] = []
    # In slices: an Encoding object per piece is large, a whole epoch of them is gigabytes.
    for start in range(0, len(pieces), 512):
        batch = tokenizer.encode_batch_fast(pieces[start : start + 512], add_special_tokens=False)
        streams.extend(np.asarray(encoding.ids, dtype=np.uint16) for encoding in batch)
    return np.concatenate(streams)
