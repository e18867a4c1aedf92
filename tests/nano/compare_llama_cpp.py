"""Compare nano.gguf in llama.cpp with the same file in torch. A script, not a test.

`python tests/nano/compare_llama_cpp.py --out RUN --gguf FILE` needs the `train` extra and
llama-cpp-python; it writes RUN/llama_cpp.json and RUN/samples.json, which the card shows.
Owner: nobody's state.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from pathlib import Path

# Outside the package, where nothing of umad depends on it.
import llama_cpp  # noqa: TID251
import numpy as np
import torch

from umad.nano.train import corpus, tokenizer
from umad.nano.train.evaluate import load_gguf

log = logging.getLogger("umad.nano.compare")

WINDOW_TOKENS = 512
FIM_PROMPT = (
    f"{corpus.FIM_PREFIX}def read_lines(path):\n    with open(path) as f:\n"
    f"{corpus.FIM_SUFFIX}    return lines\n{corpus.FIM_MIDDLE}"
)


def question(text: str) -> str:
    return f"{corpus.IM_START}user\n{text}{corpus.IM_END}\n{corpus.IM_START}assistant\n"


SAMPLES = {
    "`def fibonacci(n):`": ("def fibonacci(n):", 64),
    "A class": ("class Stack:\n    def __init__(self):", 96),
    "Imports": ("import os\n\ndef", 80),
    "Fill in the middle": (FIM_PROMPT, 48),
    "A question in ChatML": (question("What does `os.path.join` do?"), 64),
    "Another": (question("Who are you?"), 48),
}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def compare(out: Path, path: Path, *, n_windows: int) -> dict[str, object]:
    documents = corpus.read(corpus.stdlib_root())
    _, held_out = corpus.split(documents)
    bpe = tokenizer.load(out / "tokenizer.json")
    peer = llama_cpp.Llama(
        str(path), n_ctx=WINDOW_TOKENS, logits_all=True, verbose=False, n_threads=2
    )
    texts = [d.text[:4000] for d in held_out] + [d.text[-3000:] for d in documents[::10]]
    texts += ["a\tb\n\n\n   x  \r\n", "é ü 中文 🙂 '''it's'''", "    \n\t\n        return", ""]
    equal = sum(
        peer.tokenize(t.encode(), add_bos=False, special=True) == bpe.encode(t).ids for t in texts
    )
    log.info("equal token ids: %d of %d texts", equal, len(texts))
    model = load_gguf(path)
    mine_nats = peer_nats = 0.0
    agreed = n_bytes = n_tokens = 0
    correlations: list[float] = []
    stream = tokenizer.encode(bpe, [(d.text + corpus.END,) for d in held_out])
    starts = np.linspace(0, len(stream) - WINDOW_TOKENS, n_windows).astype(int)
    for start in starts:
        ids = stream[start : start + WINDOW_TOKENS].astype(np.int64)
        peer.reset()  # type: ignore[no-untyped-call]
        peer.eval(ids.tolist())
        theirs = np.array(peer.scores[: len(ids) - 1], dtype=np.float64)
        with torch.no_grad():
            mine = model(torch.from_numpy(ids)[None])[0, :-1].double().numpy()
        rows = np.arange(len(ids) - 1)
        mine_nats -= log_softmax(mine)[rows, ids[1:]].sum()
        peer_nats -= log_softmax(theirs)[rows, ids[1:]].sum()
        agreed += int((mine.argmax(-1) == theirs.argmax(-1)).sum())
        correlations.append(float(np.corrcoef(mine.ravel(), theirs.ravel())[0, 1]))
        n_tokens += len(rows)
        n_bytes += len(bpe.decode(ids[1:].tolist(), skip_special_tokens=False).encode())
    return {
        "version": llama_cpp.__version__,
        "n_texts": len(texts),
        "equal_texts": equal,
        "n_tokens": n_tokens,
        "bits_per_byte": peer_nats / math.log(2) / n_bytes,
        "torch_bits_per_byte": mine_nats / math.log(2) / n_bytes,
        "top1_agreement": agreed / n_tokens,
        "correlation": min(correlations),
    }


def sampled(path: Path) -> dict[str, str]:
    """Greedy continuations; `⟶` stands between prompt and continuation."""
    peer = llama_cpp.Llama(str(path), n_ctx=1024, verbose=False, n_threads=2)
    found: dict[str, str] = {}
    for title, (prompt, n_tokens) in SAMPLES.items():
        reply = peer.create_completion(prompt, max_tokens=n_tokens, temperature=0.0, seed=1)
        found[title] = f"{prompt}⟶{reply['choices'][0]['text']}"  # type: ignore[index]
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=24)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = compare(options.out, options.gguf, n_windows=options.windows)
    (options.out / "llama_cpp.json").write_text(json.dumps(found, indent=2))
    log.info("%s", json.dumps(found, indent=2))
    samples = sampled(options.gguf)
    (options.out / "samples.json").write_text(json.dumps(samples, indent=2))
    for title, text in samples.items():
        log.info("=== %s\n%s", title, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
