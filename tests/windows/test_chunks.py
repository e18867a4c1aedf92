"""Llama 4 looks back over chunks of 8,192 positions: an engine on a generated model of it."""

from pathlib import Path

import numpy as np
import pytest

from tests.cold_answers import cold_answers
from tests.engine.harness import engine
from tests.memory_kinds import CHUNK, write

N_LOGPROBS = 20
SIZES = (64, 128, 512)
# Such slices may all be computed in one way; others differ in their last bits at least.
LAST_BITS = 1e-3


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("at", "shared"), [(CHUNK + 60, CHUNK + 60), (CHUNK - 200, 0)])
def test_a_beginning_is_shared_while_the_chunk_it_ends_in_is_whole(
    at: int, shared: int, tmp_path: Path
) -> None:
    model = write(tmp_path / "model.gguf", "chunks")
    drawn = np.random.default_rng(0)
    stranger, chat, other, tail = (
        tuple(drawn.integers(3, 380, n).tolist()) for n in (300, CHUNK + 100, 700, 30)
    )
    with engine(model, ctx_size=20_480) as running:
        running.ready()
        # The stranger's cells lie before the chat's. Freed, they are filled by one who needs more.
        running.generate(1, prompt_ids=stranger, max_tokens=1, session="stranger")
        running.generate(2, prompt_ids=chat, max_tokens=1)
        running.call("forget", session="stranger")
        running.generate(3, prompt_ids=other, max_tokens=1)

        edited = running.generate(
            4, prompt_ids=chat[:at] + tail, max_tokens=4, ignore_eos=True, logprobs=N_LOGPROBS
        )

    with cold_answers(model, n_cells=10_240) as cold:
        first = dict(edited.logprobs[0][1])
        judged = cold.judge(chat[:at] + tail, edited.ids, first)
        bound = LAST_BITS + cold.slicings(chat[:at] + tail, N_LOGPROBS, drawn, 3, SIZES)
    assert edited.ending.cached_tokens == shared
    assert judged.first <= 2 * bound
    assert judged.worst <= 2 * bound
