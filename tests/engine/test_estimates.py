"""What an estimate says: its parts, what would fit, and why a load would be refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.shape_files import write_shape
from tests.models.gguf_bytes import gguf
from umad.config import EngineSettings
from umad.engine.estimates import Estimating
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.estimating import estimate
from umad.engine.llamacpp.fitting import fit
from umad.engine.llamacpp.llama import Model
from umad.engine.llamacpp.placement import Placement
from umad.errors import BadConfig, ModelLoadFailed, ModelTooLarge
from umad.estimate import MemoryEstimate, engine_bytes, fitting_words

MB = 1_000_000


@pytest.fixture(autouse=True, scope="module")
def _started() -> None:
    llama.start()


def options_of(path: Path, *, taken_bytes: int = 0, **settings: Any) -> EngineOptions:
    engine = EngineSettings(gpu_layers=0, threads=1, **settings)
    return EngineOptions(name="model", path=str(path), engine=engine, taken_bytes=taken_bytes)


def on_a_machine_of(n_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umad.engine.llamacpp.fitting.memory_bytes", lambda: n_bytes)


def test_a_process_of_its_own_answers_for_who_must_not_load_llama_cpp(nano_path: Path) -> None:
    asked = Estimating(options_of(nano_path, ctx_size=8192)).wait()

    assert asked == estimate(options_of(nano_path, ctx_size=8192), ())
    assert asked.total_bytes == sum(part.n_bytes for part in asked.parts)
    assert asked.cells_bytes == pytest.approx(8192 * asked.token_bytes, rel=0.04)  # and spare ones
    assert json.loads(json.dumps(asked.as_map()))["total_bytes"] == asked.total_bytes


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf({"general.architecture": "nobody-has-heard-of-it"}))

    with pytest.raises(ModelLoadFailed) as caught:
        Estimating(options_of(broken)).wait()

    assert "nobody-has-heard-of-it" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_load_that_is_refused_has_an_estimate_with_the_reason_and_what_would_fit(
    nano_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_of(150 * MB, monkeypatch)

    told = estimate(options_of(nano_path, ctx_size=65_536, max_seqs=4), ())

    assert not told.fits
    assert "201 MB" in told.refused or "202 MB" in told.refused
    assert 4096 < told.most_tokens < 65_536
    assert told.fitting == "all 4,096 tokens fit, " + told.fitting.partition("fit, ")[2]


def test_what_would_fit_does_fit_and_a_little_more_does_not(
    nano_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_of(150 * MB, monkeypatch)
    most = estimate(options_of(nano_path, ctx_size=65_536, max_seqs=4), ()).most_tokens

    assert estimate(options_of(nano_path, ctx_size=most - 256, max_seqs=4), ()).fits
    assert not estimate(options_of(nano_path, ctx_size=most + 2048, max_seqs=4), ()).fits


def test_the_engines_of_other_models_take_their_part(
    nano_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_of(400 * MB, monkeypatch)

    alone = estimate(options_of(nano_path, ctx_size=8192, max_seqs=4), ())
    beside = estimate(options_of(nano_path, ctx_size=8192, max_seqs=4, taken_bytes=300 * MB), ())
    full = estimate(options_of(nano_path, ctx_size=8192, max_seqs=4, taken_bytes=379 * MB), ())

    assert (alone.fits, beside.fits, full.fits) == (True, True, False)
    assert beside.most_tokens < alone.most_tokens
    assert full.most_tokens == 0
    assert "of which other models take 379 MB" in full.refused


def test_a_pool_that_nobody_chose_is_smaller_beside_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_shape(tmp_path / "model.gguf", "llama-dense", context_length=262_144)
    on_a_machine_of(1000 * MB, monkeypatch)

    alone = fit(options_of(path), ())
    with caplog.at_level("INFO", "umad.engine"):
        beside = fit(options_of(path, taken_bytes=500 * MB), ())

    assert 4096 <= beside.context.n_cells < alone.context.n_cells
    n_cells = beside.context.n_cells - beside.n_spare
    assert f"ctx_size={n_cells}: {n_cells:,} of 262,144 tokens fit" in caplog.messages


def test_a_model_has_no_room_beside_others_and_says_so(
    nano_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_of(400 * MB, monkeypatch)

    with pytest.raises(ModelTooLarge, match="unload another model first"):
        fit(options_of(nano_path, taken_bytes=378 * MB), ())


def test_experts_may_stay_in_the_file_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_shape(
        tmp_path / "experts.gguf", "qwen3moe-moe", expert_count=64, feed_forward_length=64
    )
    size = path.stat().st_size
    on_a_machine_of(size, monkeypatch)
    small = {"ctx_size": 256, "max_seqs": 1, "batch": 32, "ubatch": 32}

    with pytest.raises(ModelTooLarge, match="smaller model"):
        fit(options_of(path, **small), ())
    half = estimate(options_of(path, n_cpu_moe=1, **small), ())
    every = fit(options_of(path, n_cpu_moe=2, **small), ())

    assert half.paged_bytes == pytest.approx(size / 2, rel=0.2)
    assert not every.reads_all
    # What is locked, or read instead of mapped, has to be in memory.
    for private in ({"mlock": True}, {"mmap": False}):
        assert not estimate(options_of(path, n_cpu_moe=2, **small, **private), ()).fits


def test_tensors_are_placed_as_llama_cpp_writes_it_and_a_wrong_place_is_named(
    nano_path: Path,
) -> None:
    placed = Placement(n_cpu_moe=2, override_tensor=r"\.ffn_up=CPU")
    Model(str(nano_path), gpu_layers=0, placement=placed).close()

    assert placed.rules()[0] == (r"\.ffn_up", "CPU")
    assert placed.rules()[1:] == (
        (r"blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps", None),
        (r"blk\.1\.ffn_(up|down|gate|gate_up)_(ch|)exps", None),
    )
    with pytest.raises(BadConfig, match="'Moon', and this machine has CPU"):
        Model(str(nano_path), gpu_layers=0, placement=Placement(override_tensor="ffn=Moon"))
    with pytest.raises(BadConfig, match="PATTERN=BUFFER"):
        Placement(override_tensor="ffn").rules()


@pytest.mark.parametrize(
    ("cells", "trained", "words"),
    [
        (65_536, 262_144, "65,536 of 262,144 tokens fit"),
        (262_144, 262_144, "all 262,144 tokens fit"),
        (131_072, 32_768, "all 32,768 tokens fit, 4 such texts at once"),
        (65_536, 0, "65,536 tokens fit"),
    ],
)
def test_one_line_says_what_fits(cells: int, trained: int, words: str) -> None:
    assert fitting_words(cells, trained) == words


def test_an_engine_takes_its_weights_its_context_and_what_it_may_park() -> None:
    assert engine_bytes({"size_bytes": 5, "context_bytes": 7, "park_bytes": 11, "name": "x"}) == 23
    assert engine_bytes({"size_bytes": 5, "context_bytes": 7, "paged_bytes": 4}) == 8
    assert engine_bytes({"size_bytes": None}) == 0


def test_an_estimate_goes_over_the_wire_and_back(nano_path: Path) -> None:
    told = estimate(options_of(nano_path, ctx_size=1024), ())

    assert MemoryEstimate.from_map(told.as_map() | {"from a newer version": 1}) == told
