"""What a LoRA adapter's header says, and which adapters are kept away from llama.cpp."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.models.gguf_bytes import gguf
from umad.errors import ModelLoadFailed
from umad.models.adapters import looks_like_adapter, memory_bytes, misfit, read_adapter
from umad.models.gguf import GgufHeader, read_header

F16, F32, I32, NVFP4 = 1, 0, 26, 40
# (name, shape, type, bytes) of each.
Tensors = Sequence[tuple[object, ...]]
SAYS = {
    "general.architecture": "llama",
    "general.type": "adapter",
    "adapter.type": "lora",
    "adapter.lora.alpha": 4.0,
    "general.base_model.0.name": "nano",
}
WEIGHT = "blk.0.attn_q.weight"
PAIR = [(f"{WEIGHT}.lora_a", (64, 4), F16, 512), (f"{WEIGHT}.lora_b", (4, 32), F16, 256)]


def written(path: Path, metadata: Mapping[str, object], tensors: Tensors) -> Path:
    path.write_bytes(gguf(metadata, tensors))  # type: ignore[arg-type]
    return path


@pytest.fixture
def model(tmp_path: Path) -> GgufHeader:
    return read_header(
        written(
            tmp_path / "model.gguf",
            {"general.architecture": "llama"},
            [
                (WEIGHT, (64, 32), F32, 8192),
                ("token_embd.weight", (64, 100), F32, 25600),
                ("blk.0.ffn_up_exps.weight", (64, 32, 4), F32, 32768),
                ("blk.1.ffn_up_exps.weight", (64, 32, 4), NVFP4, 4608),
            ],
        )
    )


def adapter(folder: Path, tensors: Tensors, **says: object) -> GgufHeader:
    return read_header(written(folder / "a.gguf", {**SAYS, **says}, tensors))


def test_an_adapter_says_for_which_model_it_is_and_what_it_takes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gguf", SAYS, PAIR)

    facts, _ = read_adapter(path)

    assert looks_like_adapter(path)
    assert (facts.architecture, facts.base, facts.rank) == ("llama", "nano", 4)
    assert facts.size_bytes == memory_bytes([path]) == 512 + 256
    assert facts.n_weights == 1
    assert facts.invocation == ()


def test_an_activated_adapter_says_its_invocation(tmp_path: Path) -> None:
    says = {**SAYS, "adapter.alora.invocation_tokens": [7, 8, 9]}
    facts, _ = read_adapter(written(tmp_path / "a.gguf", says, PAIR))
    assert facts.invocation == (7, 8, 9)


def test_a_model_is_no_adapter(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", {"general.architecture": "llama"}, PAIR)
    assert not looks_like_adapter(path)
    with pytest.raises(ModelLoadFailed, match="is no adapter"):
        read_adapter(path)


def test_a_file_that_is_not_there_does_not_look_like_an_adapter(tmp_path: Path) -> None:
    assert not looks_like_adapter(tmp_path / "none.gguf")


@pytest.mark.parametrize("kind", ["loha", "vera"])
def test_another_kind_of_adapter_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "a.gguf", {**SAYS, "adapter.type": kind}, PAIR)
    with pytest.raises(ModelLoadFailed, match=kind):
        read_adapter(path)


def test_an_adapter_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gguf", SAYS, PAIR)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ModelLoadFailed, match="cut short"):
        read_adapter(path)


def test_an_adapter_with_holes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    # The first tensor's weights take 16 bytes of its megabyte.
    path = written(tmp_path / "a.gguf", SAYS, [("x_norm.weight", (4,), F32, 2**20), *PAIR])
    with pytest.raises(ModelLoadFailed, match="holes"):
        read_adapter(path)


def test_a_pipe_among_the_files_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert not looks_like_adapter(tmp_path / "pipe.gguf")


def test_an_invocation_that_is_no_list_of_some_tokens_is_refused(tmp_path: Path) -> None:
    for at, said in enumerate([5, list(range(300)), "word"]):
        says = {**SAYS, "adapter.alora.invocation_tokens": said}
        with pytest.raises(ModelLoadFailed, match="invocation"):
            read_adapter(written(tmp_path / f"{at}.gguf", says, PAIR))


FITS: dict[str, Tensors] = {
    "a weight": PAIR,
    "a norm, which llama.cpp leaves out": [*PAIR, ("blk.0.attn_norm.weight", (64,), F32, 256)],
    "the embedding": [
        ("token_embd.weight.lora_a", (4, 100), F16, 800),
        ("token_embd.weight.lora_b", (4, 64), F16, 512),
    ],
    "experts": [
        ("blk.0.ffn_up_exps.weight.lora_a", (64, 4, 4), F16, 2048),
        ("blk.0.ffn_up_exps.weight.lora_b", (4, 32, 4), F16, 1024),
    ],
}
MISFITS: dict[str, tuple[Tensors, str]] = {
    "a weight that the model does not have": (
        [
            ("blk.9.attn_q.weight.lora_a", (64, 4), F16, 512),
            ("blk.9.attn_q.weight.lora_b", (4, 32), F16, 256),
        ],
        "does not have",
    ),
    "other sides": (
        [(f"{WEIGHT}.lora_a", (32, 4), F16, 256), (f"{WEIGHT}.lora_b", (4, 32), F16, 256)],
        "other sides",
    ),
    "ranks that differ": (
        [(f"{WEIGHT}.lora_a", (64, 4), F16, 512), (f"{WEIGHT}.lora_b", (8, 32), F16, 512)],
        "other sides",
    ),
    "experts without their third side": (
        [
            ("blk.0.ffn_up_exps.weight.lora_a", (64, 4), F16, 512),
            ("blk.0.ffn_up_exps.weight.lora_b", (4, 32), F16, 256),
        ],
        "other sides",
    ),
    "experts of NVFP4": (
        [
            ("blk.1.ffn_up_exps.weight.lora_a", (64, 4, 4), F16, 2048),
            ("blk.1.ffn_up_exps.weight.lora_b", (4, 32, 4), F16, 1024),
        ],
        "NVFP4",
    ),
    "whole numbers": (
        [(f"{WEIGHT}.lora_a", (64, 4), I32, 1024), (f"{WEIGHT}.lora_b", (4, 32), I32, 512)],
        "no weights",
    ),
    "half a pair": ([PAIR[0]], "other half"),
    "no matrix at all": ([], "other half"),
    "something else": ([*PAIR, ("blk.0.attn_q.weight.dora", (64,), F32, 256)], "neither A nor B"),
}


@pytest.mark.parametrize("what", FITS)
def test_an_adapter_fits_a_model_that_has_its_weights(
    tmp_path: Path, model: GgufHeader, what: str
) -> None:
    assert misfit(adapter(tmp_path, FITS[what]), model) == ""


@pytest.mark.parametrize("what", MISFITS)
def test_an_adapter_that_llama_cpp_could_die_of_is_refused(
    tmp_path: Path, model: GgufHeader, what: str
) -> None:
    tensors, words = MISFITS[what]
    assert words in misfit(adapter(tmp_path, tensors), model)


def test_an_adapter_of_another_architecture_does_not_fit(tmp_path: Path, model: GgufHeader) -> None:
    found = misfit(adapter(tmp_path, PAIR, **{"general.architecture": "qwen2"}), model)
    assert "'qwen2'" in found
    assert "'llama'" in found
