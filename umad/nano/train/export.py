"""Write a checkpoint as GGUF: Q8_0 matrices, float32 norms, tokenizer and chat template.

`python -m umad.nano.train.export --out RUN --gguf FILE`. Not a converter for other models.
Owner: nobody's state; it reads the run's folder and writes one file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch

from umad.nano.train import corpus
from umad.nano.train.model import Nano, Shape
from umad.nano.train.tokenizer import PRE_TOKENIZER

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Array = npt.NDArray[np.float32]


def load(checkpoint: Path, *, weights: str) -> Nano:
    """The network of a checkpoint; `weights` is "model" or "average" (the running mean)."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    model = Nano(Shape(**state["shape"]))
    model.load_state_dict(state[weights])
    return model.eval()


def interleaved(weight: Array, n_heads: int) -> Array:
    """Reorder the rows of q or k from rotated halves to llama.cpp's neighbouring pairs."""
    rows, columns = weight.shape
    halves = weight.reshape(n_heads, 2, rows // n_heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def tensors(model: Nano) -> Iterator[tuple[str, Array]]:
    """Every tensor under its GGUF name. There is no output.weight: the embedding is tied."""
    shape = model.shape
    for name, value in model.state_dict().items():
        array: Array = value.float().numpy()
        if name.endswith("attn_q.weight"):
            array = interleaved(array, shape.n_heads)
        elif name.endswith("attn_k.weight"):
            array = interleaved(array, shape.n_kv_heads)
        if name == "token_embd":
            name = "token_embd.weight"
        yield name.replace("blocks.", "blk."), array


def write(model: Nano, tokenizer_json: Path, path: Path) -> None:
    """Write beside `path` and rename, so that a reader never meets half a file."""
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(str(partial), "llama")
    _add_metadata(writer, model.shape)
    _add_tokenizer(writer, json.loads(tokenizer_json.read_text())["model"])
    for name, array in tensors(model):
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def _add_metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name("nano")
    writer.add_description("A very small Python completion model, trained on the stdlib.")
    writer.add_license("PSF-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.n_vocab_tokens)
    writer.add_context_length(shape.n_context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)


def _add_tokenizer(writer: gguf.GGUFWriter, bpe: dict[str, Any]) -> None:
    ids: dict[str, int] = bpe["vocab"]
    tokens = sorted(ids, key=lambda token: ids[token])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([control if t in corpus.SPECIALS else normal for t in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]])
    writer.add_bos_token_id(ids[corpus.END])
    writer.add_eos_token_id(ids[corpus.END])
    writer.add_pad_token_id(ids[corpus.END])
    writer.add_eot_token_id(ids[corpus.IM_END])
    writer.add_uint32("tokenizer.ggml.fim_pre_token_id", ids[corpus.FIM_PREFIX])
    writer.add_uint32("tokenizer.ggml.fim_suf_token_id", ids[corpus.FIM_SUFFIX])
    writer.add_uint32("tokenizer.ggml.fim_mid_token_id", ids[corpus.FIM_MIDDLE])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m umad.nano.train.export")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--gguf", type=Path, required=True, help="the file to write")
    parser.add_argument("--weights", choices=("model", "average"), default="model")
    options = parser.parse_args(arguments)
    model = load(options.out / "checkpoint.pt", weights=options.weights)
    write(model, options.out / "tokenizer.json", options.gguf)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
