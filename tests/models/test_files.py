"""Which files one model has, and files made to cost or to deceive."""

import math
import os
import struct
import time
from pathlib import Path

import pytest

from tests.engine.harness import engine
from tests.models.gguf_bytes import ARRAY, STRING, gguf, text
from umad.errors import ModelLoadFailed
from umad.models.facts import facts_of, problem_of
from umad.models.files import (
    joined,
    quantization_in,
    sorted_out,
    stem_of,
    whole_headers,
)
from umad.models.gguf import read_header

LLAMA = {"general.architecture": "llama", "llama.block_count": 1}
TENSOR = ("blk.0.attn_q.weight", (32,), 0, 128)
# "Quickly": what the slowest header may cost, a few times over on a busy machine.
MOST_CPU_S = 4.0


def part(number: int, count: int, *, n_tensors: int | None = None, name: str = "") -> bytes:
    split: dict[str, object] = {"split.no": number, "split.count": count}
    if n_tensors is not None:
        split["split.tensors.count"] = n_tensors
    one = (name or f"blk.{number}.attn_q.weight", (32,), 0, 128)
    return gguf(LLAMA | split if number == 0 else split, [one])


def split_model(folder: Path, count: int, n_tensors: int | None = None) -> list[Path]:
    paths = [folder / f"m-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        path.write_bytes(part(number, count, n_tensors=n_tensors))
    return paths


@pytest.mark.parametrize(
    ("file", "stem", "quantization"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q4_K_M", "Q4_K_M"),
        ("qwen2.5-coder-7b-q8_0.gguf", "qwen2.5-coder-7b-q8_0", "Q8_0"),
        ("gemma-4-26B-A4B-it-UD-Q4_K_M.gguf", "gemma-4-26B-A4B-it-UD-Q4_K_M", "UD-Q4_K_M"),
        ("gpt-oss-20b-mxfp4.gguf", "gpt-oss-20b-mxfp4", "MXFP4"),
        ("nomic-embed-text-v1.5.f16.gguf", "nomic-embed-text-v1.5.f16", "F16"),
        ("Big-BF16-00002-of-00003.gguf", "Big-BF16", "BF16"),
        ("model-IQ2_XXS.gguf", "model-IQ2_XXS", "IQ2_XXS"),
        ("mystery.gguf", "mystery", ""),
        ("Qwen3-8B.gguf", "Qwen3-8B", ""),
    ],
)
def test_a_files_name_says_the_models_name_and_quantization(
    file: str, stem: str, quantization: str
) -> None:
    assert (stem_of(file), quantization_in(file)) == (stem, quantization)


def test_the_files_of_a_folder_are_sorted_into_models(tmp_path: Path) -> None:
    names = [
        "a-Q4_K_M.gguf",
        "mmproj-F32.gguf",
        "mmproj-F16.gguf",
        "imatrix.gguf",
        "mtp-a.gguf",
        "README.md",
        "Q8_0/a-Q8_0-00002-of-00002.gguf",
        "Q8_0/a-Q8_0-00001-of-00002.gguf",
    ]

    found = sorted_out(tmp_path / name for name in names)

    assert [[path.name for path in one.parts] for one in found] == [
        ["a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"],
        ["a-Q4_K_M.gguf"],
    ]
    assert [one.projector and one.projector.name for one in found] == ["mmproj-F16.gguf"] * 2


def test_a_name_with_an_absurd_number_of_parts_is_a_file_alone(tmp_path: Path) -> None:
    (found,) = sorted_out([tmp_path / "m-00001-of-99999.gguf"])

    assert len(found.parts) == 1


def test_a_split_model_is_read_whole(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 3, n_tensors=3)

    headers = whole_headers(paths[0])

    assert len(joined(headers).tensors) == 3
    assert facts_of(joined(headers)).n_params == 96


def missing(paths: list[Path]) -> None:
    paths[1].unlink()


def cut_short(paths: list[Path]) -> None:
    paths[1].write_bytes(paths[1].read_bytes()[:-40])


def twice_the_first(paths: list[Path]) -> None:
    paths[1].unlink()
    paths[1].symlink_to(paths[0])


def hard_linked_to_another(paths: list[Path]) -> None:
    paths[2].unlink()
    os.link(paths[1], paths[2])


def in_a_circle(paths: list[Path]) -> None:
    paths[1].unlink()
    paths[2].unlink()
    paths[1].symlink_to(paths[2])
    paths[2].symlink_to(paths[1])


def of_another_model(paths: list[Path]) -> None:
    paths[1].write_bytes(part(1, 7))


def in_the_wrong_order(paths: list[Path]) -> None:
    second = paths[1].read_bytes()
    paths[1].write_bytes(paths[2].read_bytes())
    paths[2].write_bytes(second)


def without_a_number(paths: list[Path]) -> None:
    paths[1].write_bytes(gguf({}, [TENSOR]))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (missing, "m-00002-of-00003.gguf does not exist"),
        (cut_short, "cut short"),
        (twice_the_first, "the same file as m-00001-of-00003.gguf"),
        (hard_linked_to_another, "the same file as m-00002-of-00003.gguf"),
        (in_a_circle, "cannot be read"),
        (of_another_model, "not part 2 of 3 of its model: it says part 2 of 7"),
        (in_the_wrong_order, "not part 2 of 3 of its model: it says part 3 of 3"),
        (without_a_number, "it says part none of 3"),
    ],
)
def test_parts_that_are_no_whole_are_refused_in_a_line(
    tmp_path: Path, harm: object, words: str
) -> None:
    paths = split_model(tmp_path, 3)
    harm(paths)  # type: ignore[operator]

    with pytest.raises(ModelLoadFailed, match=words) as caught:
        whole_headers(paths[0])

    assert "\n" not in caught.value.message


def test_parts_with_fewer_tensors_than_their_model_are_refused(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 2, n_tensors=5)

    with pytest.raises(ModelLoadFailed, match="have 2 of 5 tensors"):
        whole_headers(paths[0])


def test_a_later_part_is_told_to_give_the_first(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 2)

    with pytest.raises(ModelLoadFailed, match="give the first"):
        whole_headers(paths[1])


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2**32, 2**32), id="2**64 weights"),
        pytest.param((2**63 - 1, 2**63 - 1), id="two lengths at the limit"),
        pytest.param((2**21, 2**21, 2**21, 2**21), id="2**84 weights"),
    ],
)
def test_a_tensor_whose_size_overflows_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "bomb.gguf"
    path.write_bytes(gguf(LLAMA, [("x", shape, 0, 64)]))

    with pytest.raises(ModelLoadFailed, match="weights"):
        whole_headers(path)


@pytest.mark.parametrize("number", [math.nan, math.inf, [1.0, math.nan], [-math.inf, math.inf]])
def test_a_number_that_is_none_is_no_reason_to_fail(tmp_path: Path, number: object) -> None:
    path = tmp_path / "odd.gguf"
    keys = ("llama.block_count", "llama.context_length", "llama.expert_count")
    metadata = {
        "general.architecture": "llama",
        "general.sampling.temp": math.inf,
        **dict.fromkeys(keys, number),
    }
    path.write_bytes(gguf(metadata, [("a.weight", (32, 2), 1, 128)]))

    facts = facts_of(joined(whole_headers(path)))

    assert (facts.trained_tokens, facts.n_layers) in ((0, 0), (1, 1))
    assert facts.sampling == {}


def test_an_offset_at_the_end_of_64_bits_is_a_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gguf"
    data = bytearray(gguf(LLAMA, [("x", (32,), 0, 128)]))
    at = data.index(text("x")) + len(text("x")) + 4 + 8  # its type and offset
    data[at : at + 12] = struct.pack("<IQ", 0, 2**64 - 32)
    path.write_bytes(data)

    with pytest.raises(ModelLoadFailed, match="cut short"):
        whole_headers(path)


def test_a_thousand_costly_parts_cost_no_more_than_a_few(tmp_path: Path) -> None:
    """Each part may have a header of a hundred megabytes by itself; together they may not."""
    n_strings = 200_000
    vocabulary = struct.pack("<IIQ", ARRAY, STRING, n_strings) + bytes(8) * n_strings
    count = 1000
    for number in range(count):
        head = text("split.no") + struct.pack("<II", 4, number)
        head += text("split.count") + struct.pack("<II", 4, count)
        body = b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + head + text("x.y") + vocabulary
        path = tmp_path / f"m-{number + 1:05}-of-{count:05}.gguf"
        if number == 0:
            path.write_bytes(part(0, count))
        elif number < 60:
            path.write_bytes(body)

    began_s = time.process_time()
    with pytest.raises(ModelLoadFailed, match="headers of its parts") as caught:
        whole_headers(tmp_path / f"m-00001-of-{count:05}.gguf")

    assert time.process_time() - began_s < MOST_CPU_S
    assert "\n" not in caught.value.message


def test_an_engine_refuses_parts_in_a_circle_before_llama_cpp_has_seen_them(tmp_path: Path) -> None:
    paths = split_model(tmp_path, 2)
    twice_the_first(paths)

    with engine(paths[0]) as running:
        fatal = running.fatal()
        wrote = running.stderr

    assert "the same file as" in fatal.message
    assert "llama_model_load" not in wrote


@pytest.mark.parametrize(
    ("metadata", "tensor", "words"),
    [
        ({"general.architecture": "gemma3"}, "v.blk.0.attn_q.weight", "Ollama's engine reads"),
        ({"general.architecture": "gptoss"}, "blk.0.attn_q.weight", "of Ollama's engine alone"),
        ({"general.architecture": "clip"}, "v.blk.0.attn_q.weight", "projector"),
        (
            {"general.architecture": "llama", "general.type": "adapter"},
            "blk.0.attn_q.weight.lora_a",
            "adapter",
        ),
        ({"general.architecture": "llama"}, "blk.0.attn_q.weight", ""),
    ],
)
def test_a_file_that_llama_cpp_cannot_open_says_why(
    tmp_path: Path, metadata: dict[str, object], tensor: str, words: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(metadata, [(tensor, (32,), 0, 128)]))

    problem = problem_of(read_header(path))

    assert words in problem
    assert bool(problem) == bool(words)


def test_hidden_files_are_no_models() -> None:
    """macOS puts `._NAME` beside each file on a disk of another system."""
    names = ("fox.gguf", "._fox.gguf", ".gguf", "._mmproj-F16.gguf")

    found = sorted_out(Path("/models") / name for name in names)

    assert [(one.main.name, one.projector) for one in found] == [("fox.gguf", None)]
