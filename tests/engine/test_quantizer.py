"""A model's file quantized: told, written, checked, named; or nothing at all."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.models.gguf_bytes import gguf
from umad.engine import quantizer
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.llama import LlamaError
from umad.engine.llamacpp.quantizing import fitting_kind, write
from umad.engine.quantizer import Quantization, quantize
from umad.errors import BadRequest, Cancelled, ModelLoadFailed, ModelTooLarge
from umad.models.gguf import read_header
from umad.quantization import LADDER, QuantizeKind, QuantizeProgress, SizeTold

MB = 1_000_000
Q4_K = 12  # ggml's number of the type


@pytest.fixture(scope="module")
def whole(nano_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano with weights of 16 bits, as makers publish models."""
    path = tmp_path_factory.mktemp("whole") / "nano-f16.gguf"
    Quantization(nano_path, path, "f16", again=True, kept_free_bytes=0).run()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_size_is_told_before_and_the_file_is_that_large(whole: Path, tmp_path: Path) -> None:
    told: list[SizeTold] = []
    seen: list[QuantizeProgress] = []
    work = Quantization(whole, tmp_path / "small.gguf", "q4_k_m")

    done = work.run(on_size=told.append, on_progress=seen.append)

    header = read_header(tmp_path / "small.gguf")
    assert header.file_bytes == done.n_bytes == pytest.approx(told[0].target_bytes, rel=0.01)
    assert Q4_K in {tensor.type_number for tensor in header.tensors}
    assert [one.done for one in seen] == list(range(1, seen[-1].total + 1))
    assert done.check is not None
    assert 0.9 < done.check.ratio < 1.5
    assert names(tmp_path) == ["small.gguf"]


def test_a_quantization_that_is_stopped_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    work = Quantization(whole, tmp_path / "small.gguf", "q4_k_m")

    with pytest.raises(Cancelled):
        work.run(on_progress=lambda _progress: work.stop())

    assert names(tmp_path) == []


def test_one_that_was_stopped_before_it_began_does_not_begin(whole: Path, tmp_path: Path) -> None:
    work = Quantization(whole, tmp_path / "small.gguf", "q8_0")
    work.stop()

    with pytest.raises(Cancelled):
        work.run()

    assert names(tmp_path) == []


def test_a_child_that_is_killed_leaves_nothing_and_is_no_success(
    whole: Path, tmp_path: Path
) -> None:
    work = Quantization(whole, tmp_path / "small.gguf", "q8_0")

    def kill(progress: QuantizeProgress) -> None:
        if progress.done == 1:
            assert work.pid is not None
            os.kill(work.pid, signal.SIGKILL)

    with pytest.raises(ModelLoadFailed, match="SIGKILL"):
        work.run(on_progress=kill)

    assert names(tmp_path) == []


def test_what_a_killed_program_left_is_removed_by_the_next(whole: Path, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f".other.gguf.{ended.pid}-0a.quantizing"
    at_work = tmp_path / f".another.gguf.{os.getpid()}-0a.quantizing"
    left.write_bytes(b"half")
    at_work.write_bytes(b"half")

    done = quantize(whole, tmp_path / "small.gguf", "auto")

    assert done.kind == "q8_0"  # nano fits anywhere
    assert names(tmp_path) == [at_work.name, "small.gguf"]


def test_a_file_that_is_there_is_not_written_over(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"mine")

    with pytest.raises(BadRequest, match="there already"):
        quantize(whole, tmp_path / "small.gguf", "q8_0")

    assert (tmp_path / "small.gguf").read_bytes() == b"mine"


def test_a_file_that_is_made_meanwhile_is_not_written_over(whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"

    def made_by_another(_progress: QuantizeProgress) -> None:
        target.write_bytes(b"another's")

    with pytest.raises(BadRequest, match="by somebody else meanwhile"):
        Quantization(whole, target, "q4_k_m").run(on_progress=made_by_another)

    assert names(tmp_path) == ["small.gguf"]
    assert target.read_bytes() == b"another's"


def test_a_source_whose_parts_are_missing_is_one_line(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    header = {"general.architecture": "llama", "split.count": 2, "split.no": 0}
    first.write_bytes(gguf(header, [("a.weight", (32, 2), 1, 128)]))

    with pytest.raises(ModelLoadFailed, match=r"m-00002-of-00002\.gguf does not exist"):
        Quantization(first, tmp_path / "small.gguf", "q8_0").size()


def test_a_source_that_is_quantized_already_is_refused(nano_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="quantized already"):
        quantize(nano_path, tmp_path / "small.gguf", "q4_k_m")

    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="no folder"):
        quantize(whole, tmp_path / "nowhere" / "small.gguf", "q8_0")


def test_a_disk_without_room_is_found_before_anything_is_written(
    whole: Path, tmp_path: Path
) -> None:
    work = Quantization(whole, tmp_path / "small.gguf", "q8_0", kept_free_bytes=2**60)

    with pytest.raises(BadRequest, match="are to stay free"):
        work.run()

    assert names(tmp_path) == []


def test_a_disk_that_fills_up_meanwhile_is_named_as_the_reason(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise LlamaError("failed to quantize: basic_ios::clear: iostream error")

    monkeypatch.setattr(llama, "quantize", fails)
    free = [10**12, 0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _at: SimpleNamespace(free=free.pop(0)))

    def attempt() -> None:
        target = tmp_path / "small.gguf"
        write(whole, target, "q8_0", again=False, on_progress=lambda _progress: None)

    with pytest.raises(ModelLoadFailed, match="iostream error"):
        attempt()
    with pytest.raises(BadRequest, match="became full"):
        attempt()


def test_a_result_that_reads_worse_than_its_type_explains_is_not_kept(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizer, "most_worse", lambda _kind: 0.5)

    with pytest.raises(ModelLoadFailed, match="nothing was kept"):
        quantize(whole, tmp_path / "small.gguf", "q8_0")

    assert names(tmp_path) == []


def test_auto_takes_the_largest_that_fits_the_machine(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama.start()
    sizes = [
        SizeTold(kind=rung.kind, source_bytes=12 * MB, target_bytes=round(rung.bits * 100 * MB))
        for rung in LADDER
    ]

    def chosen(machine_bytes: int) -> QuantizeKind:
        monkeypatch.setattr("umad.engine.llamacpp.fitting.memory_bytes", lambda: machine_bytes)
        return fitting_kind(whole, sizes).kind

    # Three quarters are for weights and context; nano's context of 4,096 tokens takes 30 MB.
    assert chosen(2000 * MB) == "q8_0"
    assert chosen(1000 * MB) == "q6_k"
    assert chosen(700 * MB) == "q4_k_m"
    with pytest.raises(ModelTooLarge, match="300 MB as q2_k") as caught:
        chosen(400 * MB)
    assert "4,096 tokens" in caught.value.message


def test_the_ladder_goes_down_and_allows_more_loss_on_each_rung() -> None:
    assert [rung.bits for rung in LADDER] == sorted((rung.bits for rung in LADDER), reverse=True)
    assert [rung.most_worse for rung in LADDER] == sorted(rung.most_worse for rung in LADDER)
