"""Shapes of steps that are run at load, on the real library. How long each takes is told here."""

from collections.abc import Iterator
from itertools import count

import pytest
from typing_extensions import override

from umad import nano
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.row_batch import RowBatch
from umad.engine.llamacpp.warm_up import WarmUp
from umad.units import NS_PER_S


class CountingContext(llama.Context):
    """A context that notes the rows of each decode."""

    def __init__(self, model: llama.Model, options: ContextOptions) -> None:
        super().__init__(model, options)
        self.decoded: list[int] = []

    @override
    def decode(self, batch: llama.Batch | RowBatch) -> int:
        self.decoded.append(batch.struct.n_tokens)
        return super().decode(batch)


OPTIONS = ContextOptions(
    n_cells=512,
    max_seqs=5,
    batch=512,
    ubatch=256,
    threads=1,
    type_k=1,
    type_v=1,
    flash_attention=True,
)


@pytest.fixture
def context() -> Iterator[CountingContext]:
    llama.start()
    model = llama.Model(str(nano.path()), gpu_layers=0)
    context = CountingContext(model, OPTIONS)
    yield context
    context.close()
    model.close()


def n_built(context: CountingContext, *, tick_s: int) -> int:
    """tick_s: of a clock at each look at it: once before a step, and twice in it."""
    ticks = count()
    model = llama.Model(str(nano.path()), gpu_layers=0, vocab_only=True)
    try:
        return WarmUp(model, context, OPTIONS, 4, lambda: next(ticks) * tick_s * NS_PER_S).build()
    finally:
        model.close()


def test_steps_of_all_shapes_that_streams_and_a_micro_batch_allow_are_run_once(
    context: CountingContext,
) -> None:
    n_run = n_built(context, tick_s=0)

    assert context.decoded == [128, 2, 3, 4, 16, 48, 256]
    assert n_run == 7
    assert context.length(0) == 0, "nothing is left of them"


def test_no_shape_is_begun_once_the_time_is_up(context: CountingContext) -> None:
    n_run = n_built(context, tick_s=2)

    assert context.decoded == [128, 2], "at 2 s, 8 s and 14 s"
    assert n_run == 2
