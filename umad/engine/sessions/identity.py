"""Writes down what saved cells and states depend on: a model's weights, their shape, a llama.cpp.

They are numbers without a name. Under other weights or in another layout they would give text that
looks like an answer. So all that they depend on is saved with them, and compared before they are
used. Owner: the main thread, once at load.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from umad.config import EngineSettings
from umad.engine.facts import ModelFacts
from umad.engine.launch import EngineOptions
from umad.engine.sessions.file import About
from umad.engine.sessions.folder import SessionFolder
from umad.models.gguf import GgufHeader
from umad.scheduler.memory.parked_store import ParkShape

log = logging.getLogger("umad.engine")

# Files of format 1, which held no states, are refused like those of another llama.cpp: a saved
# session is no document but computed work, and computing it again is always right.
FORMAT = 2


def fingerprint(paths: Sequence[Path], headers: Sequence[GgufHeader]) -> str:
    """A digest of a model's files: their size, time of change, and everything before the weights,
    which includes the vocabulary. Reading the weights would take as long as loading the model.
    """
    digest = hashlib.sha256()
    for path, header in zip(paths, headers, strict=True):
        stat = path.stat()
        digest.update(f"{stat.st_size} {stat.st_mtime_ns} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(header.data_at))
    return digest.hexdigest()


def about(facts: ModelFacts, shape: ParkShape, model: str, library: str) -> About:
    """Everything that must be the same. library: the version and build that made them."""
    return {
        "format": FORMAT,
        "model": model,
        "llama.cpp": library,
        "kv type": facts.kv_type,
        "kv packing": facts.kv_pack,
        "flash attention": facts.flash_attention,
        "slab": [shape.slice_cells, shape.slab_bytes],
        # A context with whole windows has no state of them, and its cells are others.
        "state": [shape.state_bytes, shape.has_cells],
        # Keys are rotated before they are kept. Nothing is said where nothing was asked for, so
        # that older files stay good.
        **({"positions": facts.rope} if facts.rope else {}),
    }


def open_sessions(
    options: EngineOptions,
    facts: ModelFacts,
    shape: ParkShape | None,
    paths: Sequence[Path],
    headers: Sequence[GgufHeader],
    *,
    library: str,
) -> SessionFolder | None:
    """Open the folder of this model's sessions; None where none are saved, and the log says why."""
    settings = options.engine
    if settings.session_dir is None:
        return None
    if shape is None:
        log.warning("sessions are not saved: %s", _why_none_is_parked(facts, settings))
        return None
    root = Path(settings.session_dir).expanduser().absolute()
    try:
        folder = SessionFolder(
            root,
            model=Path(options.path).absolute(),
            about=about(facts, shape, fingerprint(paths, headers), library),
            most_bytes=settings.session_bytes,
        )
    except OSError as error:
        log.warning("sessions are not saved path=%s reason=%s", root, error)
        return None
    log.info("sessions are saved path=%s found=%d", folder.path, len(folder.found))
    return folder


def _why_none_is_parked(facts: ModelFacts, settings: EngineSettings) -> str:
    """Why no sequence can be copied to host memory, from where it would be saved."""
    if settings.park_bytes == 0:
        return "park_bytes is 0, and they are parked before they are saved"
    if 0 < facts.window_tokens <= facts.n_cells <= facts.window_cells:
        return "sequences are not parked while windows have cells for the whole pool (swa_full)"
    return "there is no memory to park them in first, or this model's cells cannot be put back"
