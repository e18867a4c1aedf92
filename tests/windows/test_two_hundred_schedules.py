"""Two hundred random schedules through daemons, on a model with sliding windows, and sixty on one
that has sinks and experts, too: editors beside a chat, and no answer is further from the cold one
than slicings of one prompt are apart in the bare library. `make window-test`; some minutes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cold_answers import ColdAnswers, cold_answers
from tests.live import live_daemon
from tests.memory_kinds import write
from tests.window_daemon import N_LOGPROBS, Crowd, judge_all

# A pool that is always short of room, one where a step is smaller than the batch, and the default.
POOLS = (
    ("--ctx-size", "1024", "--max-seqs", "8", "--batch", "128", "--ubatch", "64"),
    ("--ctx-size", "2048", "--max-seqs", "16", "--batch", "512", "--ubatch", "128"),
    ("--ctx-size", "4096"),
)
N_EACH = 20
BLOCKS = [("windows", block) for block in range(10)] + [("sinks", block) for block in range(10, 13)]
# Prompts and slicings of each that the bound is found with: some ten thousand log-probabilities.
N_PROMPTS, N_SLICINGS = 600, 5
N_OWN_SLICINGS = 200
# What a sample may miss: 120 slicings of a prompt were up to 1.6 times as far apart as four (0.204
# nats at most). What is answered from cells that are gone is mostly more than half a nat off.
MISSED = 1.5

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "model.gguf", kind)


@pytest.fixture(scope="module")
def cold(model: Path) -> Iterator[ColdAnswers]:
    with cold_answers(model) as answers:
        yield answers


@pytest.fixture(scope="module")
def bound(cold: ColdAnswers) -> float:
    """Nats between slicings of one prompt."""
    drawn = np.random.default_rng(0)
    prompts = [drawn.integers(3, 380, int(drawn.integers(20, 320))) for _ in range(N_PROMPTS)]
    return max(cold.slicings(one.tolist(), N_LOGPROBS, drawn, N_SLICINGS) for one in prompts)


@pytest.mark.parametrize(("kind", "block"), BLOCKS, indirect=["kind"], scope="module")
def test_no_answer_is_further_from_the_cold_one_than_slicings_are_apart(
    kind: str, block: int, model: Path, cold: ColdAnswers, bound: float, short_tmp_path: Path
) -> None:
    pool = POOLS[block % len(POOLS)]
    with live_daemon(short_tmp_path, str(model), "--threads", "1", *pool) as daemon:
        crowd = Crowd(daemon)
        for seed in range(block * N_EACH, (block + 1) * N_EACH):
            crowd.run(seed)

    judged = judge_all(crowd.answers, cold)
    first_off, token_off = max(one.first for one in judged), max(one.worst for one in judged)
    asked = [one.prompt for one in crowd.answers if one.ids]
    beyond = [at for at, one in enumerate(judged) if one.first > bound]
    # A few prompts are worse than all of the sample: they are held to slicings of their own.
    drawn = np.random.default_rng(block)
    own = {at: cold.slicings(asked[at], N_LOGPROBS, drawn, N_OWN_SLICINGS) for at in beyond}
    wrong = [at for at in beyond if judged[at].first > MISSED * max(bound, own[at])]
    wrong += [at for at, one in enumerate(judged) if one.worst > 2 * MISSED * bound]
    print(
        f"\n{kind}: {N_EACH} schedules, {len(judged)} answers, {len(wrong)} wrong, {len(beyond)} "
        f"beyond the bound with own slicings {[round(one, 3) for one in own.values()]} apart, "
        f"{sum(one.cached_tokens for one in crowd.answers)} tokens shared: first token up to "
        f"{first_off:.3f} nats off, tokens up to {token_off:.3f}; slicings {bound:.3f} apart"
    )
    assert not wrong
