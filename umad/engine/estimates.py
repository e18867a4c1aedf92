"""Asks for the memory of a model: `umad estimate`, the verb and HTTP's `/estimate`.

Importable without llama.cpp, which is asked in a process of its own
(`umad.engine.llamacpp.estimating`). That takes half a second, nearly all of it Python's imports.
"""

from pathlib import Path

from umad.engine.errand import Errand
from umad.engine.launch import EngineOptions
from umad.estimate import MemoryEstimate

_MODULE = "umad.engine.llamacpp.estimating"
# A header of 100 MB on a busy machine takes some seconds.
ESTIMATE_S = 120.0


class Estimating:
    """One estimate that is being made. `kill` may be called from any thread."""

    def __init__(self, options: EngineOptions, *, projector: Path | None = None) -> None:
        question = {
            "options": options.to_json(),
            "projector": None if projector is None else str(projector),
        }
        self._errand = Errand(_MODULE, question)

    def wait(self) -> MemoryEstimate:
        """The estimate. Raises `ModelLoadFailed` for a file that cannot be opened."""
        return MemoryEstimate.from_map(self._errand.answer(timeout_s=ESTIMATE_S))

    def kill(self) -> None:
        """Give it up."""
        self._errand.kill()
