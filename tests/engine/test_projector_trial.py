"""A projector is tried in a child before its model is served, and found where it lies."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.projector_files import (
    FAMILIES,
    write_gemma3,
    write_mrope_text,
    write_ultravox,
)
from umad import nano
from umad.clock import MonotonicClock
from umad.config import EngineSettings, Settings
from umad.engine.estimates import Estimating
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.backend import BACKEND, LlamaModel
from umad.engine.media.facts import MediaFacts
from umad.errors import ModelLoadFailed
from umad.models.projectors import projector_beside

SMALL = EngineSettings(ctx_size=512, max_seqs=2, threads=1, park_bytes=0)


def opened(options: EngineOptions) -> LlamaModel:
    return BACKEND.open(options, now_ns=MonotonicClock().now_ns, costs_folder=None)


def options_for(path: Path, mmproj: str | None = None) -> EngineOptions:
    return EngineOptions(name="m", path=str(path), engine=replace(SMALL, mmproj=mmproj))


def facts_with(path: Path, projector: Path) -> MediaFacts:
    model = opened(options_for(path, str(projector)))
    model.close()
    assert model.facts.projector is not None
    return MediaFacts(**model.facts.projector)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_engine_says_what_its_model_can_see_and_hear(tmp_path: Path, family: str) -> None:
    projector = FAMILIES[family][0](tmp_path / "mmproj.gguf")
    text = write_mrope_text(tmp_path / "text.gguf") if family == "qwen2vl" else nano.path()

    facts = facts_with(text, projector)

    assert facts.kinds == (("audio",) if family == "ultravox" else ("image",))
    assert facts.sample_rate == (16000 if family == "ultravox" else 0)
    assert facts.mrope == (family == "qwen2vl")
    assert facts.non_causal == (family == "gemma3")
    assert 0 < facts.size_bytes < projector.stat().st_size


def test_a_projector_that_ends_llama_cpps_process_is_refused_in_one_line(tmp_path: Path) -> None:
    projector = write_ultravox(tmp_path / "mmproj.gguf", stack=8)

    with pytest.raises(ModelLoadFailed) as refused:
        opened(options_for(nano.path(), str(projector)))

    assert "llama.cpp ended its process over this file (signal SIGABRT)" in refused.value.message
    assert "\n" not in refused.value.message


def test_a_projector_of_another_model_is_refused_where_it_was_named(tmp_path: Path) -> None:
    projector = write_gemma3(tmp_path / "mmproj.gguf", width=320)

    with pytest.raises(ModelLoadFailed, match="the projector of another model: its rows have 320"):
        opened(options_for(nano.path(), str(projector)))


def test_a_found_projector_that_does_not_fit_leaves_the_model_without(tmp_path: Path) -> None:
    path = Path(shutil.copy(nano.path(), tmp_path / "small.gguf"))
    write_gemma3(tmp_path / "mmproj-small.gguf", width=320)

    model = opened(options_for(path))

    assert model.facts.projector is None
    model.close()


def test_a_projector_beside_the_model_is_found_and_none_turns_it_off(tmp_path: Path) -> None:
    path = Path(shutil.copy(nano.path(), tmp_path / "small.gguf"))
    projector = write_gemma3(tmp_path / "mmproj-small-f16.gguf")

    found, off = opened(options_for(path)), opened(options_for(path, "none"))

    assert found.facts.projector is not None
    assert found.facts.projector["path"] == str(projector)
    assert off.facts.projector is None
    found.close()
    off.close()


def test_nobody_guesses_whose_a_projector_is_that_lies_among_several_models(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    projector = tmp_path / "mmproj-one.gguf"
    for path in (one, projector):
        path.touch()

    assert projector_beside(one) == projector
    other.touch()
    assert projector_beside(one) is None


def test_a_named_projector_is_that_of_the_models_named_beside_it(tmp_path: Path) -> None:
    named = replace(SMALL, mmproj="eyes.gguf")
    settings = Settings(models=(str(tmp_path / "mine.gguf"),), engine=named)

    mine = EngineOptions.of(settings, name="mine", path=str(tmp_path / "mine.gguf"))
    other = EngineOptions.of(settings, name="other", path=str(tmp_path / "other.gguf"))

    assert mine.projector_path == Path("eyes.gguf").absolute()
    assert other.projector_path is None


def test_an_estimate_counts_a_projector_that_lies_beside_the_model(tmp_path: Path) -> None:
    path = Path(shutil.copy(nano.path(), tmp_path / "small.gguf"))
    without = Estimating(options_for(path)).wait()
    write_gemma3(tmp_path / "mmproj-small.gguf")

    found = Estimating(options_for(path)).wait()

    assert without.projector_bytes == 0
    assert found.projector_bytes == 211_456
    assert found.total_bytes == without.total_bytes + 211_456
