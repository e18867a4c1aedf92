"""Memory that is really resident beside what is reckoned, where every stream has a state."""

from pathlib import Path

import psutil
import pytest

from tests.engine.harness import engine
from tests.zoo.bare import prompts
from tests.zoo.fixtures import CONTEXT_TOKENS, zoo
from tests.zoo.report import REPORT

FEW, MANY = 1, 64
_MB = 1e6
# What the heaps of two engines happen to keep differs by so much.
_NOISE_BYTES = 6e6
# llama.cpp's own description of a step's graph is not reckoned: two of them, each with room for 40
# nodes a token of a micro-batch and 423 bytes a node (`llama_context::graph_max_nodes`). Only the
# graphs of this architecture use most of it, because they have nodes for each stream.
_GRAPHS_BYTES = {"deepseek4-moe": 2 * 40 * 512 * 423}


def taken(path: Path, max_seqs: int) -> tuple[int, int, int]:
    """Resident bytes of an engine after an answer; what its streams keep, and what its context was
    reckoned to take in all."""
    with engine(path, ctx_size=CONTEXT_TOKENS, max_seqs=max_seqs) as running:
        facts = running.ready()
        # The rehearsal touches more or less of what steps work in, by the time it had. A long
        # prompt touches all of it.
        ids = prompts(facts["n_vocab"])[0]
        long = [*ids] * (CONTEXT_TOKENS // 2 // len(ids))
        running.generate(1, prompt_ids=long, max_tokens=4, ignore_eos=True)
        resident = psutil.Process(running.process.pid).memory_info().rss
    return resident, max_seqs * facts["seq_bytes"], facts["context_bytes"]


@pytest.mark.parametrize(
    "name",
    [
        "qwen35-dense",
        "granitehybrid-dense",
        "deepseek4-moe",
        "mamba2-dense",
        "falcon-h1-dense",
        "kimi-linear-moe",
        "minimax-01-moe",
        "rwkv6-dense",
    ],
)
def test_what_64_streams_take_more_than_one_is_reckoned(name: str) -> None:
    path = next(fixture.path for fixture in zoo() if fixture.name == name)
    assert path is not None

    few, many = taken(path, FEW), taken(path, MANY)

    resident, kept, reckoned = (more - less for more, less in zip(many, few, strict=True))
    REPORT.notes.append(
        f"{name:24} 64 streams beside one: {resident / _MB:6.1f} MB more resident; reckoned "
        f"{kept / _MB:6.1f} of states, {reckoned / _MB:6.1f} with what a step works in"
    )
    # What a step of all of them works in is touched when there is one.
    most = 1.05 * reckoned + _GRAPHS_BYTES.get(name, 0) + _NOISE_BYTES
    assert kept - _NOISE_BYTES <= resident <= most
