"""What is estimated for models of every kind of memory, beside what llama.cpp then holds.

The oracle is llama.cpp's own account of a context that was really made (`held`).
"""

from pathlib import Path
from typing import Any

import pytest

from tests.engine.breakdown import IS_KNOWN
from tests.engine.held import held_bytes, options_of, told_bytes
from tests.engine.shape_files import write_shape
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.estimating import estimate

WORST = 0.02
# The kind of memory, the shape, and what it differs in.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "dense": ("llama-dense", {}),
    "grouped heads": ("qwen3-dense", {"attention__head_count_kv": 1}),
    "one head for all": ("falcon-dense", {"attention__head_count_kv": 1}),
    "learnt positions": ("gpt2-dense", {}),
    "latent attention": ("deepseek2-moe", {}),
    "latent attention with an index": ("deepseek32-moe", {}),
    "experts": ("qwen3moe-moe", {}),
    "windows": ("gemma3-dense", {}),
    "windows and experts": ("gpt-oss-moe", {}),
    "layers that share cells": ("gemma4-shared", {}),
    "hybrid, delta net": ("qwen35-dense", {}),
    "hybrid, Mamba 2": ("granitehybrid-dense", {}),
    "hybrid in each layer": ("falcon-h1-dense", {}),
    "hybrid, short convolutions": ("lfm2-dense", {}),
    "hybrid, latent attention": ("kimi-linear-moe", {}),
    "hybrid, more for one sequence than for several": ("minimax-01-moe", {}),
    "states alone": ("mamba2-dense", {}),
    "states alone, RWKV": ("rwkv7-dense", {}),
    "cells of each sequence": ("deepseek4-moe", {}),
}


@pytest.fixture(autouse=True, scope="module")
def _started() -> None:
    llama.start()


@pytest.mark.skipif(not IS_KNOWN, reason="this llama.cpp's account cannot be read here")
@pytest.mark.parametrize("kind", SHAPES)
def test_an_estimate_is_what_a_load_then_holds(tmp_path: Path, kind: str) -> None:
    name, more = SHAPES[kind]
    options = options_of(write_shape(tmp_path / "model.gguf", name, **more))

    told = told_bytes(estimate(options, ()))

    held = held_bytes(options)
    assert sum(told) == pytest.approx(sum(held), rel=WORST)
    for one, other in zip(told, held, strict=True):
        assert one == pytest.approx(other, rel=WORST, abs=0.02 * 2**20)


def test_there_are_at_least_twelve_shapes() -> None:
    assert len({name for name, _ in SHAPES.values()}) >= 12


@pytest.mark.skipif(not IS_KNOWN, reason="this llama.cpp's account cannot be read here")
@pytest.mark.parametrize(
    "settings",
    [
        {"kv_type": "q8"},
        {"ctx_size": 65_536, "max_seqs": 1},
        {"swa_full": "on"},
        {"max_seqs": 30},
        {"batch": 256, "ubatch": 64},
    ],
    ids=lambda one: " ".join(f"{key}={value}" for key, value in one.items()),
)
def test_options_change_the_estimate_as_they_change_the_load(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    options = options_of(write_shape(tmp_path / "model.gguf", "gemma3-dense"), **settings)

    told = told_bytes(estimate(options, ()))

    assert sum(told) == pytest.approx(sum(held_bytes(options)), rel=WORST)
