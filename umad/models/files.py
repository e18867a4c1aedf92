"""Says which files one model has: its GGUF or all its splits in order, and its projector.

    ModelFiles      the files of one model
    sorted_out      the models among the files of a folder, by the files' names alone
    whole_headers   the headers of all parts, each of them looked at before llama.cpp sees it

A file may be anybody's download. `umad.models.gguf` bounds what one header costs; here the parts
are held against one another: one that is missing, cut short, another model's, or the same file
again is refused in one line, before more than some milliseconds are spent.
Not: where models lie (`umad.models.places`), nor what is in them (`umad.models.facts`).
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from umad.errors import ModelLoadFailed
from umad.models.gguf import (
    MOST_PARTS,
    MOST_TENSORS,
    GgufHeader,
    parts,
    read_header,
    whole_number,
)
from umad.models.whisper import PREFIX, is_speech_name
from umad.models.whisper import SUFFIX as SPEECH_SUFFIX

SUFFIX = ".gguf"
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
# Files beside models which are none: projectors have `PROJECTOR`, the others are llama.cpp's rule
# (gguf_filename_is_model in its common/download.cpp).
PROJECTOR = "mmproj"
_NO_MODEL = ("imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
# llama.cpp's LLAMA_MAX_LAYERS.
_MOST_LAYERS = 512
# Of all parts after the first together. They have names of tensors and little else: 100 bytes for
# each of 2**15 tensors. Without it a thousand parts could cost what one header may, each.
_MOST_REST_BYTES = 2**26
# The most weights of a tensor: llama.cpp counts them in 64 bits, with a sign.
_MOST_WEIGHTS = 2**63 - 1
# How the quantizations of a projector are preferred, where a model has several: the way in for
# images is small, and its makers publish it in these.
_PROJECTOR_ORDER = ("f16", "bf16", "q8_0", "f32")
_BITS = re.compile(
    r"(?:^|[-_.])((?:ud-)?(?:i?q|tq)\d\w*|b?f16|fp16|f32|mxfp4\w*|nvfp4)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files of one model, by absolute paths."""

    # The GGUF, or all its splits in order. llama.cpp opens the first.
    parts: tuple[Path, ...]
    # What turns images or sound into vectors; None for a model of texts.
    projector: Path | None = None
    # LoRA adapters that belong to it.
    adapters: tuple[Path, ...] = ()

    @property
    def main(self) -> Path:
        """The file that is opened."""
        return self.parts[0]

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file."""
        projector = () if self.projector is None else (self.projector,)
        return (*self.parts, *projector, *self.adapters)

    def size_bytes(self) -> int:
        """Bytes on the disk, of the files that are there."""
        return sum(_size_of(path) for path in self.all)

    def missing(self) -> tuple[Path, ...]:
        """The files that are not there, or may not be looked at."""
        return tuple(path for path in self.all if not os.path.isfile(path))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


# -- names of files --------------------------------------------------------------------------------


def stem_of(file: PurePath | str) -> str:
    """A model's name by its file: without `.gguf` and the number of a split. A Whisper model's file
    `ggml-base.en.bin` is called whisper-base.en, because its own name does not say what it is.
    """
    name = PurePath(file).name
    if is_speech_name(name):
        return f"whisper-{name[len(PREFIX) : -len(SPEECH_SUFFIX)]}"
    split = _SPLIT.fullmatch(name)
    if split is not None:
        return split[1]
    return name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name


def quantization_in(file: PurePath | str) -> str:
    """The quantization that a file's name ends with, in capitals (`Q4_K_M`, `UD-Q4_K_XL`); empty
    where there is none.
    """
    found = _BITS.findall(stem_of(file))
    return found[-1].upper() if found else ""


def is_model_name(file: PurePath | str) -> bool:
    """True for a file that is a model by its name: a GGUF, and no projector, draft head or matrix
    of importance; nor a hidden file, as macOS puts beside others on disks of other systems. A
    Whisper model too.
    """
    name = PurePath(file).name.lower()
    if is_speech_name(name):
        return True
    is_other = name.startswith(".") or any(word in name for word in (PROJECTOR, *_NO_MODEL))
    return name.endswith(SUFFIX) and not is_other


def is_projector_name(file: PurePath | str) -> bool:
    """True for a file that is a projector by its name."""
    name = PurePath(file).name.lower()
    return name.endswith(SUFFIX) and PROJECTOR in name and not name.startswith(".")


def sorted_out(paths: Iterable[Path]) -> tuple[ModelFiles, ...]:
    """The models among the files of one folder or repository.

    A projector belongs to the models of its own folder and of those below it; where there are
    several, half precision goes first. Parts of a split that are not there are named all the same:
    `whole_headers` says which are missing.
    """
    files = sorted(set(paths))
    projectors = [path for path in files if is_projector_name(path)]
    found: dict[Path, ModelFiles] = {}
    for path in files:
        if is_model_name(path):
            every = _parts_by_name(path)
            projector = _projector_of(path, projectors)
            found.setdefault(every[0], ModelFiles(parts=every, projector=projector))
    return tuple(found.values())


def _parts_by_name(path: Path) -> tuple[Path, ...]:
    """All parts of the split that a file's name says it belongs to; else the file alone."""
    split = _SPLIT.fullmatch(path.name)
    if split is None or not 1 <= int(split[2]) <= int(split[3]) <= MOST_PARTS:
        return (path,)
    stem, count = split[1], int(split[3])
    return tuple(
        path.with_name(f"{stem}-{number:05}-of-{count:05}{path.suffix}")
        for number in range(1, count + 1)
    )


def _projector_of(model: Path, projectors: Sequence[Path]) -> Path | None:
    """The projector nearest to a model: deepest folder first, then the preferred precision."""
    near = [one for one in projectors if one.parent in model.parents]
    if not near:
        return None
    return min(near, key=lambda one: (-len(one.parts), _precision(one), one.name))


def _precision(projector: Path) -> int:
    said = quantization_in(projector).lower()
    return _PROJECTOR_ORDER.index(said) if said in _PROJECTOR_ORDER else len(_PROJECTOR_ORDER)


# -- what is in them -------------------------------------------------------------------------------


def whole_headers(path: Path) -> tuple[GgufHeader, ...]:
    """The headers of a model's parts in order, given the first. Raises `ModelLoadFailed`, in one
    line, where llama.cpp could not open the model or should not be asked to.
    """
    first = read_header(path)
    files = parts(path, first)
    headers = [first]
    _check_part(path, first)
    seen = {_identity(path): path}
    n_tensors, rest_bytes = len(first.tensors), 0
    for number, part in enumerate(files[1:], start=1):
        same = seen.setdefault(_identity(part), part)
        if same != part:
            raise ModelLoadFailed(f"{part} is the same file as {same.name}; fetch it again")
        header = read_header(part)
        _check_part(part, header)
        _check_number(part, header, number=number, count=len(files))
        headers.append(header)
        n_tensors, rest_bytes = n_tensors + len(header.tensors), rest_bytes + header.data_at
        if n_tensors > MOST_TENSORS:
            raise ModelLoadFailed(f"{path} and its parts have more than {MOST_TENSORS} tensors")
        if rest_bytes > _MOST_REST_BYTES:
            raise ModelLoadFailed(
                f"{path}: the headers of its parts have more than {_MOST_REST_BYTES} bytes, "
                "and no model's have"
            )
    _check_together(path, headers)
    return tuple(headers)


def joined(headers: Sequence[GgufHeader]) -> GgufHeader:
    """The first part's metadata with every part's tensors. Only sizes count; offsets mean
    nothing.
    """
    first = headers[0]
    return GgufHeader(
        metadata=first.metadata,
        array_lengths=first.array_lengths,
        tensors=tuple(tensor for header in headers for tensor in header.tensors),
        data_at=first.data_at,
        file_bytes=sum(header.file_bytes for header in headers),
    )


def _identity(path: Path) -> tuple[int, int]:
    """A file's own, whatever links lead to it. Raises `ModelLoadFailed` where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise ModelLoadFailed(f"{path} does not exist") from None
    except OSError as error:  # a loop of links, a name longer than the system's
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}") from error
    return found.st_dev, found.st_ino


def _check_part(path: Path, header: GgufHeader) -> None:
    for tensor in header.tensors:
        weights = 1
        for length in tensor.shape:
            weights *= length
        if weights > _MOST_WEIGHTS:
            raise ModelLoadFailed(
                f"{path} is damaged: its tensor {tensor.name[:64]!r} has {weights} weights"
            )
    if header.needed_bytes > header.file_bytes:
        raise ModelLoadFailed(
            f"{path} is cut short: {header.file_bytes} of at least {header.needed_bytes} "
            "bytes; fetch it again"
        )


def _check_number(path: Path, header: GgufHeader, *, number: int, count: int) -> None:
    said = header.metadata.get("split.no"), header.metadata.get("split.count", count)
    if said != (number, count):
        at = said[0] + 1 if isinstance(said[0], int) else "none"
        raise ModelLoadFailed(
            f"{path} is not part {number + 1} of {count} of its model: it says part {at} of "
            f"{said[1]}; fetch it again"
        )


def _check_together(path: Path, headers: Sequence[GgufHeader]) -> None:
    first = headers[0]
    said = first.metadata.get("split.tensors.count")
    n_tensors = sum(len(header.tensors) for header in headers)
    if len(headers) > 1 and isinstance(said, int) and said != n_tensors:
        raise ModelLoadFailed(
            f"{path} and its parts have {n_tensors} of {said} tensors; fetch them again"
        )
    if whole_number(first.own("block_count")) > _MOST_LAYERS:
        raise ModelLoadFailed(f"{path} says that it has more than {_MOST_LAYERS} layers")
    if not first.architecture:
        raise ModelLoadFailed(f"{path} names no architecture; it is not a language model")
