"""Defaults of the two engines that decide about memory, at the versions that are pinned. Pure.

Sources, all of the engines' own packages:

    vLLM 0.33.0     vllm/config/cache.py (gpu_memory_utilization 0.92), vllm/engine/arg_utils.py
                    (`get_batch_defaults`: tokens and sequences of a step, by memory and name),
                    vllm/config/vllm.py (`max_concurrent_batches`)
    SGLang 0.5.23   srt/arg_groups/memory_hook.py (`handle_gpu_memory_settings`: chunk and graphs,
                    by memory), srt/arg_groups/fields/schedule.py (swa_full_tokens_ratio 0.8,
                    mamba_full_memory_ratio 0.9)
"""

from dataclasses import dataclass
from typing import Literal

from umad.scale.accelerators import Accelerator

EngineName = Literal["vllm", "sglang"]
VERSIONS: dict[EngineName, str] = {"vllm": "0.33.0", "sglang": "0.5.23"}
TITLES: dict[EngineName, str] = {"vllm": "vLLM", "sglang": "SGLang"}

VLLM_SHARE = 0.92
# SGLang derives its share from the accelerator; umad gives it one that leaves room for a step. The
# seed of this tool gave 0.85; what a step takes decides below that.
SGLANG_SHARE = 0.90
BLOCK_TOKENS = 16
SGLANG_WINDOW_RATIO = 0.8
SGLANG_STATE_RATIO = 0.9
_GIB = 2**30
_MIB_OF_GIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize:
    """How much an engine computes at once, unless it is told otherwise."""

    # Tokens of one step: a long prompt is read in slices of so many.
    tokens: int
    # Sequences of one step.
    sequences: int
    # Steps that may be in flight at once.
    steps: int = 1


def step_size(engine: EngineName, accelerator: Accelerator, *, tp: int, pp: int) -> StepSize:
    """The engine's defaults on an accelerator."""
    if engine == "vllm":
        return _vllm_step(accelerator, pp)
    mib = accelerator.memory_bytes / 2**20
    is_wide = tp >= 4
    for below_gib, tokens, narrow, wide in (
        (20, 2048, 8, 8),
        (35, 4096, 48, 160),
        (60, 4096, 32, 160),
        (160, 8192, 256, 512),
    ):
        if mib < below_gib * _MIB_OF_GIB:
            return StepSize(tokens=tokens, sequences=wide if is_wide else narrow)
    return StepSize(tokens=16384, sequences=512)


def _vllm_step(accelerator: Accelerator, pp: int) -> StepSize:
    # Asynchronous scheduling is on by default: one step runs while the next is prepared.
    steps = pp + 1
    if accelerator.memory_bytes >= 160 * _GIB:
        return StepSize(tokens=16384, sequences=1024, steps=steps)
    is_small = accelerator.name.startswith("A100") or accelerator.capability == 121
    if accelerator.memory_bytes >= 70 * _GIB and not is_small:
        return StepSize(tokens=8192, sequences=1024, steps=steps)
    return StepSize(tokens=2048, sequences=256, steps=steps)
