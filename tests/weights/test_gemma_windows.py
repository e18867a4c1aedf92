"""A real model with sliding windows, through the daemon: a chat's turn is edited after strangers
have come and gone, and the answer is the cold one."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.cold_answers import cold_answers
from tests.live import live_daemon
from tests.schedules import Ask, Tokens
from tests.weights.gemma import gemma
from tests.window_daemon import N_LOGPROBS, Answer, answered
from umad.client import AsyncClient
from umad.engine.llamacpp import llama

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"
POOL = ("--ctx-size", "4096", "--max-seqs", "8")
# Of 8 slicings of such a prompt, some were 0.35 and some 0.76 nats from the cold one.
N_SLICINGS = 16


def texts(model: Path) -> tuple[Tokens, Tokens, Tokens]:
    """English, as tokens: what a stranger asks, the chat so far, and what another one asks."""
    llama.start()
    vocabulary = llama.Model(str(model), vocab_only=True)
    found = []
    for name in ("recipes.md", "architecture.md", "benchmarks.md"):
        text = (DOCUMENTS / name).read_bytes()[:20_000]
        ids = vocabulary.tokenize(text, add_special=True, parse_special=False)
        found.append(tuple(ids.tolist()))
    vocabulary.close()
    stranger, chat, other = found
    return stranger[:300], chat[:1400], other[:700]


async def edited_turn(client: AsyncClient, model: Path, at: int) -> Answer:
    """The answer to the chat with its text changed from token `at` on. Before that a stranger's
    cells, which lie before the chat's, become free and are filled by another's, who needs more."""
    stranger, chat, other = texts(model)
    long = Answer(prompt=stranger)
    leaving = asyncio.create_task(answered(client, Ask(prompt=stranger, n_tokens=400), long))
    await long.started.wait()
    await answered(client, Ask(prompt=chat, n_tokens=1), Answer(prompt=chat))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await answered(client, Ask(prompt=other, n_tokens=1), Answer(prompt=other))
    edited = Answer(prompt=chat[:at] + other[100:130])
    await answered(client, Ask(prompt=edited.prompt, n_tokens=24), edited)
    return edited


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("at", [600, 1300])
def test_an_edited_turn_is_answered_like_a_new_prompt(at: int, short_tmp_path: Path) -> None:
    model = gemma()

    async def run() -> Answer:
        async with daemon.client() as client:
            return await edited_turn(client, model, at)

    with live_daemon(short_tmp_path, str(model), *POOL) as daemon:
        edited = asyncio.run(run())

    with cold_answers(model) as cold:
        judged = cold.judge(edited.prompt, edited.ids, edited.first)
        drawn = np.random.default_rng(at)
        bound = cold.slicings(edited.prompt, N_LOGPROBS, drawn, N_SLICINGS)
    print(
        f"edited at {at}: {edited.cached_tokens} tokens shared; first token {judged.first:.2f} "
        f"nats off, tokens up to {judged.worst:.2f}; slicings of the prompt differ by {bound:.2f}"
    )
    assert judged.first <= bound
    assert judged.worst <= 2 * bound
