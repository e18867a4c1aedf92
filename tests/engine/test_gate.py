"""The gate that ends a step between two layers, on the real library. It needs a C compiler, and
works on the CPU as on other devices: ggml's scheduler asks it, whatever computes. Here the CPU does
not look at the abort flag itself, as other devices do not."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.state_contexts import opened
from umad import nano
from umad.clock import MonotonicClock
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.abort_flag import AbortFlag
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.cuttable import ABORTED, decode_cuttable
from umad.engine.llamacpp.gate import Gate
from umad.engine.llamacpp.gate_file import gate_file
from umad.engine.llamacpp.gate_trial import try_gate
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.llamacpp.library import lib
from umad.models.files import whole_headers
from umad.step import PrefillSlice, StepPlan

N_ROWS, UBATCH = 96, 48
TOKENS = (3 + np.arange(2 * N_ROWS) ** 2 % 4000).astype(np.int32)
LONG_MS = 1e9


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    found = gate_file(os.environ | {"XDG_CACHE_HOME": str(cache)}, sys.platform)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def context(file: Path) -> Iterator[llama.Context]:
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    abort = AbortFlag()
    abort.add_gate(file, llama.libggml)
    f16 = KV_TYPES["f16"].number
    options = ContextOptions(
        n_cells=512,
        max_seqs=3,
        batch=128,
        ubatch=UBATCH,
        threads=1,
        type_k=f16,
        type_v=f16,
        flash_attention=True,
    )
    context = llama.Context(model, options, abort=abort)
    stop_looking(context)
    yield context
    context.close()
    model.close()


@pytest.fixture
def gate(context: llama.Context) -> Gate:
    context.clear()
    found = context.abort_flag.gate
    assert found is not None
    try_gate(context, found, token=0, now_ns=MonotonicClock().now_ns)
    return found


def stop_looking(context: llama.Context) -> None:
    """Only the gate looks at the flag from now on."""
    nothing = lib.ggml_abort_callback(0)
    lib.llama_set_abort_callback(context.handle, nothing, None)


def batch_of(seq: int = 0, *, start: int = 0) -> llama.Batch:
    batch = llama.Batch(128)
    batch.token[:N_ROWS] = TOKENS[start : start + N_ROWS]
    batch.pos[:N_ROWS] = np.arange(start, start + N_ROWS)
    batch.seq[:N_ROWS] = seq
    batch.wants_logits[N_ROWS - 1] = 1
    batch.set_rows(N_ROWS)
    return batch


def logits(context: llama.Context, step_ms: float) -> NDArray[np.float32]:
    assert decode_cuttable(context, batch_of(), step_ms) == 0
    found: NDArray[np.float32] = context.logits(1)[0].copy()
    return found


def test_the_trial_finds_the_layers_of_the_model(gate: Gate) -> None:
    (header,) = whole_headers(nano.path())

    assert gate.n_layers == header.own("block_count")
    assert gate.cut_share == 1 / gate.n_layers
    assert gate.look_ms >= 0


def test_a_step_that_is_looked_at_between_all_layers_gives_the_same_bits(
    context: llama.Context, gate: Gate
) -> None:
    plain = logits(context, 0.0)
    looks = gate.n_looks
    context.clear()
    looked_at = logits(context, LONG_MS)

    assert looks == 0
    n_ends = gate.n_layers * (N_ROWS // UBATCH)
    assert gate.n_ends == n_ends
    assert gate.n_looks == n_ends - 1, "none at the last layer's end"
    np.testing.assert_array_equal(looked_at, plain)


def test_a_cut_step_leaves_what_was_before_it_and_no_more(
    context: llama.Context, gate: Gate
) -> None:
    plain = logits(context, 0.0)
    whole = context.whole(0)

    context.abort_flag.set()
    code = decode_cuttable(context, batch_of(start=N_ROWS), LONG_MS)
    context.abort_flag.clear()

    assert code == ABORTED
    assert context.length(0) == N_ROWS
    assert context.whole(0) == whole, "the cells before it are as they were"
    assert decode_cuttable(context, batch_of(start=N_ROWS), 0.0) == 0
    again = context.logits(1)[0].copy()
    context.clear()
    np.testing.assert_array_equal(logits(context, 0.0), plain)
    assert context.decode(batch_of(start=N_ROWS)) == 0
    np.testing.assert_array_equal(context.logits(1)[0], again)


def test_a_cut_step_of_two_sequences_leaves_both_as_they_were(
    context: llama.Context, gate: Gate
) -> None:
    batch = batch_of()
    batch.seq[N_ROWS // 2 : N_ROWS] = 1
    batch.pos[N_ROWS // 2 : N_ROWS] -= N_ROWS // 2

    context.abort_flag.set()
    code = decode_cuttable(context, batch, LONG_MS)
    context.abort_flag.clear()

    assert code == ABORTED
    assert context.length(0) == context.length(1) == 0


@pytest.mark.parametrize("kind", ["hybrid", "delta net"])
def test_a_recurrent_state_is_put_back_after_a_cut(kind: str, file: Path, tmp_path: Path) -> None:
    abort = AbortFlag()
    gate = abort.add_gate(file, llama.libggml)
    begin, more = (TOKENS[:40] % 300).astype(np.int32), (TOKENS[40:80] % 300).astype(np.int32)
    with opened(tmp_path, kind, abort=abort) as pool:
        stop_looking(pool.context)
        try_gate(pool.context, gate, token=0, now_ns=MonotonicClock().now_ns)
        assert gate.n_layers
        pool.feed(0, begin, start=0)
        before = pool.context.whole(0)
        piece = PrefillSlice(rid=1, seq=0, start=40, tokens=more, wants_logits=True)
        plan = StepPlan(prefill=(piece,), cuttable=True, saves_state=True, predicted_ms=LONG_MS)

        abort.set()
        outcome = pool.runner.run(plan).outcome
        abort.clear()

        assert outcome == "cut"
        assert pool.runner.lengths(plan) == ((0, 40),)
        assert pool.context.whole(0) == before
        assert pool.runner.run(plan).outcome == "done"


def test_a_step_that_may_not_be_cut_runs_to_its_end(context: llama.Context, gate: Gate) -> None:
    decode_cuttable(context, batch_of(), LONG_MS)
    seen = gate.n_ends

    assert context.decode(batch_of(1)) == 0

    assert gate.n_ends == seen, "nobody counts layers where nobody may cut"


def test_what_was_built_is_used_again_and_nobody_else_may_have_written_it(
    tmp_path: Path,
) -> None:
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    first = gate_file(environ, sys.platform)
    assert first is not None
    built = first.stat().st_ino

    assert gate_file(environ, sys.platform) == first
    assert first.stat().st_ino == built
    first.chmod(0o666)
    assert gate_file(environ, sys.platform) == first
    assert first.stat().st_ino != built
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_without_a_compiler_there_is_no_gate_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path), "CC": "no-such-compiler"}

    assert gate_file(environ, sys.platform) is None

    (line,) = caplog.messages
    assert "gate.c is not built" in line
    assert "no-such-compiler" in line
