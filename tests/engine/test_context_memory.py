"""What a context takes, for models of every kind, beside figures worked out by hand."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.header_model import header_model
from tests.engine.real_models import REAL_MODELS, RealModel
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import (
    ContextMemory,
    asked_of_file,
    context_memory,
    read_log,
)
from umad.engine.llamacpp.context_options import ContextOptions
from umad.models.gguf import GgufHeader, read_header

F16, Q8_0 = 1, 8
OPTIONS = ContextOptions(
    n_cells=8192,
    max_seqs=65,
    batch=512,
    ubatch=512,
    threads=1,
    type_k=F16,
    type_v=F16,
    flash_attention=True,
)


@pytest.fixture(autouse=True, scope="module")
def _started() -> None:
    llama.start()


def memory_of(folder: Path, real: RealModel, options: ContextOptions = OPTIONS) -> ContextMemory:
    model = header_model(folder, real.architecture, real.own)
    try:
        memory = context_memory(model, options)
    finally:
        model.close()
    assert memory is not None
    return memory


def memory_of_file(path: Path, headers: tuple[GgufHeader, ...]) -> tuple[ContextMemory, bool]:
    """What a context takes, and whether its sequences have states."""
    return asked_of_file(
        path, headers, lambda file: (file.memory(OPTIONS), file.keeps_states), gpu_layers=0
    )


def named(name: str) -> RealModel:
    return next(real for real in REAL_MODELS if real.name == name)


@pytest.mark.parametrize("real", REAL_MODELS, ids=lambda real: real.name)
def test_a_text_costs_what_the_makers_figures_come_to(tmp_path: Path, real: RealModel) -> None:
    memory = memory_of(tmp_path, real)

    assert memory.cell_bytes == real.cell_bytes
    assert memory.window_cell_bytes == real.window_cell_bytes
    assert memory.state_bytes == pytest.approx(real.state_bytes, rel=0.01)
    assert memory.pool_bytes == pytest.approx(8192 * real.cell_bytes, rel=0.001)
    assert memory.seq_bytes == memory.state_bytes


def test_states_of_64_streams_can_be_larger_than_all_their_cells(tmp_path: Path) -> None:
    memory = memory_of(tmp_path, named("Qwen3.5-27B"))

    assert memory.kept_bytes(65) - memory.kept_bytes(0) == pytest.approx(10.2e9, rel=0.01)
    assert memory.kept_bytes(0) == pytest.approx(0.54e9, rel=0.01)


def test_cells_shrink_with_their_type_and_states_do_not(tmp_path: Path) -> None:
    real = named("Qwen3.5-27B")

    memory = memory_of(tmp_path, real, replace(OPTIONS, type_k=Q8_0, type_v=Q8_0))

    assert memory.cell_bytes == real.cell_bytes * 34 // 64
    assert memory.state_bytes == pytest.approx(real.state_bytes, rel=0.01)


def test_a_context_too_large_to_be_tried_is_reckoned_from_a_smaller_one(tmp_path: Path) -> None:
    real = named("Llama 3.1 8B")

    memory = memory_of(tmp_path, real, replace(OPTIONS, n_cells=2**24))

    assert memory.pool_bytes == pytest.approx(2**24 * real.cell_bytes, rel=0.001)


def test_streams_whose_cells_are_their_own_count_for_each() -> None:
    # DeepSeek V4: each sequence has a cache of its own size, and a state beside it.
    lines = [
        "llama_kv_cache_iswa: creating non-SWA KV cache, size = 1024 cells",
        "llama_kv_cache: size =    2.00 MiB (  1024 cells,   1 layers,  2/2 seqs), K (f16): …",
        "llama_kv_cache_iswa: creating     SWA KV cache, size = 1024 cells",
        "llama_kv_cache: size =    4.00 MiB (  1024 cells,   2 layers,  2/2 seqs), K (f16): …",
        (
            "llama_dsv4_comp_state: csa ratio = 4, state = 8 x 128, streams = 2, rs_seq = 0, "
            "layers = 1, size =    1.00 MiB"
        ),
        "sched_reserve:        CPU compute buffer size =    16.00 MiB",
    ]

    said = read_log(lines, n_cells=1024)

    assert said == ContextMemory(
        pool_bytes=0,
        seq_bytes=(1 + 2) * 2**20 + 2**19,
        state_bytes=2**19,
        cell_bytes=3 * 1024,
        has_windows=True,
        window_cell_bytes=2 * 1024,
        compute_bytes=16 * 2**20,
    )


def test_a_llama_cpp_with_other_words_is_noticed_and_cells_are_reckoned(
    tmp_path: Path,
    nano_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("umad.engine.llamacpp.context_memory.listening", lambda: nullcontext([]))
    headers = (read_header(nano_path),)

    memory, keeps_states = memory_of_file(nano_path, headers)

    monkeypatch.undo()
    asked, _ = memory_of_file(nano_path, headers)
    assert memory.pool_bytes == pytest.approx(asked.pool_bytes, rel=0.001)
    assert not keeps_states
    assert "does not say what a context takes" in caplog.text


def test_a_copy_without_a_vocabulary_says_what_the_whole_file_says(
    tmp_path: Path, nano_path: Path
) -> None:
    header = read_header(nano_path)
    n_bytes = header.needed_bytes - header.data_at

    with llama.without_vocabulary(nano_path, data_bytes=n_bytes) as copy:
        assert copy is not None
        assert copy.stat().st_blocks * 512 < 100_000  # zeros that no disk holds
        said = [asked(path) for path in (copy, nano_path)]

    assert said[0] == said[1]
    assert not copy.exists()


def asked(path: Path) -> ContextMemory | None:
    model = llama.Model(str(path), gpu_layers=0, weights=False)
    try:
        return context_memory(model, OPTIONS)
    finally:
        model.close()
