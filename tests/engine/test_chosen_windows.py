"""What `swa_full: auto` comes to on a real engine: small windows, unless sharing needs more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.harness import engine
from tests.memory_kinds import WINDOW, write
from umad.clock import MonotonicClock
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama, loading
from umad.engine.llamacpp.loading import LoadedModel, load

CELLS = 2048
SETTINGS: dict[str, Any] = {"ctx_size": CELLS, "max_seqs": 6, "batch": 128, "ubatch": 32}
# Six windows, one for copies, and a micro-batch, in blocks of 256.
SMALL_CELLS = 512


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("windows") / "windows.gguf", "windows")


@pytest.fixture
def loaded(windows: Path) -> Iterator[Any]:
    """Loads the model in this process, and frees it again."""
    llama.start()
    opened: list[LoadedModel] = []

    def load_with(*, costs_folder: Path | None = None, **settings: Any) -> LoadedModel:
        engine = EngineSettings(gpu_layers=0, threads=1, **SETTINGS, **settings)
        options = EngineOptions(name="model", path=str(windows), engine=engine)
        opened.append(load(options, (), MonotonicClock().now_ns, costs_folder=costs_folder))
        return opened[-1]

    yield load_with
    for one in opened:
        assert one.context is not None
        one.context.close()
        one.model.close()


def test_windows_are_small_and_beginnings_are_shared_by_their_states(windows: Path) -> None:
    assert 7 * WINDOW + 32 <= SMALL_CELLS
    with engine(windows, **SETTINGS) as running:
        facts = running.ready()
        words = running.stderr

    assert facts["window_cells"] == SMALL_CELLS
    assert (facts["can_share_prefix"], facts["shares_at"]) == (True, "states")
    small = facts["n_cells"] * (facts["kv_cell_bytes"] - facts["window_cell_bytes"])
    assert facts["kv_pool_bytes"] == small + SMALL_CELLS * facts["window_cell_bytes"]
    assert words.count("swa_full=off") == 1


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"swa_full": "on"}, "asked for"), ({"park_bytes": 0}, "park_bytes is 0")],
    ids=["asked for", "nowhere to keep states"],
)
def test_windows_have_cells_for_the_whole_pool_where_that_is_wanted_or_needed(
    windows: Path, settings: dict[str, Any], why: str
) -> None:
    with engine(windows, **SETTINGS, **settings) as running:
        facts = running.ready()
        words = running.stderr

    assert facts["window_cells"] == facts["n_cells"] == CELLS
    assert (facts["can_share_prefix"], facts["shares_at"]) == (True, "anywhere")
    assert "swa_full=on" in words
    assert why in words


def test_where_states_cannot_be_put_back_the_windows_are_made_whole_and_shared(
    loaded: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "states_of", lambda *_: None)

    with caplog.at_level("INFO", "umad.engine"):
        one = loaded()

    assert one.facts.window_cells == CELLS
    assert (one.facts.can_share_prefix, one.facts.shares_at) == (True, "anywhere")
    assert not one.owns_windows
    assert any("states of windows cannot be put back" in line for line in caplog.messages)


def test_small_windows_that_were_asked_for_stay_though_nothing_is_shared(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "states_of", lambda *_: None)

    one = loaded(swa_full="off")

    assert one.facts.window_cells == SMALL_CELLS
    assert not one.facts.can_share_prefix


def test_costs_of_small_windows_are_not_taken_for_those_of_whole_ones(
    loaded: Any, tmp_path: Path
) -> None:
    for swa_full in ("off", "on"):
        one = loaded(swa_full=swa_full, costs_folder=tmp_path)
        one.cost_file.write(one.cost)

    assert len(list(tmp_path.iterdir())) == 2
