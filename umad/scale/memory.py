"""Reckons the memory of the fullest accelerator of a split, part by part. Pure.

    vLLM      share x memory = weights + draft + workspace + cells
    SGLang    share x memory = weights + draft + runtime + cells; a step works in what is left

The engines give all that is left of their share to cells. A plan fits if one text of the context
has room there: vLLM refuses to start otherwise (`_check_enough_kv_cache_memory` of
`vllm/v1/core/kv_cache_planning.py`), and SGLang would end such a text early.
"""

import math
from dataclasses import dataclass

from umad.scale.accelerators import Machines
from umad.scale.cells import Cells, cells_of
from umad.scale.draft import Draft, draft_bytes
from umad.scale.engines import (
    SGLANG_SHARE,
    SGLANG_STATE_RATIO,
    VLLM_SHARE,
    EngineName,
    StepSize,
    step_size,
)
from umad.scale.shape import ModelShape
from umad.scale.split import Split, stages
from umad.scale.weights import Precision, stage_bytes
from umad.scale.workspace import Workspace, workspace

# Of memory that the machine's other programs live in, too.
UNIFIED_SHARE = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What accelerators are to hold, whichever way it is split."""

    shape: ModelShape
    engine: EngineName
    precision: Precision
    # Of a value of the KV cache.
    kv_bytes: int = 2
    draft: Draft | None = None
    # The part of the memory that the engine may take; 0 for umad's choice.
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The memory of the accelerator with the least room for cells."""

    total_bytes: int
    share: float
    weights_bytes: int
    draft_bytes: int
    workspace: Workspace
    # Left for cells; below 0 where the rest is too much already.
    room_bytes: int
    cells: Cells
    context_tokens: int
    # The pipeline stage that this is, from 1.
    stage: int = 1

    @property
    def text_bytes(self) -> int:
        """What one text of the context takes."""
        return self.cells.text_bytes(self.context_tokens)

    @property
    def fits(self) -> bool:
        """Whether one text of the context has room."""
        return self.room_bytes > 0 and self._text_fits(self.context_tokens)

    @property
    def texts(self) -> float:
        """Texts of the context that have room at once."""
        if self.room_bytes <= 0:
            return 0.0
        room, states = self._rooms()
        tokens_bytes = self.text_bytes - (self.cells.states_bytes if states else 0)
        of_tokens = room / tokens_bytes if tokens_bytes else math.inf
        of_states = states / self.cells.states_bytes if states else math.inf
        return min(of_tokens, of_states) if min(of_tokens, of_states) < math.inf else 0.0

    @property
    def tokens(self) -> int:
        """Tokens of all texts that have room at once, as the engines count them."""
        return int(self.texts * self.context_tokens)

    def _text_fits(self, tokens: int) -> bool:
        room, states = self._rooms()
        if states:
            needed = self.cells.text_bytes(tokens) - self.cells.states_bytes
            return needed <= room and self.cells.states_bytes <= states
        return self.cells.text_bytes(tokens) <= room

    def _rooms(self) -> tuple[int, int]:
        """Room for tokens, and room that is for states alone: SGLang gives them a share."""
        if self.cells.engine == "vllm" or not self.cells.states_bytes:
            return self.room_bytes, 0
        if not self.cells.kinds:
            return self.room_bytes, self.room_bytes
        for_tokens = round(self.room_bytes / (1 + SGLANG_STATE_RATIO))
        return for_tokens, self.room_bytes - for_tokens


def memory(load: Load, split: Split, machines: Machines, *, context_tokens: int) -> Memory:
    """The memory of the stage with the least room."""
    step = step_size(load.engine, machines.accelerator, tp=split.tp, pp=split.pp)
    space = workspace(load.shape, split, step, context_tokens=context_tokens)
    weights = stage_bytes(load.shape, split, load.precision)
    drafted = draft_bytes(load.draft, split) if load.draft is not None else 0
    found = [
        _stage(load, split, machines, step, space, weights[number], drafted, number, context_tokens)
        for number in range(split.pp)
    ]
    return min(found, key=lambda one: (one.texts, one.room_bytes))


def _stage(
    load: Load,
    split: Split,
    machines: Machines,
    step: StepSize,
    space: Workspace,
    weights_bytes: int,
    drafted_bytes: int,
    number: int,
    context_tokens: int,
) -> Memory:
    # A draft is on the last stage.
    own_draft = load.draft if number == split.pp - 1 else None
    drafted_bytes = drafted_bytes if own_draft is not None else 0
    total = machines.accelerator.memory_bytes
    share = load.share or _share(load.engine, machines, space)
    held = weights_bytes + drafted_bytes + space.runtime_bytes
    if load.engine == "vllm":
        room = math.floor(share * total) - held - space.step_bytes
    else:
        room = min(math.floor(share * total), total - space.step_bytes) - held
    cells = cells_of(
        stages(load.shape.layers, split)[number],
        engine=load.engine,
        tp=split.tp,
        kv_bytes=load.kv_bytes,
        value_bytes=load.shape.value_bytes,
        step=step,
        extra=own_draft.shape.layers if own_draft is not None else (),
    )
    return Memory(
        total_bytes=total,
        share=share,
        weights_bytes=weights_bytes,
        draft_bytes=drafted_bytes,
        workspace=space,
        room_bytes=room,
        cells=cells,
        context_tokens=context_tokens,
        stage=number + 1,
    )


def _share(engine: EngineName, machines: Machines, space: Workspace) -> float:
    """The share that umad gives the engine: as much as leaves a step its room."""
    most = VLLM_SHARE if engine == "vllm" else SGLANG_SHARE
    if machines.accelerator.is_unified:
        most = min(most, UNIFIED_SHARE)
    if engine == "vllm":
        return most
    left = 1 - space.step_bytes / machines.accelerator.memory_bytes
    return max(0.1, min(most, math.floor(left * 100) / 100))
