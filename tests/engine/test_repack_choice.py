"""`repack: auto` packs where that pays, and never where it would do harm."""

import dataclasses
import logging
import mmap
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.harness import start
from umad import nano
from umad.config import EngineSettings
from umad.engine.launch import EngineOptions
from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.given_back import give_back
from umad.engine.llamacpp.repack_check import Repacking, RepackMemory, settled
from umad.engine.llamacpp.repack_choice import LEAST_BYTES, Circumstances, Packable, pays
from umad.models.gguf import GgufHeader, Tensor
from umad.protocol.link import Stop

GIB = 2**30
Q4_0, Q8_0 = 2, 8
CPU = Device(name="CPU", description="a CPU", kind="cpu", backend="CPU", memory_bytes=16 * GIB)
GPU = Device(name="GPU0", description="a GPU", kind="gpu", backend="Metal", memory_bytes=16 * GIB)
USUAL = Circumstances(
    devices=(CPU,), file_bytes=4 * GIB, left_bytes=16 * GIB, is_beside=False, keeps_file=False
)


def tensor(name: str, type_number: int, n_bytes: int) -> Tensor:
    per_block = {Q4_0: 18, Q8_0: 34}[type_number]
    shape = (32, n_bytes // per_block)
    return Tensor(name=name, shape=shape, type_number=type_number, offset=0)


def header(*tensors: Tensor) -> GgufHeader:
    return GgufHeader(metadata={}, array_lengths={}, tensors=tensors, data_at=0, file_bytes=0)


FOUR_BIT = Packable.of(
    [header(tensor("blk.0.ffn_up.weight", Q4_0, 3 * GIB), tensor("output.weight", Q8_0, GIB))]
)


def test_what_is_packed_is_every_matrix_of_a_type_that_kernels_pack() -> None:
    assert FOUR_BIT.n_bytes({Q4_0}) == pytest.approx(3 * GIB, abs=18)
    assert FOUR_BIT.n_bytes({Q4_0, Q8_0}) == pytest.approx(4 * GIB, abs=64)
    assert FOUR_BIT.n_bytes(set()) == 0


def test_rows_that_are_looked_up_are_not_packed() -> None:
    packable = Packable.of([header(tensor("token_embd.weight", Q4_0, GIB))])

    assert packable.n_bytes({Q4_0}) == 0


def test_a_split_model_counts_all_its_files() -> None:
    part = header(tensor("blk.0.ffn_up.weight", Q4_0, GIB))

    assert Packable.of([part, part]).n_bytes({Q4_0}) == pytest.approx(2 * GIB, abs=36)


def test_a_four_bit_model_on_a_cpu_is_packed_and_the_log_says_how_much(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        assert pays(FOUR_BIT, {Q4_0}, USUAL)

    assert [one.getMessage() for one in caplog.records] == ["repack=on packed=3221 MB"]


def test_weights_of_other_types_are_left_as_they_are() -> None:
    assert not pays(FOUR_BIT, set(), USUAL)


def test_a_model_is_left_as_it_is_where_few_of_its_matrices_could_be_packed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mostly_q8 = Packable.of(
        [header(tensor("blk.0.ffn_up.weight", Q4_0, GIB), tensor("output.weight", Q8_0, 9 * GIB))]
    )

    with caplog.at_level(logging.INFO):
        assert not pays(mostly_q8, {Q4_0}, USUAL)

    (line,) = [one.getMessage() for one in caplog.records]
    assert line == "repack=off: only 1074 MB of 10737 MB have packed kernels here"
    assert pays(mostly_q8, {Q4_0, Q8_0}, dataclasses.replace(USUAL, left_bytes=64 * GIB))


def test_more_than_half_of_the_memory_is_not_made_private(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert not pays(FOUR_BIT, {Q4_0}, dataclasses.replace(USUAL, left_bytes=5 * GIB))

    (line,) = [one.getMessage() for one in caplog.records]
    assert line == "repack=off: 3221 MB would be private memory, more than half of 5369 MB"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"devices": (GPU, CPU)}, "a GPU computes"),
        ({"keeps_file": True}, "the weights stay in their file"),
        ({"file_bytes": LEAST_BYTES - 1}, "the model is small"),
        ({"is_beside": True}, "another model has interactive work, which packing would disturb"),
    ],
)
def test_nothing_is_packed_where(change: dict[str, Any], why: str) -> None:
    assert USUAL.forbids == ""
    assert dataclasses.replace(USUAL, **change).forbids == why


@pytest.mark.parametrize(
    ("asked", "does_pay", "repacks"),
    [
        (None, True, True),
        (None, False, False),
        (True, False, True),
        (False, True, False),
    ],
    ids=["auto where it pays", "auto where not", "true always", "false never"],
)
def test_the_setting_has_the_last_word(
    asked: bool | None, does_pay: bool, repacks: bool, tmp_path: Path
) -> None:
    works = Repacking(faults={"CPU_REPACK": ""}, types=frozenset({Q4_0}))
    memory = RepackMemory(tmp_path / "repacking.json", "here", lambda: works)

    found = settled(EngineSettings(repack=asked), memory, lambda types: does_pay)

    assert found.repack is repacks


def test_auto_warns_nobody_where_the_kernels_do_not_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Repacking(faults={"CPU_REPACK": "signal SIGILL"})
    memory = RepackMemory(tmp_path / "repacking.json", "here", lambda: broken)

    with caplog.at_level(logging.INFO):
        assert settled(EngineSettings(), memory, lambda types: True).repack is False

    assert [one.levelname for one in caplog.records] == ["INFO"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_that_are_given_back_leave_memory_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(8 * 2**20))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        before = bytes(data)
        held = _resident_bytes(path)

        given = give_back([path])

        assert given >= 8 * 2**20
        assert held >= 8 * 2**20
        assert _resident_bytes(path) == 0
        assert bytes(data) == before


def _resident_bytes(path: Path) -> int:
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(1024 * int(one.split()[1]) for one in lines if one.startswith("Rss:"))
    return 0


def test_an_engine_does_not_pack_a_small_model_unasked(tmp_path: Path) -> None:
    options = EngineOptions(
        name="m", path=str(nano.path()), engine=EngineSettings(ctx_size=1024, gpu_layers=0)
    )

    with start(options, cache=tmp_path) as running:
        running.ready()
        running.send(Stop())
        assert running.wait() == 0
        said = running.stderr

    assert "repack=off: the model is small" in said
    assert not (tmp_path / "umad" / "repacking.json").exists()
