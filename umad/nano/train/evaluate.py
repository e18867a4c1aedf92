"""Score weights on the held-out files, in bits per byte. Not the check against llama.cpp.

`python -m umad.nano.train.evaluate --out RUN --gguf FILE` reads the GGUF itself, so that what is
scored is what ships, and writes RUN/evaluation.json. Owner: nobody's state.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from tokenizers import Tokenizer

from umad.nano.train import corpus, tokenizer
from umad.nano.train.model import Nano, Shape

log = logging.getLogger("umad.nano.evaluate")

WINDOW_TOKENS = 1024
FRESH_TOKENS = 512  # scored per window; the ones before them are context


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Loss over whole files, each from its first token."""

    bits_per_byte: float
    nats_per_token: float
    n_tokens: int
    n_bytes: int
    n_files: int


def load_gguf(path: Path) -> Nano:
    """The network of a GGUF written by `export`, dequantised to float32."""
    reader = gguf.GGUFReader(str(path))

    def field(key: str) -> Any:
        found = reader.get_field(f"llama.{key}")
        if found is None:
            raise ValueError(f"{path}: no llama.{key}")
        return found.contents()

    shape = Shape(
        n_vocab_tokens=field("vocab_size"),
        n_context_tokens=field("context_length"),
        width=field("embedding_length"),
        n_layers=field("block_count"),
        n_heads=field("attention.head_count"),
        n_kv_heads=field("attention.head_count_kv"),
        hidden=field("feed_forward_length"),
        rope_base=field("rope.freq_base"),
        norm_epsilon=field("attention.layer_norm_rms_epsilon"),
    )
    weights: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name.endswith("attn_q.weight"):
            array = halves(array, shape.n_heads)
        elif tensor.name.endswith("attn_k.weight"):
            array = halves(array, shape.n_kv_heads)
        name = tensor.name.replace("blk.", "blocks.")
        weights[name.replace("token_embd.weight", "token_embd")] = torch.from_numpy(array)
    model = Nano(shape)
    model.load_state_dict(weights)
    return model.eval()


def halves(weight: npt.NDArray[np.float32], n_heads: int) -> npt.NDArray[np.float32]:
    """The inverse of `export.interleaved`."""
    rows, columns = weight.shape
    pairs = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


@torch.no_grad()
def score(
    model: Nano,
    bpe: Tokenizer,
    documents: Sequence[corpus.Document],
    *,
    window_tokens: int = WINDOW_TOKENS,
    fresh_tokens: int = FRESH_TOKENS,
) -> Score:
    """Every token of every file once, with at least `window - fresh` tokens of context."""
    nats, n_tokens, n_bytes = 0.0, 0, 0
    for document in documents:
        text = corpus.END + document.text
        ids = torch.from_numpy(tokenizer.encode(bpe, [(text,)]).astype(np.int64))
        scored = 1
        while scored < len(ids):
            # The first window has nothing before it and is scored whole.
            stop = min(len(ids), max(scored + fresh_tokens, window_tokens))
            start = max(0, stop - window_tokens)
            logits = model(ids[None, start : stop - 1])[0]
            loss = functional.cross_entropy(
                logits[scored - start - 1 :], ids[scored:stop], reduction="sum"
            )
            nats += float(loss)
            scored = stop
        n_tokens += len(ids) - 1
        n_bytes += len(document.text.encode())
    return Score(
        bits_per_byte=nats / math.log(2) / n_bytes,
        nats_per_token=nats / n_tokens,
        n_tokens=n_tokens,
        n_bytes=n_bytes,
        n_files=len(documents),
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m umad.nano.train.evaluate")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--gguf", type=Path, required=True, help="the file to score")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--files", type=int, help="score so many files only, for a first look")
    parser.add_argument("--corpus", type=Path, default=corpus.stdlib_root())
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    _, held_out = corpus.split(corpus.read(options.corpus))
    held_out = held_out[: options.files]
    bpe = tokenizer.load(options.out / "tokenizer.json")
    model = load_gguf(options.gguf)
    result: dict[str, Any] = {"held_out": asdict(score(model, bpe, held_out))}
    log.info("held_out bits_per_byte=%.4f", result["held_out"]["bits_per_byte"])
    # Tests repeat themselves and are most of the bytes: say what the rest costs, too.
    modules = [d for d in held_out if "test" not in d.name]
    result["outside_tests"] = asdict(score(model, bpe, modules)) if modules else None
    # Does a long context help or harm? The same long files, by window; the very longest would
    # only take long.
    by_length = sorted(held_out, key=lambda d: len(d.text), reverse=True)
    long_files = [d for d in by_length if len(d.text) < 60_000][:3]
    result["n_long_files"] = len(long_files)
    result["by_window_tokens"] = {}
    for window_tokens in (512, 2048, 4096):
        found = score(
            model, bpe, long_files, window_tokens=window_tokens, fresh_tokens=window_tokens // 2
        )
        result["by_window_tokens"][str(window_tokens)] = found.bits_per_byte
        log.info("window_tokens=%d bits_per_byte=%.4f", window_tokens, found.bits_per_byte)
    (options.out / "evaluation.json").write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
