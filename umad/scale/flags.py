"""Writes the engine's command line for a plan. Pure.

Flags are those of the pinned versions: vLLM 0.33.0 (`vllm serve`, `vllm/engine/arg_utils.py`) and
SGLang 0.5.23 (`python -m sglang.launch_server`, `srt/arg_groups/fields/`). No key stands in it,
because command lines are shown and logged.
"""

import json

from umad.scale.accelerators import Machines
from umad.scale.choice import Candidate, Wish
from umad.scale.draft import Draft
from umad.scale.quantizations import NONE
from umad.scale.shape import ModelShape


def command(
    shape: ModelShape,
    chosen: Candidate,
    wish: Wish,
    machines: Machines,
    *,
    draft: Draft | None = None,
) -> tuple[str, ...]:
    """The words of the command line."""
    if wish.engine == "vllm":
        words = _vllm(shape, chosen, wish, machines, draft)
    else:
        words = _sglang(shape, chosen, wish, machines, draft)
    return tuple(words)


def _vllm(
    shape: ModelShape, chosen: Candidate, wish: Wish, machines: Machines, draft: Draft | None
) -> list[str]:
    split, found = chosen.split, chosen.memory
    words = ["vllm", "serve", shape.name, "--tensor-parallel-size", str(split.tp)]
    for flag, degree in (
        ("--pipeline-parallel-size", split.pp),
        ("--data-parallel-size", split.dp),
    ):
        if degree > 1:
            words += [flag, str(degree)]
    if split.ep > 1:
        words.append("--enable-expert-parallel")
    if split.pp > 1 and machines.nodes > 1:
        words += ["--nnodes", str(machines.nodes)]
    words += ["--max-model-len", str(found.context_tokens)]
    words += ["--gpu-memory-utilization", f"{found.share:g}"]
    words += _common(wish, machines, kv="--kv-cache-dtype", kv_value="fp8")
    if draft is not None:
        spec = {
            "method": draft.method,
            "model": draft.shape.name,
            "num_speculative_tokens": draft.n_tokens,
        }
        words += ["--speculative-config", json.dumps(spec, separators=(",", ":"))]
    return words


def _sglang(
    shape: ModelShape, chosen: Candidate, wish: Wish, machines: Machines, draft: Draft | None
) -> list[str]:
    split, found = chosen.split, chosen.memory
    words = ["python", "-m", "sglang.launch_server", "--model-path", shape.name]
    words += ["--tp-size", str(split.tp)]
    for flag, degree in (
        ("--pp-size", split.pp),
        ("--dp-size", split.dp),
        ("--ep-size", split.ep),
    ):
        if degree > 1:
            words += [flag, str(degree)]
    if split.pp > 1 and machines.nodes > 1:
        words += ["--nnodes", str(machines.nodes)]
    words += ["--context-length", str(found.context_tokens)]
    words += ["--mem-fraction-static", f"{found.share:g}"]
    words += _common(wish, machines, kv="--kv-cache-dtype", kv_value="fp8_e4m3")
    if wish.quantization == "bitsandbytes" and shape.quantization is None:
        words += ["--load-format", "bitsandbytes"]
    if draft is not None:
        algorithm = {"eagle3": "EAGLE3", "eagle": "EAGLE", "draft_model": "STANDALONE"}
        words += ["--speculative-algorithm", algorithm[draft.method]]
        words += ["--speculative-draft-model-path", draft.shape.name]
        # One chain of drafts: its first token is the model's own.
        words += ["--speculative-num-steps", str(draft.n_tokens), "--speculative-eagle-topk", "1"]
        words += ["--speculative-num-draft-tokens", str(draft.n_tokens + 1)]
    return words


def _common(wish: Wish, machines: Machines, *, kv: str, kv_value: str) -> list[str]:
    words = []
    if wish.quantization not in NONE:
        words += ["--quantization", wish.quantization]
    if wish.kv_dtype == "fp8":
        words += [kv, kv_value]
    if not machines.accelerator.has_bf16:
        words += ["--dtype", "half"]
    return words
