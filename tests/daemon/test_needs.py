"""How much memory a model needs, before others leave for it."""

import asyncio
from pathlib import Path

from umad.config import EngineSettings, Settings
from umad.daemon.names import ModelFile
from umad.daemon.needs import Needs, need_of_estimate, need_of_facts
from umad.daemon.room import Need
from umad.estimate import MemoryEstimate

GIB = 2**30
FACTS = {
    "size_bytes": 5 * GIB,
    "paged_bytes": GIB,
    "n_cells": 131_072,
    "kv_cell_bytes": 100_000,
    "context_bytes": 131_072 * 100_000 + 7_000,
    "park_bytes": 3 * GIB,
}


def test_a_model_that_was_loaded_counts_with_a_context_in_which_one_can_work() -> None:
    """And not with the pool that it had: that one had grown into what was free."""
    need = need_of_facts(FACTS)

    assert need.good_bytes == 4 * GIB + 7_000 + 32_768 * 100_000
    assert need.least_bytes == 4 * GIB + 7_000 + 4096 * 100_000


def test_parking_counts_where_somebody_asked_for_it() -> None:
    more = need_of_facts(FACTS, park_bytes=2 * GIB).good_bytes
    assert more == need_of_facts(FACTS).good_bytes + 2 * GIB


def test_a_small_pool_counts_as_it_is() -> None:
    need = need_of_facts(
        {"size_bytes": 10, "n_cells": 512, "kv_cell_bytes": 2, "context_bytes": 1024}
    )

    assert need == Need(good_bytes=10 + 1024, least_bytes=10 + 1024)


def test_an_estimate_counts_likewise() -> None:
    estimate = MemoryEstimate(
        path="m.gguf",
        architecture="llama",
        ctx_tokens=65_536,
        trained_tokens=65_536,
        n_streams=4,
        kv_type="f16",
        weights_bytes=GIB,
        cells_bytes=65_536 * 1000,
        compute_bytes=500,
        token_bytes=1000,
    )

    need = need_of_estimate(estimate)

    assert need == Need(good_bytes=GIB + 500 + 32_768_000, least_bytes=GIB + 500 + 4_096_000)


def test_a_small_file_beside_much_free_memory_needs_no_estimate() -> None:
    needs = Needs(Settings())
    needs.memory_bytes = 64 * GIB
    file = ModelFile(name="m", path=Path("m.gguf"), size_bytes=4 * GIB)

    assert needs.known(file, {}, held_bytes=20 * GIB) is not None
    assert needs.known(file, {}, held_bytes=50 * GIB) is None


def test_a_size_that_was_asked_for_is_never_guessed() -> None:
    needs = Needs(Settings(engine=EngineSettings(ctx_size=2**20)))
    needs.memory_bytes = 64 * GIB
    file = ModelFile(name="m", path=Path("m.gguf"), size_bytes=GIB)

    assert needs.known(file, {}, held_bytes=0) is None


def test_a_file_that_cannot_be_estimated_counts_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"no model")
    needs = Needs(Settings())
    file = ModelFile(name="broken", path=path).sized()

    need = asyncio.run(needs.learn(file))

    assert need == Need(good_bytes=8, least_bytes=8)
