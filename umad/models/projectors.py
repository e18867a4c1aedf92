"""Finds the projector that belongs to a model's file: what makes rows out of images and sounds.

Where a place keeps a model with its projector, it says which one that is. Else a file beside the
model is meant that has the usual name, `mmproj…gguf`: if the folder has no other model. Rows of a
projector that was made for another model may have the right length, and then it sees nonsense.
`chosen` says which one an engine takes. Not: whether it fits (`umad.engine.llamacpp.projector`).
"""

import os
from pathlib import Path

from umad.models.files import SUFFIX, sorted_out

# As the option `mmproj` says it.
NONE = "none"
# Of a folder that a user named a file in.
_MOST_FILES = 4096


def chosen(model: Path, *, named: str | None, known: str | None) -> Path | None:
    """The projector of a model's file; None where it has none. named: what the option says, None
    for auto. known: the one that its place keeps with it.
    """
    if named is not None:
        return None if named == NONE else Path(named)
    return projector_beside(model) if known is None else Path(known)


def projector_beside(model: Path) -> Path | None:
    """The projector in a model's folder; None where there is none, or it may be another one's."""
    files = []
    try:
        with os.scandir(model.parent) as entries:
            for _, entry in zip(range(_MOST_FILES), entries, strict=False):
                if entry.name.lower().endswith(SUFFIX):
                    files.append(model.parent / entry.name)
    except OSError:
        return None
    found = sorted_out(files)
    alone = len(found) == 1 and model in found[0].parts
    return found[0].projector if alone else None
