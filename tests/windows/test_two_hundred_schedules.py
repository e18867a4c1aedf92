"""Two hundred random schedules through daemons, on models with sliding windows: editors beside a
chat, and no answer is further from the cold one than two slicings of one prompt are from each other
in the bare library. `make window-test`; some minutes. SCHEDULES: fewer of them, or more."""

import os
from pathlib import Path

import pytest

from tests.cold_answers import cold_answers
from tests.live import live_daemon
from tests.memory_kinds import write
from tests.window_daemon import Crowd, bound_of, judge_all

N_SCHEDULES = int(os.environ.get("SCHEDULES", "200"))
# A pool that is always short of room, one where a step is smaller than the batch, and the default.
POOLS = (
    ("--ctx-size", "1024", "--max-seqs", "8", "--batch", "128", "--ubatch", "64"),
    ("--ctx-size", "2048", "--max-seqs", "16", "--batch", "512", "--ubatch", "128"),
    ("--ctx-size", "4096"),
)
EACH = 20


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["windows"])
def test_no_answer_is_further_from_the_cold_one_than_two_slicings_are(
    kind: str, tmp_path: Path, short_tmp_path: Path
) -> None:
    model = write(tmp_path / "model.gguf", kind)
    answers = []
    for number, first in enumerate(range(0, N_SCHEDULES, EACH)):
        pool = POOLS[number % len(POOLS)]
        with live_daemon(short_tmp_path, str(model), "--threads", "1", *pool) as daemon:
            crowd = Crowd(daemon)
            for seed in range(first, min(first + EACH, N_SCHEDULES)):
                crowd.run(seed)
        answers += crowd.answers

    with cold_answers(model) as cold:
        judged = judge_all(answers, cold)
        bound = bound_of(answers, cold, n_slicings=3)
    first_off = max(one.first for one in judged)
    token_off = max(one.worst for one in judged)
    print(
        f"{kind}: {N_SCHEDULES} schedules, {len(judged)} answers, "
        f"{sum(one.cached_tokens for one in answers)} tokens shared; first token up to "
        f"{first_off:.3f} nats off, tokens up to {token_off:.3f}; slicings differ by {bound:.3f}"
    )
    assert first_off <= bound
    assert token_off <= bound
