"""A real engine parks what no window of its model leaves out.

llama.cpp saves only the cells of a window. Where the window is longer than any stream, or no layer
has the window that the file names, these are all cells.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cold_answers import cold_answers
from tests.engine.harness import engine
from tests.memory_kinds import CHUNK, write

POOL: dict[str, Any] = {"ctx_size": 512, "batch": 64, "ubatch": 64}
TURN, STRANGER, STRANGERS = 300, 480, 2
N_LOGPROBS, N_SLICINGS, MARGIN, LAST_BITS = 20, 3, 2.0, 1e-3


def text(n_tokens: int, seed: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(3, 380, n_tokens).tolist())


@pytest.mark.parametrize("kind", ["chunks", "named window"])
def test_a_turn_that_made_room_for_strangers_begins_from_host_memory(
    kind: str, tmp_path: Path
) -> None:
    assert POOL["ctx_size"] < CHUNK
    model = write(tmp_path / "model.gguf", kind)
    with engine(model, **POOL) as running:
        running.ready()
        first = running.generate(1, prompt_ids=text(TURN, 1), max_tokens=8, ignore_eos=True)
        for rid in range(2, 2 + STRANGERS):
            running.generate(rid, prompt_ids=text(STRANGER, rid), max_tokens=1)
        turn = (*text(TURN, 1), *first.ids, *text(20, 9))

        answer = running.generate(
            9, prompt_ids=turn, max_tokens=8, ignore_eos=True, logprobs=N_LOGPROBS
        )

    # The last token of an answer is drawn, and not computed.
    assert answer.ending.cached_tokens == TURN + 7
    with cold_answers(model) as cold:
        judged = cold.judge(turn, answer.ids, dict(answer.logprobs[0][1]))
        drawn = np.random.default_rng(0)
        bound = MARGIN * cold.slicings(turn, N_LOGPROBS, drawn, N_SLICINGS) + LAST_BITS
    assert judged.first <= bound
    assert judged.worst <= 2 * bound


def test_a_window_that_no_layer_has_is_none_however_large_the_pool(tmp_path: Path) -> None:
    # In so large a pool, windows of that size would have cells apart.
    with engine(write(tmp_path / "model.gguf", "named window"), ctx_size=8192) as running:
        facts = running.ready()

    assert (facts["window_tokens"], facts["shares_at"]) == (0, "anywhere")
    assert facts["park_bytes"] > 0
