"""What an engine knows of its machine before anybody has come."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.harness import engine, start
from umad import nano
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.request import BACKGROUND
from umad.scheduler.curve import ROWS

OPTIONS = EngineOptions(
    name="nano",
    path=str(nano.path()),
    engine=EngineSettings(ctx_size=2048, max_seqs=8, threads=1, gpu_layers=0),
)


def known(folder: Path) -> dict[str, dict[int, float]]:
    """Milliseconds by number of rows of every curve in the only file of costs, where seen."""
    (file,) = (folder / "umad" / "costs").iterdir()
    curves = json.loads(file.read_text())["costs"]
    return {
        name: {n: ms for n, (ms, seen) in zip(ROWS, points, strict=True) if seen}
        for name, (points, _) in curves.items()
    }


def test_a_first_start_knows_what_streams_feel_alone_and_what_slices_beside_them_cost(
    tmp_path: Path,
) -> None:
    with start(OPTIONS, cache=tmp_path) as running:
        running.ready()
        learnt = known(tmp_path)

    assert learnt["pace"].keys() >= {1, 3}
    assert all(0 <= ms < 100 for ms in learnt["pace"].values())
    assert learnt["mixed"], "slices beside a stream were tried"


def test_a_rehearsal_leaves_nothing_behind_in_pool_or_counts() -> None:
    with start(OPTIONS) as running:
        running.ready()
        running.generate(1, prompt="def main():", max_tokens=3)

        stats = running.last_stats

    assert stats.sampled_total == 3
    assert stats.cached_tokens_total == 0
    assert stats.cells_live + stats.cells_retained <= stats.prompt_tokens_total + 3
    assert stats.cuts_total == 0


@pytest.mark.parametrize(
    "settings",
    [{"max_seqs": 1}, {"max_seqs": 2}, {"ctx_size": 256, "batch": 16}, {"batch": 16, "ubatch": 8}],
)
def test_the_smallest_pools_are_rehearsed_in_as_well(settings: dict[str, Any]) -> None:
    with engine(nano.path(), **settings) as running:
        running.ready()

        completion = running.generate(1, prompt="x", max_tokens=3, lane=BACKGROUND)

    assert len(completion.ids) == 3
