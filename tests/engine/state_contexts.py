"""Contexts of small random models that keep states, and sequences fed to them by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.memory_kinds import write
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.cut_state import CutState
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.llamacpp.host_memory import HostMemory
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.loading import states_of
from umad.engine.llamacpp.parked_cells import ParkedCells
from umad.engine.llamacpp.saved_states import OwnWindows, SavedStates
from umad.engine.llamacpp.state_trial import StateLayout
from umad.engine.steps.cutter import Cutter
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.memory.windows import Window
from umad.step import HouseKept, MemoryOp

N_CELLS, N_SEQS, BATCH = 2048, 6, 64
STREAMS = N_SEQS - 2
SCRATCH, EMPTY = STREAMS, STREAMS + 1
SLICE_CELLS = 32
CAPACITY_BYTES = 1 << 24

Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]


def tokens(n: int, *, seed: int = 1) -> Tokens:
    """Letters and bytes of the vocabulary, drawn at random."""
    return np.random.default_rng(seed).integers(3, 380, n).astype(np.int32)


@dataclass(slots=True)
class Stateful:
    """A context, and all that keeps house on it."""

    model: llama.Model
    context: llama.Context
    layout: StateLayout
    states: SavedStates
    parked: ParkedCells
    runner: DecodeRunner

    def keep(self, *operations: MemoryOp) -> HouseKept:
        return self.runner.keep_house(operations)

    def feed(self, seq: int, ids: Tokens, *, start: int = 0) -> Logits:
        """Decode in slices of `BATCH`; the logits of the last token."""
        for at in range(0, ids.size, BATCH):
            part = ids[at : at + BATCH]
            batch = llama.Batch(BATCH)
            batch.token[: part.size] = part
            batch.pos[: part.size] = np.arange(start + at, start + at + part.size)
            batch.seq[: part.size] = seq
            batch.wants_logits[part.size - 1] = 1
            batch.set_rows(part.size)
            code = self.context.decode(batch)
            assert code == 0, self.context.last_words()
        last: Logits = self.context.logits(1)[0].copy()
        return last


def options(**changes: Any) -> ContextOptions:
    f16 = KV_TYPES["f16"].number
    values: dict[str, Any] = {
        "n_cells": N_CELLS,
        "max_seqs": N_SEQS,
        "batch": BATCH,
        "ubatch": BATCH,
        "threads": 1,
        "type_k": f16,
        "type_v": f16,
        "flash_attention": True,
        "swa_full": False,
    }
    return ContextOptions(**(values | changes))


@contextmanager
def opened(
    folder: Path, kind: str, *, abort: AbortFlag | None = None, **changes: Any
) -> Iterator[Stateful]:
    """A context of a model of this kind, with small windows where it has any."""
    llama.start()
    path = folder / "model.gguf"
    model = llama.Model(str(path if path.exists() else write(path, kind)), gpu_layers=0)
    shape = options(**changes)
    context = llama.Context(model, shape, abort=abort)
    layout = states_of(model, context, shape)
    assert layout is not None
    memory = HostMemory(CAPACITY_BYTES)
    has_windows_alone = bool(model.sliding_window) and not model.is_recurrent
    states = SavedStates(
        context,
        layout,
        memory=memory,
        window=Window(n_tokens=model.sliding_window) if has_windows_alone else None,
        scratch=SCRATCH if has_windows_alone else None,
    )
    parked = ParkedCells(
        context,
        ParkShape(
            capacity_bytes=CAPACITY_BYTES,
            slice_cells=SLICE_CELLS,
            slab_bytes=SLICE_CELLS * layout.cell_bytes + layout.most_bytes + 4096,
            state_bytes=layout.most_bytes,
            has_cells=layout.has_cells,
        ),
        scratch=SCRATCH,
        empty=EMPTY if model.is_recurrent else None,
        memory=memory,
    )
    small = shape.has_small_windows(model.sliding_window)
    runner = DecodeRunner(
        context,
        capacity=BATCH,
        cutter=Cutter(abort=context.abort_flag.set, clear=context.abort_flag.clear),
        can_cut=True,
        before=CutState(context, layout) if model.is_recurrent else None,
        now_ns=iter(range(0, 10**12, 1000)).__next__,
        parked=parked,
        states=states,
        windows=OwnWindows(context, layout) if small else None,
        scratch=SCRATCH,
    )
    yield Stateful(model, context, layout, states, parked, runner)
    context.close()
    model.close()
