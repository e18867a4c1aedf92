"""Reads the header of a GGUF file: metadata and where its tensors lie. Never the tensors' data.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
Long arrays (a vocabulary) are skipped and only counted. The file may be anybody's download. So its
header has limits, far above every real model's: reading one, here and in llama.cpp afterwards,
costs a fraction of a second and some megabytes. Not: deciding whether an architecture is known;
llama.cpp decides that.
"""

import math
import mmap
import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from umad.errors import ModelLoadFailed

Value = int | float | bool | str | tuple[int | float | bool, ...]

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_KEPT_ARRAY = 4096  # a value per layer is kept, one per token is not
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS
_MOST_LENGTH = 2**63 - 1  # llama.cpp's are signed
# Mixtral's first files had a tensor for each expert, 1,500 in all; 160 experts in 60 layers would
# make 29,000. One costs 4 us and 300 bytes here.
MOST_TENSORS = 2**15
_MOST_NAME_BYTES = 2**16 - 1  # of a key or tensor, as the format says
_MOST_VALUES = 4096
# Of all arrays of strings: twice a vocabulary of 262,144 tokens and its 514,906 merges. 0.4 s.
_MOST_STRINGS = 2**21
# Of arrays that are kept: 60 with a value for each of 512 layers.
_MOST_NUMBERS = 2**15
# Keys, names and values that are text; chat templates are the longest, some ten kilobytes.
_MOST_TEXT_BYTES = 2**24
# The largest vocabularies take 16 MB.
_MOST_HEADER_BYTES = 2**27
MOST_PARTS = 1024
_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, struct.Struct] = {
    number: struct.Struct("<" + code) for number, code in enumerate("BbHhIif?--Qqd") if code != "-"
}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
# "<prefix>-00001-of-00005.gguf", as llama.cpp's llama_split_path writes it.
_SPLIT = re.compile(r"^(.*)-(\d{5})-of-(\d{5})\.gguf$")

# ggml type number: (weights in a block, bytes of a block); ggml.c's type_traits.
BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
    42: (64, 18),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor's entry in the header."""

    name: str
    shape: tuple[int, ...]
    # ggml's number of the type.
    type_number: int
    # In bytes, from the beginning of the data section.
    offset: int

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the tensor's data; None for a type newer than `BLOCKS`."""
        block = BLOCKS.get(self.type_number)
        if block is None:
            return None
        weights = 1
        for length in self.shape:
            weights *= length
        return weights // block[0] * block[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """The header of one GGUF file."""

    metadata: Mapping[str, Value]
    # Lengths by key, also of arrays that are not kept.
    array_lengths: Mapping[str, int]
    tensors: tuple[Tensor, ...]
    # Where the data section begins, in bytes.
    data_at: int
    # The whole file's length.
    file_bytes: int

    @property
    def architecture(self) -> str:
        """Such as "qwen2"; the prefix of the model's own keys."""
        return str(self.metadata.get("general.architecture", ""))

    def own(self, key: str) -> Value | None:
        """The value of `<architecture>.<key>`."""
        return self.metadata.get(f"{self.architecture}.{key}")

    @property
    def needed_bytes(self) -> int:
        """How long the file must be for every tensor to be whole."""
        return max((self.data_at + t.offset + (t.size_bytes or 0) for t in self.tensors), default=0)


def whole_number(value: Value | None) -> int:
    """A value as a whole number: the largest where each layer has one, and 0 for what is no number.
    A file may say anything, inf too.
    """
    match value:
        case tuple():
            return max(map(whole_number, value), default=0)
        case float():
            return int(value) if math.isfinite(value) else 0
        case int():
            return int(value)
        case _:
            return 0


def read_header(path: Path) -> GgufHeader:
    """The header of a file. Raises `ModelLoadFailed`, in one line, for whatever is wrong."""
    try:
        # A pipe would keep whoever opens it waiting.
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ModelLoadFailed(f"{path} is no file")
            size = found.st_size
            if file.read(4) != MAGIC:
                raise ModelLoadFailed(f"{path} is not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data, size).header()
    except FileNotFoundError:
        raise ModelLoadFailed(f"{path} does not exist") from None
    except OSError as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}") from error
    except _Damaged as error:
        raise ModelLoadFailed(f"{path} is damaged: {error}") from None


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def parts(path: Path, header: GgufHeader) -> tuple[Path, ...]:
    """Every file of a split model, of which `path` must be the first; else just `path`."""
    count = header.metadata.get("split.count", 1)
    match = _SPLIT.match(path.name)
    if not isinstance(count, int) or count <= 1:
        return (path,)
    if count > MOST_PARTS:
        raise ModelLoadFailed(f"{path} is one of {count} parts; a model has {MOST_PARTS} at most")
    if match is None or header.metadata.get("split.no", 0) != 0:
        raise ModelLoadFailed(
            f"{path} is one of {count} parts: give the first, named …-00001-of-{count:05}.gguf"
        )
    return tuple(
        path.with_name(f"{match[1]}-{number:05}-of-{count:05}.gguf")
        for number in range(1, count + 1)
    )


class _Damaged(Exception):
    """The bytes end too early, or say something impossible."""


def _bounded(count: int, most: int, what: str) -> None:
    if count > most:
        raise _Damaged(f"its header has {count} {what}, and no model's has more than {most}")


class _Reader:
    def __init__(self, data: mmap.mmap, size: int) -> None:
        self._data = data
        self._size = size
        self._end = min(size, _MOST_HEADER_BYTES)
        self._at = len(MAGIC)
        self._n_strings = self._n_numbers = self._text_bytes = 0

    def header(self) -> GgufHeader:
        version = self._unsigned(_U32)
        if version not in _VERSIONS:
            raise _Damaged(f"GGUF version {version} is not known")
        n_tensors, n_values = self._unsigned(_U64), self._unsigned(_U64)
        _bounded(n_tensors, MOST_TENSORS, "tensors")
        _bounded(n_values, _MOST_VALUES, "values")
        metadata: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for _ in range(n_values):
            key = self._string(_MOST_NAME_BYTES)
            if key in metadata or key in lengths:
                raise _Damaged(f"it says {key!r} twice")
            kind = self._unsigned(_U32)
            if kind == _ARRAY:
                lengths[key], kept = self._array()
                if kept is not None:
                    metadata[key] = kept
            else:
                metadata[key] = self._value(kind)
        tensors = tuple(self._tensor() for _ in range(n_tensors))
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise _Damaged("its alignment is not a power of two")
        return GgufHeader(
            metadata=metadata,
            array_lengths=lengths,
            tensors=tensors,
            data_at=-(-self._at // alignment) * alignment,
            file_bytes=self._size,
        )

    def _skip(self, n_bytes: int) -> int:
        at = self._at
        if n_bytes > self._end - at:
            raise self._too_short()
        self._at = at + n_bytes
        return at

    def _too_short(self) -> "_Damaged":
        if self._size > self._end:
            return _Damaged(f"its header has more than {self._end} bytes, and no model's has")
        return _Damaged("it ends inside its header; fetch it again")

    def _unsigned(self, kind: struct.Struct) -> int:
        number: int = kind.unpack_from(self._data, self._skip(kind.size))[0]
        return number

    def _string(self, most_bytes: int = _MOST_TEXT_BYTES) -> str:
        n_bytes = self._unsigned(_U64)
        if n_bytes > most_bytes:
            raise _Damaged(f"a name or text of its header has {n_bytes} bytes")
        at = self._skip(n_bytes)
        self._text_bytes += n_bytes
        _bounded(self._text_bytes, _MOST_TEXT_BYTES, "bytes of text")
        return self._data[at : at + n_bytes].decode("utf-8", "replace")

    def _value(self, kind: int) -> int | float | bool | str:
        if kind == _STRING:
            return self._string()
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise _Damaged(f"value type {kind} is not known")
        value: int | float | bool = scalar.unpack_from(self._data, self._skip(scalar.size))[0]
        return value

    def _array(self) -> tuple[int, tuple[int | float | bool, ...] | None]:
        kind, length = self._unsigned(_U32), self._unsigned(_U64)
        if kind == _STRING:
            self._n_strings += length
            _bounded(self._n_strings, _MOST_STRINGS, "strings")
            # The hot loop of a large vocabulary: 300,000 lengths in 60 ms.
            data, unpack, at, end = self._data, _U64.unpack_from, self._at, self._end
            for _ in range(length):
                if at > end - 8:
                    raise self._too_short()
                at += 8 + unpack(data, at)[0]
            self._at = at
            self._skip(0)
            return length, None
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise _Damaged(f"array type {kind} is not known")
        at = self._skip(scalar.size * length)
        if length > _KEPT_ARRAY:
            return length, None
        self._n_numbers += length
        _bounded(self._n_numbers, _MOST_NUMBERS, "numbers")
        raw = self._data[at : self._at]
        return length, tuple(value for (value,) in scalar.iter_unpack(raw))

    def _tensor(self) -> Tensor:
        name = self._string(_MOST_NAME_BYTES)
        n_dimensions = self._unsigned(_U32)
        if n_dimensions > _MOST_DIMENSIONS:
            raise _Damaged(f"a tensor has {n_dimensions} dimensions")
        shape = tuple(self._unsigned(_U64) for _ in range(n_dimensions))
        if max(shape, default=0) > _MOST_LENGTH:
            raise _Damaged(f"a tensor is {max(shape)} long")
        return Tensor(
            name=name,
            shape=shape,
            type_number=self._unsigned(_U32),
            offset=self._unsigned(_U64),
        )
