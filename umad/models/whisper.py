"""Reads the header of a Whisper model in whisper.cpp's own format (`ggml-*.bin`).

The format is older than GGUF: the number `MAGIC`, eleven numbers, the filters that make a
spectrogram, a vocabulary, then every tensor behind its own small header (whisper.cpp,
`whisper_model_load`). It may be anybody's download, so everything that is counted has a limit, and
the tensors are walked through: a file that was cut short is found before it is loaded. That costs
some milliseconds. No tensor's data is read.
Not: running it (`umad.speech`).
"""

import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from umad.errors import ModelLoadFailed
from umad.models.facts import FileFacts
from umad.models.gguf import BLOCKS

# "ggml", as a little-endian number.
MAGIC = struct.pack("<I", 0x67676D6C)
PREFIX, SUFFIX = "ggml-", ".bin"
# A file of the same beginning that tells speech from silence, and transcribes nothing.
_NO_MODEL = ("silero", "vad")
_FIELDS = struct.Struct("<11i")
_PAIR = struct.Struct("<2i")
_TENSOR = struct.Struct("<3i")
_NUMBER = struct.Struct("<i")
# The largest models have 1,280 numbers of width, 32 layers and 51,866 words.
_MOST_VOCABULARY = 2**18
_MOST_WIDTH = 2**14
_MOST_LAYERS = 512
_MOST_CONTEXT = 2**16
_MOST_FILTERS = 2**10
_MOST_NAME_BYTES = 256
_MOST_TENSORS = 2**14
_MOST_DIMENSIONS = 4
# A model with so many words, or more, knows other languages than English.
_MULTILINGUAL = 51_865
# ggml.h, enum ggml_ftype, without the version of its format in the thousands.
_FILE_TYPES: Mapping[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
}
_VERSIONS = 1000
# The makers' names of the sizes, by the layers of the encoder.
_SIZES: Mapping[int, str] = {4: "tiny", 6: "base", 12: "small", 24: "medium", 32: "large"}
# A large model whose decoder has so many layers is the quick one.
_TURBO_LAYERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperHeader:
    """What a file says of its model."""

    vocabulary: int
    # Positions of the encoder: 1,500, which are 30 seconds.
    audio_ctx: int
    audio_width: int
    audio_heads: int
    audio_layers: int
    # Tokens of the decoder, prompt and answer together.
    text_ctx: int
    text_width: int
    text_heads: int
    text_layers: int
    # Bands of the spectrogram.
    mels: int
    file_type: int
    # Weights of all tensors.
    n_params: int
    file_bytes: int

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows other languages than English, and can translate into English."""
        return self.vocabulary >= _MULTILINGUAL

    @property
    def quantization(self) -> str:
        """Such as Q5_1; empty where the number is not known."""
        return _FILE_TYPES.get(self.file_type % _VERSIONS, "")

    @property
    def title(self) -> str:
        """The makers' name, such as "Whisper base.en"."""
        size = _SIZES.get(self.audio_layers, f"{self.audio_layers} layers")
        if size == "large" and self.text_layers == _TURBO_LAYERS:
            size = "large turbo"
        return f"Whisper {size}{'' if self.is_multilingual else '.en'}"


def is_speech_name(file: PurePath | str) -> bool:
    """True for a file that is a Whisper model by its name: `ggml-base.en.bin`."""
    name = PurePath(file).name.lower()
    fits = name.startswith(PREFIX) and name.endswith(SUFFIX)
    return fits and not any(word in name for word in _NO_MODEL)


def is_speech_file(path: Path) -> bool:
    """Whether a file begins as a Whisper model does. False for one that cannot be read."""
    try:
        with open(path, "rb", opener=_opener) as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_whisper(path: Path) -> WhisperHeader:
    """The header of a Whisper model. Raises `ModelLoadFailed`, in one line, for any other file and
    for one that is damaged or cut short.
    """
    try:
        with open(path, "rb", opener=_opener) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ModelLoadFailed(f"{path} is a folder or device, not a model")
            return _read(path, file, found.st_size)
    except FileNotFoundError:
        raise ModelLoadFailed(f"{path} does not exist") from None
    except OSError as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}") from error
    except struct.error:
        raise ModelLoadFailed(f"{path} is cut short; fetch it again") from None


def facts_of_whisper(header: WhisperHeader) -> FileFacts:
    """The facts of a header under the names that those of a GGUF have."""
    return FileFacts(
        kind="speech",
        architecture="whisper",
        title=header.title,
        n_params=header.n_params,
        quantization=header.quantization,
        trained_tokens=header.text_ctx,
        n_layers=header.audio_layers + header.text_layers,
        width=header.text_width,
        n_experts=0,
        experts_used=0,
        vocabulary=header.vocabulary,
        licence="",
        template="",
        embeds=False,
        fills_in=False,
    )


def _opener(path: str, flags: int) -> int:
    # A pipe without a writer must not hold anybody up.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(path: Path, file: BinaryIO, file_bytes: int) -> WhisperHeader:
    if file.read(len(MAGIC)) != MAGIC:
        raise ModelLoadFailed(f"{path} is no Whisper model: it does not begin as one")
    fields = _FIELDS.unpack(file.read(_FIELDS.size))
    vocabulary, audio_ctx, audio_width, audio_heads, audio_layers = fields[:5]
    text_ctx, text_width, text_heads, text_layers, mels, file_type = fields[5:]
    _check(path, "words", vocabulary, _MOST_VOCABULARY)
    for width in (audio_width, text_width, audio_heads, text_heads):
        _check(path, "numbers of width", width, _MOST_WIDTH)
    for layers in (audio_layers, text_layers):
        _check(path, "layers", layers, _MOST_LAYERS)
    for context in (audio_ctx, text_ctx):
        _check(path, "positions", context, _MOST_CONTEXT)
    _check(path, "bands", mels, _MOST_FILTERS)
    n_rows, n_columns = _PAIR.unpack(file.read(_PAIR.size))
    _check(path, "filters", n_rows, _MOST_FILTERS)
    _check(path, "filters", n_columns, _MOST_FILTERS)
    _skip(path, file, 4 * n_rows * n_columns, file_bytes)
    (n_words,) = _NUMBER.unpack(file.read(_NUMBER.size))
    _check(path, "words", n_words, _MOST_VOCABULARY)
    for _ in range(n_words):
        (length,) = _NUMBER.unpack(file.read(_NUMBER.size))
        if not 0 <= length <= _MOST_NAME_BYTES:
            raise _damaged(path, f"a word of {length} bytes")
        _skip(path, file, length, file_bytes)
    return WhisperHeader(
        vocabulary=vocabulary,
        audio_ctx=audio_ctx,
        audio_width=audio_width,
        audio_heads=audio_heads,
        audio_layers=audio_layers,
        text_ctx=text_ctx,
        text_width=text_width,
        text_heads=text_heads,
        text_layers=text_layers,
        mels=mels,
        file_type=file_type,
        n_params=_walk(path, file, file_bytes),
        file_bytes=file_bytes,
    )


def _walk(path: Path, file: BinaryIO, file_bytes: int) -> int:
    """Pass over every tensor to the file's end; return how many weights they have."""
    n_params = n_tensors = 0
    while file.tell() < file_bytes:
        n_tensors += 1
        if n_tensors > _MOST_TENSORS:
            raise _damaged(path, f"more than {_MOST_TENSORS} tensors")
        n_dims, name_bytes, kind = _TENSOR.unpack(file.read(_TENSOR.size))
        if not (0 < n_dims <= _MOST_DIMENSIONS and 0 < name_bytes <= _MOST_NAME_BYTES):
            raise _damaged(path, f"a tensor of {n_dims} dimensions")
        lengths = struct.unpack(f"<{n_dims}i", file.read(4 * n_dims))
        weights = 1
        for length in lengths:
            _check(path, "weights in a row", length, _MOST_VOCABULARY)
            weights *= length
        block = BLOCKS.get(kind)
        if block is None:
            raise _damaged(path, f"a tensor of the unknown type {kind}")
        n_params += weights
        _skip(path, file, name_bytes + weights // block[0] * block[1], file_bytes)
    if n_tensors == 0:
        raise _damaged(path, "no tensors")
    return n_params


def _skip(path: Path, file: BinaryIO, n_bytes: int, file_bytes: int) -> None:
    """Go on behind `n_bytes`, which the file must have."""
    if file.seek(n_bytes, os.SEEK_CUR) > file_bytes:
        raise ModelLoadFailed(
            f"{path} is cut short: {file_bytes} of at least {file.tell()} bytes; fetch it again"
        )


def _check(path: Path, what: str, value: int, most: int) -> None:
    if not 0 < value <= most:
        raise _damaged(path, f"{value} {what}")


def _damaged(path: Path, what: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"{path} is no Whisper model, or is damaged: it says {what}")
