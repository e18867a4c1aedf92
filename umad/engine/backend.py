"""The seam between an engine and what computes for it.

An engine loads a model, plans steps, samples and reports in the same way whatever computes. All it
asks of that is here: a `Backend` opens a file, and an `OpenModel` hands out the parts.

    Backend.open(options) -> OpenModel
        .tokens      TokenTable: text to ids and back
        .runner()    StepRunner: carries out the plans
        .slabs()     SlabStore: cells of sequences in host memory
        .embedder()  EmbedRunner: texts to vectors
        .abort       AbortSwitch: ends a running step early

`BACKENDS` names the module of each; `wiring` imports the one that `backend` names. llama.cpp's
codes and types stay in its own modules. A second backend, in numpy alone, is in `umad.testing`: it
proves the seam, and runs the whole stack without a model file.

Threads: a `TokenTable` may be asked by any thread, an `AbortSwitch` too; everything else is the
step thread's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from umad.engine.board.watch import BoardWatch
from umad.engine.embedding.facts import EmbedFacts
from umad.engine.embedding.work import Embedded, Wanted
from umad.engine.execution import StepRunner
from umad.engine.facts import ModelFacts
from umad.engine.launch import EngineOptions
from umad.engine.sessions.disk import SessionDisk
from umad.engine.sessions.folder import SessionFolder
from umad.engine.slabs import SlabStore
from umad.engine.steps.cost_file import CostFile
from umad.engine.steps.cutter import Cutter
from umad.engine.tokens import TokenTable
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Beginnings
from umad.step import EmbedSlice

# The module of each backend; it has one name, `BACKEND`.
BACKENDS: Mapping[str, str] = {
    "llamacpp": "umad.engine.llamacpp.backend",
    "numpy": "umad.testing.numpy_backend",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The abilities of a backend with the model it has opened."""

    # A sequence may take over the beginning of another one's cells.
    can_share_prefix: bool
    # Cells can be copied to host memory and back.
    can_park: bool
    # An arrival ends a running background step within milliseconds.
    cuts_soon: bool
    # A step whose rows do not fill a tile of 64 may cost more than one that does.
    has_tiles: bool
    # Milliseconds in which a row passes over a cell that is not its own.
    skip_ms: float
    # Memory of the devices beside the machine's own, in bytes.
    device_bytes: int


class AbortSwitch(Protocol):
    """Ends running steps early. Any thread."""

    def set(self) -> None:
        """Make a running step return within milliseconds."""
        ...

    def clear(self) -> None:
        """Let steps run again."""
        ...


class EmbedRunner(Protocol):
    """Computes embedding slices and keeps the vectors that are not whole yet."""

    def expect(self, wanted: Wanted) -> None:
        """Slices of this request will come."""
        ...

    def forget(self, call: int) -> None:
        """None of it will come any more."""
        ...

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        """One slice. Raises `EngineFailed` where there is no way on."""
        ...

    def rest(self, now_ns: int) -> bool:
        """Give memory back that was not used for a while; whether that was done."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class OpenModel(Protocol):
    """A model that is ready to serve. Read-only but for `cost`, which learns."""

    facts: ModelFacts
    tokens: TokenTable
    embeds: EmbedFacts
    # Costs of steps as far as they are known, and where they are remembered.
    cost: CostModel
    cost_file: CostFile | None
    # Slabs in host memory; None where nothing can be parked.
    parking: ParkShape | None
    # Saved conversations; None where none are saved.
    sessions: SessionFolder | None
    # Which prefixes are whole, of a model with sliding windows; None where all are.
    beginnings: Beginnings | None
    # Most tokens of one step.
    batch_tokens: int
    abort: AbortSwitch

    @property
    def capabilities(self) -> Capabilities:
        """What the scheduler may count on."""
        ...

    def slabs(self) -> SlabStore | None:
        """The store of parked cells; None where nothing can be parked."""
        ...

    def runner(
        self,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
        slabs: SlabStore | None = None,
        disk: SessionDisk | None = None,
    ) -> StepRunner:
        """Carries plans out. watch: cuts background steps for other engines' work. Without it,
        nothing is cut."""
        ...

    def embedder(
        self, *, cutter: Cutter, now_ns: Callable[[], int], watch: BoardWatch
    ) -> EmbedRunner:
        """Computes embeddings."""
        ...

    def clear(self) -> None:
        """Empty the pool of cells."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class Backend(Protocol):
    """Opens models."""

    def open(
        self, options: EngineOptions, *, now_ns: Callable[[], int], costs_folder: Path | None
    ) -> OpenModel:
        """Open `options.path`. Raises `ModelLoadFailed` or `ModelTooLarge`, each in one line."""
        ...
