"""Embeds texts with nothing around llama.cpp: `python -m bench.bare_embed MODEL THREADS ROWS`.

This is what a program would do that has the library to itself. It fills batches of up to ROWS
tokens with whole texts, decodes them, and scales what llama.cpp has pooled. It reads one JSON list
of texts a line, and writes one JSON object a line: the seconds that they took, and their vectors
(base64 of float32). It shares no code with umad. Owner: the process itself.
"""

import base64
import ctypes
import json
import sys
import time
from collections.abc import Iterator

import llama_cpp.llama_cpp as lib  # noqa: TID251  (the other contender)
import numpy as np
from numpy.typing import NDArray

_MOST_SEQS = 64
_MEAN = 1


class BareEmbedder:
    """One model and one context, in this process."""

    def __init__(self, model: str, *, threads: int, rows: int) -> None:
        self._log = lib.llama_log_callback(lambda _level, _text, _data: None)
        lib.llama_log_set(self._log, ctypes.c_void_p())
        lib.llama_backend_init()
        options = lib.llama_model_default_params()
        options.use_extra_bufts = False  # as umad opens models
        self._model = lib.llama_model_load_from_file(model.encode(), options)
        if not self._model:
            sys.exit(f"llama.cpp cannot open {model}")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._rows = rows
        self._context = self._make(lib.llama_context_default_params(), threads)
        if lib.llama_pooling_type(self._context) == lib.LLAMA_POOLING_TYPE_NONE:
            # As umad does where a file names no pooling.
            lib.llama_free(self._context)
            pooled = lib.llama_context_default_params()
            pooled.pooling_type = _MEAN
            self._context = self._make(pooled, threads)
        self._width = lib.llama_model_n_embd(self._model)
        self._batch = lib.llama_batch_init(rows, 0, 1)

    def _make(self, params: lib.llama_context_params, threads: int) -> lib.llama_context_p:
        params.n_ctx = params.n_batch = params.n_ubatch = self._rows
        params.n_outputs_max = self._rows
        params.n_seq_max = _MOST_SEQS
        params.n_threads = params.n_threads_batch = threads
        params.embeddings = True
        params.kv_unified = True
        made: lib.llama_context_p = lib.llama_init_from_model(self._model, params)
        return made

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """float32 (texts, width), each of length 1."""
        found = np.empty((len(texts), self._width), np.float32)
        for first, tokens in self._batches([self._tokens(text) for text in texts]):
            self._decode(tokens)
            for seq in range(len(tokens)):
                at = lib.llama_get_embeddings_seq(self._context, seq)
                found[first + seq] = np.ctypeslib.as_array(at, (self._width,))
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    def _batches(self, texts: list[list[int]]) -> Iterator[tuple[int, list[list[int]]]]:
        """As many texts as fit into each batch, and the place of the first."""
        first, batch, n_rows = 0, list[list[int]](), 0
        for at, tokens in enumerate(texts):
            if batch and (n_rows + len(tokens) > self._rows or len(batch) == _MOST_SEQS):
                yield first, batch
                first, batch, n_rows = at, [], 0
            batch.append(tokens)
            n_rows += len(tokens)
        if batch:
            yield first, batch

    def _tokens(self, text: str) -> list[int]:
        raw = text.encode()
        most = len(raw) + 16
        ids = (ctypes.c_int32 * most)()
        n = lib.llama_tokenize(self._vocab, raw, len(raw), ids, most, True, False)
        return ids[: min(n, self._rows)]

    def _decode(self, texts: list[list[int]]) -> None:
        batch, row = self._batch, 0
        for seq, tokens in enumerate(texts):
            for position, token in enumerate(tokens):
                batch.token[row], batch.pos[row] = token, position
                batch.n_seq_id[row], batch.logits[row] = 1, True
                batch.seq_id[row][0] = seq
                row += 1
        batch.n_tokens = row
        memory = lib.llama_get_memory(self._context)
        if memory:
            lib.llama_memory_clear(memory, False)
        if lib.llama_decode(self._context, batch):
            sys.exit("llama_decode failed")


def main() -> None:
    """Serve lines until stdin closes."""
    model, threads, rows = sys.argv[1:]
    embedder = BareEmbedder(model, threads=int(threads), rows=int(rows))
    for line in sys.stdin:
        texts = json.loads(line)
        began_ns = time.perf_counter_ns()
        vectors = embedder.vectors(texts)
        took_s = (time.perf_counter_ns() - began_ns) / 1e9
        answer = {"seconds": took_s, "vectors": base64.b64encode(vectors.tobytes()).decode()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
