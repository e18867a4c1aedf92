"""`umad quantize`, which needs no daemon."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Umad
from umad.cli.quantize import target_of
from umad.models.gguf import read_header


def test_quantize_tells_the_size_and_writes_a_file_named_after_its_type(
    umad: Umad, nano_path: Path, tmp_path: Path
) -> None:
    source = tmp_path / "model-F16.gguf"
    shutil.copy(nano_path, source)

    told = umad("quantize", str(source), "--again", "--type", "q4_k_m", "--dry-run", "--json")
    done = umad("quantize", str(source), "--again", "--type", "q4_k_m")

    small = tmp_path / "model-q4_k_m.gguf"
    assert (told.code, done.code) == (0, 0), done.err
    assert str(small) in done.out
    assert "times the source's" in done.out
    size = json.loads(told.out)["target_bytes"]
    assert read_header(small).file_bytes == pytest.approx(size, rel=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, small.name]


def test_quantize_refuses_a_source_that_is_quantized_already_in_one_line(
    umad: Umad, nano_path: Path
) -> None:
    ended = umad("quantize", str(nano_path), "--type", "q4_k_m", "--dry-run")

    assert ended.code == 2
    assert "quantized already" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("model-F16.gguf", "model-q4_k_m.gguf"),
        ("model.BF16-00001-of-00003.gguf", "model-q4_k_m.gguf"),
        ("model.gguf", "model-q4_k_m.gguf"),
        ("half16.gguf", "half16-q4_k_m.gguf"),
    ],
)
def test_a_result_is_named_after_its_source(source: str, target: str) -> None:
    assert target_of(Path("/m") / source, "q4_k_m") == Path("/m") / target
