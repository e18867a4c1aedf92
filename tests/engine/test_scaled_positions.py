"""RoPE and YaRN options reach llama.cpp, and everything that hangs on them.

kv_type q8: how the engine slices a prompt depends on what steps have cost, and with q8 it changes
no bit (see bench/determinism.py).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.engine.harness import engine
from tests.engine.nano_context import TOKENS, step
from tests.engine.tiny_models import write_gpt2
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.models.rope import Rope

N_TOKENS = 12
YARN = Rope(scaling="yarn", freq_scale=0.25, yarn_orig_ctx=1024, yarn_beta_fast=16.0)
OPTIONS: dict[str, Any] = {
    "rope_scaling": "yarn",
    "rope_scale": 4.0,
    "yarn_orig_ctx": 1024,
    "yarn_beta_fast": 16.0,
}
Q8 = KV_TYPES["q8"].number
SHAPE = ContextOptions(
    n_cells=2048,
    max_seqs=1,
    batch=512,
    ubatch=512,
    threads=1,
    type_k=Q8,
    type_v=Q8,
    flash_attention=True,
)


def bare_tokens(path: Path, rope: Rope) -> list[int]:
    """Greedy, of llama.cpp with these positions."""
    llama.start()
    model = llama.Model(str(path), gpu_layers=0)
    context = llama.Context(model, replace(SHAPE, rope=rope))
    ends = sorted(model.eog_tokens())
    tokens: list[int] = []
    pending, at = TOKENS, 0
    for _ in range(N_TOKENS):
        code, rows = step(context, (0, at, pending, True))
        assert code == 0
        rows[0][ends] = -np.inf
        at += pending.size
        pending = rows[0].argmax(keepdims=True).astype(np.int32)
        tokens.append(int(pending[0]))
    context.close()
    model.close()
    return tokens


def test_scaled_positions_answer_as_llama_cpp_does_with_them(nano_path: Path) -> None:
    shape = {"ctx_size": 2048, "batch": 512, "ubatch": 512, "kv_type": "q8"}
    with engine(nano_path, **shape, **OPTIONS) as running:
        facts = running.ready()
        done = running.generate(
            1, prompt_ids=tuple(TOKENS.tolist()), max_tokens=N_TOKENS, ignore_eos=True
        )

    assert done.ids == bare_tokens(nano_path, YARN)
    assert done.ids != bare_tokens(nano_path, Rope())
    assert facts["rope"] == YARN.words()


def test_a_stretched_model_reads_longer_texts(nano_path: Path) -> None:
    with engine(nano_path, ctx_size=8192, rope_scale=2.0) as running:
        facts = running.ready()

    assert facts["text_tokens"] == 8192


def test_a_model_without_rotated_positions_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_gpt2(tmp_path / "gpt2.gguf")
    with engine(path, rope_scale=2.0) as running:
        fatal = running.fatal()

    assert "rope_scale is for models whose positions are rotated" in fatal.message
    assert "\n" not in fatal.message
