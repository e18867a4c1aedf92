"""The shape that a model with windows gets: its cells, its streams, and what the log says of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.memory_kinds import CONTEXT, WINDOW, write
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_memory import read_log
from umad.engine.llamacpp.context_options import padded
from umad.engine.llamacpp.fitting import Fitting, fit
from umad.engine.llamacpp.pool_size import GOOD_CELLS

SMALL_STEPS: dict[str, Any] = {"batch": 128, "ubatch": 32}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("windows")
    kinds = ("full", "windows")
    return {kind: write(folder / f"{kind}.gguf", kind) for kind in kinds}


def fitted(path: Path, **settings: Any) -> Fitting:
    llama.start()
    engine = EngineSettings(gpu_layers=0, threads=1, **settings)
    return fit(EngineOptions(name="model", path=str(path), engine=engine), ())


def test_a_pool_that_nobody_chose_has_64k_cells(models: dict[str, Path]) -> None:
    assert 4 * CONTEXT >= GOOD_CELLS
    one = fitted(models["full"])

    assert one.context.n_cells - one.n_spare == GOOD_CELLS


def test_a_small_machine_chooses_a_smaller_pool_and_serves(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umad.engine.llamacpp.fitting.memory_bytes", lambda: 150_000_000)

    small = fitted(models["full"])

    assert 4096 <= small.context.n_cells < GOOD_CELLS
    assert small.memory.kept_bytes(5) + small.memory.working_bytes(5) < 0.75 * 150_000_000


def test_windows_at_their_size_leave_64_streams_where_they_are_small(
    models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "umad.engine"):
        one = fitted(models["windows"], swa_full="off", ctx_size=32_768)

    assert (one.context.swa_full, one.n_streams) == (False, 64)
    assert one.memory.windows is not None
    assert one.memory.windows.cells(65) == 65 * WINDOW + 512 + 192  # in blocks of 256
    (line,) = [line for line in caplog.messages if line.startswith("swa_full=off")]
    assert "4864 cells for 65 sequences" in line


def test_in_a_small_pool_on_a_cpu_windows_take_at_most_half(models: dict[str, Path]) -> None:
    one = fitted(models["windows"], swa_full="off", ctx_size=1024, **SMALL_STEPS)

    assert not one.context.swa_full
    assert one.context.has_small_windows(WINDOW)
    # With a sequence for copies these are 7 windows and a micro-batch, in a pool of 1,280 cells
    # with its spare ones.
    assert one.n_streams == 6
    assert padded(7 * WINDOW + 32) <= 1280 // 2 < padded(8 * WINDOW + 32)


@pytest.mark.parametrize(
    "settings", [{"ctx_size": 1024, "max_seqs": 30}, {"ctx_size": 256}], ids=["asked", "tiny"]
)
def test_windows_as_large_as_the_pool_are_the_pools_and_the_log_says_so(
    models: dict[str, Path], settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "umad.engine"):
        one = fitted(models["windows"], swa_full="off", **settings, **SMALL_STEPS)

    assert one.context.swa_full
    assert one.n_streams == settings.get("max_seqs", 64)
    assert any("sequences would take as much" in line for line in caplog.messages)


@pytest.mark.parametrize("kind", ["windows"])
@pytest.mark.parametrize("swa_full", ["on", "off"])
def test_what_is_reckoned_is_what_the_opened_context_takes(
    models: dict[str, Path], kind: str, swa_full: str
) -> None:
    one = fitted(models[kind], swa_full=swa_full, ctx_size=8192, max_seqs=12)

    model = llama.Model(str(models[kind]), gpu_layers=0)
    with llama.listening() as lines:
        llama.Context(model, one.context).close()
    model.close()

    said = read_log(lines, n_cells=one.context.n_cells)
    n_seqs = one.context.max_seqs
    assert one.memory.kept_bytes(n_seqs) == pytest.approx(said.kept_bytes(n_seqs), rel=0.01)


def test_a_model_without_windows_has_nothing_to_say_of_them(
    models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "umad.engine"):
        one = fitted(models["full"], swa_full="off", ctx_size=1024)

    assert one.memory.windows is None
    assert not [line for line in caplog.messages if "swa_full" in line]
