"""Defines the seam between an engine and the backend that computes for it.

An engine loads a model, plans steps, samples and reports in the same way for every backend. All
that it asks of a backend is here: a `Backend` opens a file, and an `OpenModel` hands out the parts.

    Backend.open(options) -> OpenModel
        .tokens      TokenTable: text to ids and back
        .runner()    StepRunner: carries out the plans
        .slabs()     SlabStore: cells of sequences in host memory
        .states()    StateStore: checkpoints of their states
        .adapters    AdapterShelf: LoRA adapters in memory
        .embedder()  EmbedRunner: texts to vectors
        .draft       OpenDraft: a small model that guesses its next tokens
        .abort       AbortSwitch: ends a running step early

`BACKENDS` names the module of each; `wiring` imports the one that `backend` names. llama.cpp's
codes and types stay in its own modules. A second backend, in numpy alone, is in `umad.testing`: it
proves the seam, and runs the whole stack without a model file.

Threads: any thread may ask a `TokenTable` or an `AbortSwitch`; everything else is the step
thread's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from umad.engine.adapters.adapter_set import AdapterShelf
from umad.engine.board.watch import BoardWatch
from umad.engine.company import Company
from umad.engine.drafts.drafter import OpenDraft
from umad.engine.embedding.facts import EmbedFacts
from umad.engine.embedding.work import Embedded
from umad.engine.execution import StepRunner
from umad.engine.facts import ModelFacts, SharesAt
from umad.engine.launch import EngineOptions
from umad.engine.media.desk import MediaDesk
from umad.engine.media.encoding import MediaEncoder
from umad.engine.sessions.disk import SessionDisk
from umad.engine.sessions.folder import SessionFolder
from umad.engine.slabs import SlabStore, StateStore
from umad.engine.steps.cost_file import CostFile
from umad.engine.steps.cutter import Cutter
from umad.engine.tokens import TokenTable
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Beginnings
from umad.step import EmbedSlice

# The module of each backend. Each module has one public name, `BACKEND`.
BACKENDS: Mapping[str, str] = {
    "llamacpp": "umad.engine.llamacpp.backend",
    "numpy": "umad.testing.numpy_backend",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The abilities of a backend with the model it has opened."""

    # A sequence may share the beginning of another sequence's cells.
    can_share_prefix: bool
    # Where: up to any token, or only where the state of the layers that keep one is at hand.
    shares_at: SharesAt
    # Cells can be copied to host memory and back.
    can_park: bool
    # The share of a running background step that an arrival waits for: 0 where it is ended at once,
    # 1 where it runs to its end.
    cut_share: float
    # Milliseconds to save a state before a step, so that the step may be cut; None where such steps
    # are never cut. It counts only where a cut spoils states.
    cut_save_ms: float | None
    # A step whose rows do not fill a tile of 64 may cost more than a step whose rows do.
    has_tiles: bool
    # Milliseconds that a row takes to pass over one cell which is not its own.
    skip_ms: float
    # Memory that devices have beside the machine's own, in bytes.
    device_bytes: int
    # How often the library copies a row of logits until it lies where it can be read: once from
    # where it was computed, and once more where that goes by way of other memory.
    row_copies: int = 0


class AbortSwitch(Protocol):
    """Ends running steps early. Any thread."""

    def set(self) -> None:
        """Make a running step return within milliseconds."""
        ...

    def clear(self) -> None:
        """Let steps run again."""
        ...


class EmbedRunner(Protocol):
    """Computes embedding slices, and keeps what it has of texts that are begun."""

    def forget(self, call: int) -> None:
        """Drop a request: no more of its slices will come."""
        ...

    def run(self, work: EmbedSlice, *, cuttable: bool) -> Embedded:
        """Compute one slice. Raises `EngineFailed` where the backend cannot go on."""
        ...

    def rest(self, now_ns: int) -> bool:
        """Give memory back that was not used for a while; called only while there is no work.
        Returns whether any was given back.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class OpenModel(Protocol):
    """A model that is ready to serve. Read-only but for `cost`, which learns."""

    facts: ModelFacts
    tokens: TokenTable
    embeds: EmbedFacts
    # The costs of steps as far as they are known, and the file that remembers them.
    cost: CostModel
    cost_file: CostFile | None
    # Slabs in host memory; None where nothing can be parked.
    parking: ParkShape | None
    # Saved conversations; None where none are saved.
    sessions: SessionFolder | None
    # Tells which prefixes are whole in a model with sliding windows; None where all are.
    beginnings: Beginnings | None
    # The LoRA adapters that requests use; None where none are served.
    adapters: AdapterShelf | None
    # What makes rows of images and sounds; None for a model of texts.
    media: MediaEncoder | None
    # What guesses its next tokens; None without a draft model.
    draft: OpenDraft | None
    # The most tokens of one step.
    batch_tokens: int
    abort: AbortSwitch

    @property
    def capabilities(self) -> Capabilities:
        """The abilities that the scheduler may rely on."""
        ...

    def slabs(self) -> SlabStore | None:
        """The store of parked cells; None where nothing can be parked."""
        ...

    def states(self) -> StateStore | None:
        """The store of checkpoints; None where none can be saved."""
        ...

    def runner(
        self,
        *,
        cutter: Cutter,
        now_ns: Callable[[], int],
        watch: BoardWatch | None = None,
        slabs: SlabStore | None = None,
        states: StateStore | None = None,
        disk: SessionDisk | None = None,
        media: MediaDesk | None = None,
    ) -> StepRunner:
        """Make the part that carries plans out. watch: cuts background steps for other engines'
        work; without it, no step is cut. media: has the rows of media.
        """
        ...

    def embedder(
        self, *, cutter: Cutter, now_ns: Callable[[], int], watch: BoardWatch
    ) -> EmbedRunner:
        """Make the part that computes embeddings."""
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
        self,
        options: EngineOptions,
        *,
        now_ns: Callable[[], int],
        costs_folder: Path | None,
        company: Company | None = None,
    ) -> OpenModel:
        """Open `options.path`. company: the engines beside this one. Raises `ModelLoadFailed` or
        `ModelTooLarge`, each in one line.
        """
        ...
