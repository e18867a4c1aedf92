"""A model file made to cost whoever looks at it: refused before it has, here and by llama.cpp."""

import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.harness import engine
from tests.models.gguf_bytes import ARRAY, STRING, U32, gguf, text
from umad.errors import ModelLoadFailed
from umad.models.gguf import parts, read_header

# A header of a real model takes milliseconds and less than this.
MOST_BYTES = 24 * 2**20
MOST_CPU_S = 1.5


def head(n_tensors: int, n_values: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_values)


def one_value(key: str, kind: int, body: bytes) -> bytes:
    return head(0, 1) + text(key) + struct.pack("<I", kind) + body


def strings(length: int, body: bytes) -> bytes:
    return one_value("a.b", ARRAY, struct.pack("<IQ", STRING, length) + body)


EMPTY_TENSOR = struct.pack("<QIIQ", 0, 0, 0, 0)
BOMBS: dict[str, Callable[[], bytes]] = {
    # The audit's: 106 MB and 5.8 s.
    "a million empty tensors": lambda: head(10**6, 0) + EMPTY_TENSOR * 10**6,
    "a million keys": lambda: (
        head(0, 10**6) + b"".join(text(f"{n:06}") + struct.pack("<IB", 0, 1) for n in range(10**6))
    ),
    "2**64 tensors": lambda: head(2**64 - 1, 0),
    "2**64 values": lambda: head(0, 2**64 - 1),
    "a key of 20 MB": lambda: head(0, 1) + text("k" * 20_000_000),
    "a key of 2**64 bytes": lambda: head(0, 1) + struct.pack("<Q", 2**64 - 1),
    "a text of 24 MB": lambda: one_value("a.b", STRING, text("x" * 24_000_000)),
    "texts of 24 MB together": lambda: (
        head(0, 24)
        + b"".join(text(f"k{n}") + struct.pack("<I", STRING) + text("x" * 10**6) for n in range(24))
    ),
    "three million empty strings": lambda: strings(3 * 10**6, bytes(24 * 10**6)),
    "2**64 strings": lambda: strings(2**64 - 1, bytes(64)),
    "arrays of a million numbers that would be kept": lambda: (
        head(0, 250)
        + b"".join(
            text(f"k{n}") + struct.pack("<IIQ", ARRAY, 0, 4096) + bytes(4096) for n in range(250)
        )
    ),
    "arrays within arrays": lambda: one_value(
        "a.b", ARRAY, struct.pack("<IQ", ARRAY, 1) * 10**5 + bytes(64)
    ),
    "an array of 2**62 numbers": lambda: one_value("a.b", ARRAY, struct.pack("<IQ", U32, 2**62)),
    "a tensor of 2**32 dimensions": lambda: head(1, 0) + text("t") + struct.pack("<I", 2**32 - 1),
    "the same key twice": lambda: head(0, 2) + (text("k") + struct.pack("<IB", 0, 1)) * 2,
    "a tensor of negative length": lambda: gguf({}, [("t", (2**63,), 0, 0)]),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_header_made_to_cost_is_refused_for_next_to_nothing(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.gguf"
    path.write_bytes(BOMBS[bomb]())

    before_s = time.process_time()
    with pytest.raises(ModelLoadFailed) as caught:
        read_header(path)
    cpu_s = time.process_time() - before_s
    tracemalloc.start()
    with pytest.raises(ModelLoadFailed):
        read_header(path)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "\n" not in caught.value.message
    assert cpu_s < MOST_CPU_S
    assert peak_bytes < MOST_BYTES


@pytest.mark.parametrize(
    "bomb", ["a million empty tensors", "three million empty strings", "2**64 values"]
)
def test_an_engine_refuses_it_before_llama_cpp_has_seen_it(bomb: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.gguf"
    path.write_bytes(BOMBS[bomb]())

    with engine(path) as running:
        fatal = running.fatal()
        wrote = running.stderr

    assert fatal.code == "model_load_failed"
    assert "no model's has" in fatal.message
    assert "llama_model_load" not in wrote


def test_a_model_of_a_billion_parts_is_refused_without_naming_them(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00002.gguf"
    path.write_bytes(gguf({"general.architecture": "llama", "split.count": 2**32 - 1}))

    with pytest.raises(ModelLoadFailed, match="4294967295 parts"):
        parts(path, read_header(path))


def test_a_part_that_is_a_pipe_keeps_nobody_waiting(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(gguf({"general.architecture": "llama", "split.count": 2, "split.no": 0}))
    os.mkfifo(tmp_path / "m-00002-of-00002.gguf")

    with engine(first) as running:
        fatal = running.fatal()

    assert "is no file" in fatal.message


def test_a_model_of_a_billion_layers_is_refused_before_anything_is_made_for_each(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep.gguf"
    path.write_bytes(
        gguf({"general.architecture": "llama", "llama.block_count": 2**32 - 1}, [("x", (1,), 0, 4)])
    )

    with engine(path) as running:
        fatal = running.fatal()

    assert "layers" in fatal.message


def test_the_largest_header_there_may_be_is_read_within_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "full.gguf"
    values = [text(f"k{n}") + struct.pack("<IB", 0, 1) for n in range(4096)]
    tensors = [text(f"blk.{n}.ffn_gate_exps.weight") + EMPTY_TENSOR[8:] for n in range(2**15)]
    path.write_bytes(head(2**15, 4096) + b"".join(values + tensors))

    before_s = time.process_time()
    header = read_header(path)
    cpu_s = time.process_time() - before_s

    assert len(header.tensors) == 2**15
    assert cpu_s < MOST_CPU_S
