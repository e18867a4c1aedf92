"""The benchmark of kernels: whose turn it is, what is marked, and models in other types."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import override

from bench import cache, kernels, requantized, shapes
from bench.arrivals import Arrival
from bench.errors import BenchError
from bench.kernel_servers import Asked, memory_of
from bench.kernels import MEASURES, PACKED, PLAIN, THEIRS, Measured
from bench.prompts import Prompts
from tests.models.byte_vocabulary import add_vocabulary
from umad.engine.llamacpp.repack_choice import Circumstances, Packable, pays
from umad.models.gguf import read_header

ASKED = Asked(threads=1, prompt_tokens=16, tokens=4, rounds=2, repetitions=2)
N_VOCAB = 384


class Scripted:
    """A server whose tokens come every so many milliseconds; it notes what happened to it."""

    def __init__(self, name: str, heard: list[str], *, each_ms: int = 1) -> None:
        self.name = name
        self._heard = heard
        self._each_ns = each_ms * 1_000_000

    def start(self) -> None:
        self._heard.append(f"{self.name} starts")

    def stop(self) -> None:
        self._heard.append(f"{self.name} stops")

    def generate(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[Arrival]]:
        self._heard.append(f"{self.name} {len(prompts)}x{len(prompts[0])}+{tokens}")
        arrivals = [Arrival(at_ns=n * self._each_ns, tokens=n) for n in range(1, tokens + 1)]
        return [arrivals for _ in prompts]

    def pid(self) -> int:
        return 1


def test_servers_run_alone_in_a_turning_order_and_throw_their_first_round_away() -> None:
    heard: list[str] = []
    servers = [Scripted("a", heard), Scripted("b", heard, each_ms=2)]

    samples = kernels.measure(
        servers,
        ASKED,
        Prompts(100, seed=0),
        memory=lambda _pid: (2**21, 2**20),
        progress=lambda _text: None,
    )

    assert [one for one in heard if "st" in one] == [
        *("a starts", "a stops", "b starts", "b stops"),
        *("b starts", "b stops", "a starts", "a stops"),
    ]
    assert heard[:5] == ["a starts", "a 1x3+1", "a 1x16+1", "a 1x32+4", "a 8x32+4"]
    assert samples["rows_ms"] == {"a": [1.0] * 4, "b": [2.0] * 4}
    assert samples["pss_mib"] == {"a": [2.0] * 2, "b": [2.0] * 2}


def test_a_server_that_fails_is_stopped() -> None:
    heard: list[str] = []

    class Failing(Scripted):
        @override
        def pid(self) -> int:
            raise BenchError("gone")

    with pytest.raises(BenchError, match="gone"):
        kernels.measure(
            [Failing("a", heard)],
            ASKED,
            Prompts(100, seed=0),
            memory=lambda _pid: (0, 0),
            progress=lambda _text: None,
        )

    assert heard[-1] == "a stops"


@pytest.mark.parametrize(("types", "choice"), [({2}, PACKED), (set[int](), PLAIN)])
def test_what_umad_took_is_read_from_what_it_logs(
    types: set[int], choice: str, caplog: pytest.LogCaptureFixture
) -> None:
    around = Circumstances(
        devices=(), file_bytes=2**30, left_bytes=2**33, is_beside=False, keeps_file=False
    )

    with caplog.at_level(logging.INFO):
        pays(Packable(by_type={2: 2**29}), types, around)

    assert kernels.chosen(f"{caplog.text}\nINFO umad.engine loaded model=m cells=256") == choice


def test_a_log_without_a_model_says_nothing() -> None:
    with pytest.raises(BenchError, match="loaded"):
        kernels.chosen("repack=on packed=100 MB")


def test_the_choice_is_marked_and_held_against_llama_server() -> None:
    samples = {
        measure: {PLAIN: [4.0, 4.0], PACKED: [3.0, 2.0], THEIRS: [2.0, 2.0]} for measure in MEASURES
    }
    measured = Measured(label="0.5b Q4_0", choice=PACKED, samples=samples)

    rows = list(kernels.table([measured]).columns[1].cells)

    assert rows == [PLAIN, f"{PACKED} *", THEIRS, f"* ÷ {THEIRS}"]
    assert measured.given_up("prompt_ms").median == 1.25


@pytest.mark.parametrize(("kind", "matrix_type"), [("f16", 1), ("q4_0", 2), ("iq4_xs", 23)])
def test_a_model_is_written_in_another_type_once(
    kind: str, matrix_type: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path))
    source = tmp_path / "tiny.gguf"
    shapes.write(shapes.SHAPES["tiny"], source, seed=0, vocabulary=add_vocabulary, n_vocab=N_VOCAB)

    path = requantized.variant(source, kind, threads=1)
    written_ns = path.stat().st_mtime_ns

    types = {one.name: one.type_number for one in read_header(path).tensors}
    assert types["blk.0.ffn_up.weight"] == matrix_type
    assert requantized.variant(source, kind, threads=1).stat().st_mtime_ns == written_ns
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_source_that_is_no_model_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path))
    source = tmp_path / "none.gguf"
    source.write_bytes(b"no model")

    with pytest.raises(BenchError, match="cannot be written as q4_0"):
        requantized.variant(source, "q4_0", threads=1)

    assert not list((tmp_path / "models").iterdir())


def test_experts_alone_come_in_mxfp4() -> None:
    assert kernels.model_of(kernels.GEMMA, "mxfp4", threads=1) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_private_memory_is_counted() -> None:
    before_pss, before = memory_of(os.getpid())

    taken = np.ones(2**26, np.uint8)

    pss, anonymous = memory_of(os.getpid())
    assert anonymous - before >= taken.nbytes // 2
    assert pss - before_pss >= taken.nbytes // 2
