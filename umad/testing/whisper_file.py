"""Writes a tiny Whisper model with random weights, in whisper.cpp's format, for tests.

whisper.cpp loads and runs it as any other, within some milliseconds a window; what it hears is
nonsense, the same each time. The vocabulary has to be as large as the real one, because special
tokens have fixed places behind it; so the file has some megabytes whatever its width.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from umad.models.whisper import MAGIC

# English alone; one more is a model of all languages.
_ENGLISH, _ALL = 51_864, 51_865
_TEXT_TOKENS = {_ENGLISH: 50_256, _ALL: 50_257}
_BLANK = 220
_MELS, _BINS = 80, 201
_AUDIO_CTX, _TEXT_CTX = 1500, 448
_F32, _F16 = 0, 1
_Tensor = tuple[str, tuple[int, ...], int]


def write_whisper(
    path: Path,
    *,
    seed: int = 1,
    width: int = 64,
    layers: int = 4,
    multilingual: bool = False,
) -> None:
    """Write the model. width: a multiple of 64. layers: of encoder and decoder, each; whisper.cpp
    knows 4, 6, 12, 24 and 32.
    """
    random = np.random.default_rng(seed)
    vocabulary = _ALL if multilingual else _ENGLISH
    heads = width // 64
    fields = (vocabulary, _AUDIO_CTX, width, heads, layers, _TEXT_CTX, width, heads, layers)
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<11i", *fields, _MELS, _F16))
        file.write(struct.pack("<2i", _MELS, _BINS) + _filters().tobytes())
        n_words = _TEXT_TOKENS[vocabulary]
        file.write(struct.pack("<i", n_words))
        for number in range(n_words):
            # whisper.cpp looks the blank up by its text.
            word = b" " if number == _BLANK else f" w{number}".encode()
            file.write(struct.pack("<i", len(word)) + word)
        for name, shape, kind in _tensors(vocabulary, width, layers):
            _put(file, name, _weights(random, name, shape), kind)


def _filters() -> NDArray[np.float32]:
    """Triangles side by side. float32 (mels, bins)."""
    bins = np.arange(_BINS)[None, :]
    centres = np.linspace(1, _BINS - 2, _MELS)[:, None]
    return (np.maximum(0, 1 - np.abs(bins - centres) / 4) / 40).astype(np.float32)


def _weights(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Weights with which the decoder is sure of each token, and ends after some: whisper.cpp hears
    a window of which it is not sure again and again, and one without an end to its last token.
    """
    if name == "decoder.ln.bias":
        return (_towards_end(shape[0]) / 2).astype(np.float32)
    if name.endswith(("ln.weight", "ln_post.weight")):
        return np.ones(shape, np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if name == "decoder.token_embedding.weight":
        words = random.standard_normal(shape).astype(np.float32)
        words[_TEXT_TOKENS[shape[0]]] = _towards_end(shape[1])
        return words
    # By its place, each token is another one; without this the decoder would repeat its first.
    scale = 4.0 if name == "decoder.positional_embedding" else 0.1
    return (random.standard_normal(shape) * scale).astype(np.float32)


def _towards_end(width: int) -> NDArray[np.float32]:
    """A direction that every state of the decoder has a part of."""
    return np.where(np.arange(width) % 3 == 0, 1, -1).astype(np.float32)


def _tensors(vocabulary: int, width: int, layers: int) -> Iterator[_Tensor]:
    """Names, shapes and types as `whisper_model_load` wants them."""
    yield "encoder.positional_embedding", (_AUDIO_CTX, width), _F32
    yield "decoder.positional_embedding", (_TEXT_CTX, width), _F32
    yield "decoder.token_embedding.weight", (vocabulary, width), _F16
    yield "encoder.conv1.weight", (width, _MELS, 3), _F16
    yield "encoder.conv1.bias", (width, 1), _F32
    yield "encoder.conv2.weight", (width, width, 3), _F16
    yield "encoder.conv2.bias", (width, 1), _F32
    for ending in ("weight", "bias"):
        yield f"encoder.ln_post.{ending}", (width,), _F32
        yield f"decoder.ln.{ending}", (width,), _F32
    for part in ("encoder", "decoder"):
        for number in range(layers):
            yield from _block(f"{part}.blocks.{number}.", width, crosses=part == "decoder")


def _block(prefix: str, width: int, *, crosses: bool) -> Iterator[_Tensor]:
    square, wide = (width, width), 4 * width
    for attention in ("attn", "cross_attn") if crosses else ("attn",):
        for ending in ("weight", "bias"):
            yield f"{prefix}{attention}_ln.{ending}", (width,), _F32
        for name in ("query", "key", "value", "out"):
            yield f"{prefix}{attention}.{name}.weight", square, _F16
            if name != "key":
                yield f"{prefix}{attention}.{name}.bias", (width,), _F32
    for ending in ("weight", "bias"):
        yield f"{prefix}mlp_ln.{ending}", (width,), _F32
    yield f"{prefix}mlp.0.weight", (wide, width), _F16
    yield f"{prefix}mlp.0.bias", (wide,), _F32
    yield f"{prefix}mlp.2.weight", (width, wide), _F16
    yield f"{prefix}mlp.2.bias", (width,), _F32


def _put(file: BinaryIO, name: str, values: NDArray[np.float32], kind: int) -> None:
    data = values.astype(np.float16 if kind == _F16 else np.float32)
    file.write(struct.pack("<3i", data.ndim, len(name), kind))
    # The innermost length first, as ggml counts.
    file.write(struct.pack(f"<{data.ndim}i", *reversed(data.shape)))
    file.write(name.encode() + data.tobytes())
