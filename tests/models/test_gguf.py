from pathlib import Path

import pytest

from tests.models.gguf_bytes import gguf
from umad import nano
from umad.errors import ModelLoadFailed
from umad.models.gguf import parts, read_header

METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.tokens": ["a", "bc", "é"],
    "llama.attention.head_count_kv": [4, 2],
}
# One row of 64 in Q8_0 is two blocks of 34 bytes; 8 in F32 are 32 bytes.
TENSORS = (("token_embd.weight", (64, 1), 8, 68), ("output_norm.weight", (8,), 0, 32))


def saved(tmp_path: Path, data: bytes, name: str = "model.gguf") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_metadata_and_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = saved(tmp_path, gguf(METADATA, TENSORS))

    header = read_header(path)

    assert header.architecture == "llama"
    assert header.own("block_count") == 2
    assert header.own("attention.head_count_kv") == (4, 2)
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert header.array_lengths["tokenizer.ggml.tokens"] == 3
    assert [(t.name, t.shape, t.size_bytes) for t in header.tensors] == [
        ("token_embd.weight", (64, 1), 68),
        ("output_norm.weight", (8,), 32),
    ]
    assert header.needed_bytes == header.file_bytes


def test_a_file_cut_at_any_byte_of_its_header_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = gguf(METADATA, TENSORS)
    header_bytes = read_header(saved(tmp_path, whole)).data_at - 31

    for length in range(header_bytes):
        path = saved(tmp_path, whole[:length])
        with pytest.raises(ModelLoadFailed) as caught:
            read_header(path)

        assert "\n" not in caught.value.message
        assert str(path) in caught.value.message


def test_a_file_whose_data_ends_too_soon_needs_more_bytes_than_it_has(tmp_path: Path) -> None:
    path = saved(tmp_path, gguf(METADATA, TENSORS)[:-40])

    header = read_header(path)

    assert header.needed_bytes > header.file_bytes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a model at all", "not a GGUF file"),
        (b"", "not a GGUF file"),
        (gguf(METADATA, version=9), "version 9"),
    ],
)
def test_what_is_no_gguf_is_called_so(tmp_path: Path, data: bytes, words: str) -> None:
    path = saved(tmp_path, data)

    with pytest.raises(ModelLoadFailed, match=words):
        read_header(path)


def test_a_missing_file_is_called_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="does not exist"):
        read_header(tmp_path / "none.gguf")


def test_a_split_model_names_all_its_parts(tmp_path: Path) -> None:
    data = gguf({**METADATA, "split.count": 3, "split.no": 0})
    path = saved(tmp_path, data, "big-00001-of-00003.gguf")

    found = parts(path, read_header(path))

    assert [part.name for part in found] == [f"big-0000{n}-of-00003.gguf" for n in (1, 2, 3)]


def test_a_later_part_of_a_split_model_asks_for_the_first(tmp_path: Path) -> None:
    data = gguf({**METADATA, "split.count": 3, "split.no": 1})
    path = saved(tmp_path, data, "big-00002-of-00003.gguf")

    with pytest.raises(ModelLoadFailed, match="give the first"):
        parts(path, read_header(path))


def test_the_model_that_ships_is_whole() -> None:
    header = read_header(nano.path())

    assert header.tensors
    assert header.needed_bytes == header.file_bytes
