"""Models an engine cannot load: one clear line, and the process ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.harness import (
    engine,
)
from tests.models.gguf_bytes import adapter, gguf
from umad import nano


def truncated(tmp_path: Path) -> Path:
    path = tmp_path / "half.gguf"
    data = nano.path().read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def not_a_model(tmp_path: Path) -> Path:
    path = tmp_path / "notes.gguf"
    path.write_text("these are notes")
    return path


def of_unknown_kind(tmp_path: Path) -> Path:
    path = tmp_path / "odd.gguf"
    path.write_bytes(gguf({"general.architecture": "zebra"}, [("x", (32,), 0, 128)]))
    return path


def an_adapter(tmp_path: Path) -> Path:
    path = tmp_path / "pirate.gguf"
    path.write_bytes(adapter())
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda tmp_path: tmp_path / "gone.gguf", "does not exist"),
        (not_a_model, "not a GGUF file"),
        (truncated, "cut short"),
        (an_adapter, "is an adapter (LoRA) and no model; name it behind the model"),
        (of_unknown_kind, "unknown model architecture: 'zebra'"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_fatal_with_one_clear_line(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    path = make(tmp_path)
    with engine(path) as running:
        fatal = running.fatal()
        status = running.wait()
        wrote = running.stderr

    assert fatal.code == "model_load_failed"
    assert words in fatal.message
    assert str(path) in fatal.message
    assert "\n" not in fatal.message
    assert status == 1
    assert "Traceback" not in wrote


def test_a_model_too_large_for_the_machine_is_refused_with_figures() -> None:
    with engine(nano.path(), ctx_size=2**31) as running:
        fatal = running.fatal()
        status = running.wait()

    assert fatal.code == "model_too_large"
    assert "MB" in fatal.message
    assert "--ctx-size" in fatal.message
    assert status == 1


def test_a_quantised_kv_without_flash_attention_is_refused() -> None:
    with engine(nano.path(), kv_type="q4", flash_attention=False) as running:
        fatal = running.fatal()

    assert "needs flash_attention" in fatal.message
