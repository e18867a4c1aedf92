"""Plans carried out on the real library with the model that ships."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.nano_context import TOKENS
from umad import nano
from umad.clock import MonotonicClock
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.decode_runner import DecodeRunner
from umad.engine.llamacpp.kv_types import KV_TYPES
from umad.engine.steps.cutter import Cutter
from umad.step import DecodeSlice, PrefillSlice, SeqTrim, StepPlan

SCRATCH, N_CELLS = 4, 256


@pytest.fixture(scope="module")
def context() -> Iterator[llama.Context]:
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    f16 = KV_TYPES["f16"].number
    context = llama.Context(
        model,
        ContextOptions(
            n_cells=N_CELLS,
            max_seqs=SCRATCH + 1,
            batch=128,
            ubatch=128,
            threads=1,
            type_k=f16,
            type_v=f16,
            flash_attention=True,
        ),
    )
    yield context
    context.close()
    model.close()


def runner_of(context: llama.Context) -> DecodeRunner:
    return DecodeRunner(
        context,
        capacity=128,
        cutter=Cutter(abort=context.abort_flag.set, clear=context.abort_flag.clear),
        can_cut=True,
        now_ns=MonotonicClock().now_ns,
        scratch=SCRATCH,
    )


def read_prompt(context: llama.Context, *, n_padding: int) -> NDArray[np.float32]:
    """Logits behind a prompt whose last 20 tokens are a step of their own."""
    context.clear()
    runner = runner_of(context)
    for start, end, padding in ((0, 80, 0), (80, 100, n_padding)):
        piece = PrefillSlice(
            rid=1, seq=0, start=start, tokens=TOKENS[start:end], wants_logits=end == 100
        )
        decoded = runner.run(StepPlan(prefill=(piece,), n_padding=padding))
    assert decoded.rids == [1]
    logits: NDArray[np.float32] = decoded.logits[0].copy()
    return logits


def test_rows_of_nobody_change_no_answer_and_leave_nothing_behind(context: llama.Context) -> None:
    alone = read_prompt(context, n_padding=0)
    padded = read_prompt(context, n_padding=44)

    # Another kernel adds in another order.
    np.testing.assert_allclose(padded, alone, atol=0.15)
    assert padded.argmax() == alone.argmax()
    assert context.length(SCRATCH) == 0
    assert context.length(0) == 100


def test_their_cells_are_free_for_the_next_step(context: llama.Context) -> None:
    read_prompt(context, n_padding=44)
    runner = runner_of(context)

    for at in range(100, N_CELLS):
        row = DecodeSlice(rid=1, seq=0, position=at, token=5)
        assert runner.run(StepPlan(decode=(row,))).outcome == "done"

    full = DecodeSlice(rid=1, seq=0, position=N_CELLS, token=5)
    assert runner.run(StepPlan(decode=(full,))).outcome == "no_memory"
    runner.keep_house((SeqTrim(seq=0, keep_tokens=0),))
