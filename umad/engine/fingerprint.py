"""Makes a short text of all that an answer depends on, the same on every machine with that model.

An answer that was cut may go on at another machine only where the model is the same to the last
weight: a token's number means another word under another vocabulary, and the text would change its
mind in the middle of a word under other weights. Names and paths say nothing of that.
Reading all weights would take as long as a load, so of the weights a few hundred places are read.
Two machines may still differ in the last bits of their arithmetic, as any two do. Then the answer
goes on as it might have gone on there: no token is lost or drawn again, and later ones may differ.
Not: what saved cells depend on, which is more (`umad.engine.sessions.identity`). Owner: the main
thread, once at load.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from umad.engine.facts import ModelFacts
from umad.models.gguf import GgufHeader
from umad.version import __version__

# A quantization, a fine-tune and a merge change all tensors; so one block in each of them would do.
_BLOCKS: Final = 256
_BLOCK_BYTES: Final = 4096
_HEX_CHARS: Final = 32


def fingerprint_of(facts: ModelFacts, paths: Sequence[Path], headers: Sequence[GgufHeader]) -> str:
    """The fingerprint of a loaded model; "" where a file cannot be read any more.

    It covers the files, how positions are scaled, the type of the cells, and this version of umad,
    which makes prompts of chats.
    """
    said = f"umad {__version__}; kv {facts.kv_type}; positions {facts.rope}"
    digest = hashlib.sha256(said.encode())
    projector = facts.projector or {}
    digest.update(str(projector.get("fingerprint", "")).encode())
    try:
        for path, header in zip(paths, headers, strict=True):
            _add_file(digest, path, header.data_at)
    except OSError:
        return ""
    return digest.hexdigest()[:_HEX_CHARS]


def _add_file(digest: "hashlib._Hash", path: Path, data_at: int) -> None:
    """Everything before the weights, the size, and some blocks of the weights."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        digest.update(f"; {size} ".encode())
        file.seek(0)
        digest.update(file.read(data_at))
        step = max(_BLOCK_BYTES, (size - data_at) // _BLOCKS)
        for at in range(data_at, size, step):
            file.seek(at)
            digest.update(file.read(_BLOCK_BYTES))
