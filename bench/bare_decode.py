"""Decodes with nothing around llama.cpp: `python -m bench.bare_decode MODEL THREADS CELLS TYPE`.

This is what a program would do that has the library to itself, with the library's own defaults but
for the type of the KV cache (f16 or q8) and flash attention, which q8 needs. It reads one JSON
object a line and writes one a line.

    {"prompt": [ids], "n_tokens": n}   a greedy answer, one token a decode; ends do not end it. What
                                       the prompt before it began with, too, is not read again
        {"ms": of each token behind the first}
    {"rows": [1, 2, ...], "depth": n}  what so many rows of one sequence take behind n tokens
        {"ms": [of each number of rows, a median]}

It shares no code with umad. Owner: the process itself.
"""

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import llama_cpp.llama_cpp as lib  # noqa: TID251  (the other contender)
import numpy as np

_BATCH = 512
_TYPES = {"f16": 1, "q8": 8}
_REPETITIONS = 5


class BareDecoder:
    """One model and one context, in this process."""

    def __init__(self, model: str, *, threads: int, cells: int, kv_type: str) -> None:
        self._log = lib.llama_log_callback(lambda _level, _text, _data: None)
        lib.llama_log_set(self._log, ctypes.c_void_p())
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(
            model.encode(), lib.llama_model_default_params()
        )
        if not self._model:
            sys.exit(f"llama.cpp cannot open {model}")
        self._n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        params = lib.llama_context_default_params()
        params.n_ctx = -(-cells // 256) * 256
        params.n_batch = params.n_ubatch = _BATCH
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = _TYPES[kv_type]
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self._context = lib.llama_init_from_model(self._model, params)
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(_BATCH, 0, 1)
        # The tokens of the prompt that was read last. Their cells are those of sequence 0.
        self._held: list[int] = []

    def answer(self, prompt: Sequence[int], n_tokens: int) -> float:
        """Milliseconds for each token behind the first."""
        self._read(prompt[:-1])
        token, began_ns = prompt[-1], 0
        for at in range(n_tokens):
            self._decode([token], len(prompt) - 1 + at, rows=True)
            row = lib.llama_get_logits_ith(self._context, 0)
            token = int(np.ctypeslib.as_array(row, (self._n_vocab,)).argmax())
            began_ns = began_ns or time.perf_counter_ns()
        return (time.perf_counter_ns() - began_ns) / 1e6 / max(1, n_tokens - 1)

    def rows_ms(self, numbers: Sequence[int], depth: int) -> list[float]:
        """A median for each number of rows; they take turns."""
        self._read([at % 1000 + 100 for at in range(depth)])
        took: dict[int, list[float]] = {n: [] for n in numbers}
        for turn in range(_REPETITIONS):
            for n in numbers:
                began_ns = time.perf_counter_ns()
                self._decode([(at * 37 + turn) % 1000 + 100 for at in range(n)], depth, rows=True)
                lib.llama_synchronize(self._context)
                took[n].append((time.perf_counter_ns() - began_ns) / 1e6)
                lib.llama_memory_seq_rm(self._memory, 0, depth, -1)
        return [statistics.median(took[n]) for n in numbers]

    def _read(self, tokens: Sequence[int]) -> None:
        n = 0
        while n < min(len(tokens), len(self._held)) and tokens[n] == self._held[n]:
            n += 1
        if not lib.llama_memory_seq_rm(self._memory, 0, n, -1):
            n = 0
            lib.llama_memory_clear(self._memory, False)
        for start in range(n, len(tokens), _BATCH):
            self._decode(tokens[start : start + _BATCH], start, rows=False)
        lib.llama_synchronize(self._context)
        self._held = list(tokens)

    def _decode(self, tokens: Sequence[int], start: int, *, rows: bool) -> None:
        batch = self._batch
        for row, token in enumerate(tokens):
            batch.token[row], batch.pos[row] = token, start + row
            batch.n_seq_id[row], batch.logits[row] = 1, rows
            batch.seq_id[row][0] = 0
        batch.n_tokens = len(tokens)
        if lib.llama_decode(self._context, batch):
            sys.exit("llama_decode failed")


def _answered(decoder: BareDecoder, asked: dict[str, Any]) -> dict[str, Any]:
    if "rows" in asked:
        return {"ms": decoder.rows_ms(asked["rows"], asked["depth"])}
    return {"ms": decoder.answer(asked["prompt"], asked["n_tokens"])}


def main() -> None:
    """Serve lines until stdin closes."""
    model, threads, cells, kv_type = sys.argv[1:]
    decoder = BareDecoder(model, threads=int(threads), cells=int(cells), kv_type=kv_type)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answered(decoder, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
