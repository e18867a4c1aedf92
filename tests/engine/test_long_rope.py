"""No spare cell changes what a model computes: Phi-3's factors depend on the context's size.

kv_type q8: how the engine slices a prompt depends on what steps have cost, and with q8 it changes
no bit (see bench/determinism.py).
"""

from pathlib import Path

import numpy as np
import pytest

from tests.engine.harness import engine
from tests.engine.nano_context import new_context, step
from tests.engine.test_embedding import vectors
from tests.engine.tiny_models import N_VOCAB, ORIGINAL, write_long_rope
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions, padded
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.settling import SPARE_CELLS, spare_cells
from umad.models.gguf import read_header

N_TOKENS = 12
PROMPT = np.random.default_rng(3).integers(3, N_VOCAB, 90).astype(np.int32)


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long_rope(tmp_path_factory.mktemp("phi") / "phi.gguf")


def bare_tokens(path: Path, n_ctx: int) -> list[int]:
    """Greedy, of llama.cpp with a context of this size."""
    llama.start()
    model = llama.Model(str(path), gpu_layers=0)
    q8 = KV_TYPES["q8"].number
    context = llama.Context(
        model,
        ContextOptions(
            n_cells=n_ctx,
            max_seqs=1,
            batch=512,
            ubatch=512,
            threads=1,
            type_k=q8,
            type_v=q8,
            flash_attention=True,
        ),
    )
    ends = sorted(model.eog_tokens())
    tokens: list[int] = []
    pending, at = PROMPT, 0
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


@pytest.mark.parametrize("ctx_size", [ORIGINAL, ORIGINAL - 100, ORIGINAL - 256, ORIGINAL + 1])
def test_a_context_of_the_original_size_or_near_it_decodes_what_llama_cpp_decodes(
    phi: Path, ctx_size: int
) -> None:
    with engine(phi, ctx_size=ctx_size, kv_type="q8") as running:
        facts = running.ready()
        done = running.generate(
            1, prompt_ids=tuple(PROMPT.tolist()), max_tokens=N_TOKENS, ignore_eos=True
        )

    assert done.ids == bare_tokens(phi, ctx_size)
    assert facts["n_cells"] >= ctx_size


def test_such_a_model_decodes_other_tokens_in_a_longer_context(phi: Path) -> None:
    assert bare_tokens(phi, ORIGINAL) != bare_tokens(phi, ORIGINAL + 256)


@pytest.mark.parametrize(
    ("ctx_size", "spare"),
    [
        (ORIGINAL - 256, SPARE_CELLS),  # both below the switch
        (ORIGINAL - 255, 0),
        (ORIGINAL, 0),
        (ORIGINAL + 1, SPARE_CELLS),  # both above it
    ],
)
def test_spare_cells_are_had_where_they_change_nothing(
    phi: Path, ctx_size: int, spare: int
) -> None:
    assert spare_cells(ctx_size, read_header(phi)) == spare


def test_models_without_long_factors_always_have_them(nano_path: Path) -> None:
    header = read_header(nano_path)

    assert spare_cells(int(str(header.own("context_length"))), header) == SPARE_CELLS


def test_llama_cpp_pads_contexts_as_is_reckoned(nano_path: Path) -> None:
    llama.start()
    model = llama.Model(str(nano_path), gpu_layers=0)

    for n_cells in (256, 257, 1000, 1024):
        context = new_context(model, n_cells=n_cells)
        assert context.n_cells == padded(n_cells)
        context.close()
    model.close()


def test_a_texts_vector_is_the_same_after_a_text_beyond_the_original_size(phi: Path) -> None:
    short = tuple(PROMPT[:20].tolist())
    long = tuple((3 + np.arange(ORIGINAL + 200) % (N_VOCAB - 3)).tolist())

    with engine(phi, ctx_size=2 * ORIGINAL, kv_type="q8") as running:
        running.ready()
        before = vectors(running, short)
        vectors(running, long)
        after = vectors(running, short)

    assert np.allclose(before, after, atol=1e-4)
