"""Looks at a projector's file before llama.cpp does: its header, its size, what tells it apart.

Not: loading it (`projector`).
"""

import hashlib
from pathlib import Path

from umad.errors import ModelLoadFailed
from umad.models.gguf import GgufHeader, read_header

# A projector is told apart by its header and the first of its weights.
_FIRST_BYTES = 2**20
# What mtmd does for these depends on where a medium stands in its prompt, and rows that are kept
# must not: it numbers the images of a prompt, or begins each at a multiple of four.
_BY_PLACE = ("hunyuanvl", "deepseek4v")
_TYPE_KEYS = ("clip.projector_type", "clip.vision.projector_type", "clip.audio.projector_type")


def checked_header(path: Path) -> GgufHeader:
    """A projector's header. Raises `ModelLoadFailed`, in one line, for a file that is none."""
    header = read_header(path)
    if header.architecture != "clip":
        raise ModelLoadFailed(f"{path} is no projector: it is a model of {header.architecture}")
    if header.needed_bytes > header.file_bytes:
        raise ModelLoadFailed(
            f"{path} is cut short: {header.file_bytes} of at least {header.needed_bytes} bytes; "
            "fetch it again"
        )
    kinds = {str(header.metadata[key]) for key in _TYPE_KEYS if key in header.metadata}
    if by_place := sorted(kinds.intersection(_BY_PLACE)):
        raise ModelLoadFailed(f"projectors of the kind {by_place[0]} are not served yet: {path}")
    return header


def tensor_bytes(header: GgufHeader) -> int:
    """The weights of a projector."""
    return sum(tensor.size_bytes or 0 for tensor in header.tensors)


def fingerprint(path: Path, header: GgufHeader) -> str:
    """Tells a projector from another: by its header, and the bytes at the beginning of its data."""
    with path.open("rb") as file:
        # The metadata and the names, sizes and places of all tensors, and then some weights.
        digest = hashlib.sha256(file.read(header.data_at + _FIRST_BYTES))
    digest.update(str(header.file_bytes).encode())
    return digest.hexdigest()


def projector_bytes(path: Path | None) -> int:
    """The weights of a projector; 0 for none, and for a file that is none: its load says why."""
    if path is None:
        return 0
    try:
        return tensor_bytes(read_header(path))
    except ModelLoadFailed:
        return 0
