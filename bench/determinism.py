"""Finds which ways of feeding the same tokens give the same bits. `python -m bench determinism`.

Two questions decide how a crashed stream is replayed, and whether "same seed, same output" holds
beside other work. Do the slices into which a prompt is cut matter? Does it matter what else shares
the batch or the pool? The answer comes from comparing logits and saved KV states byte for byte.
Not a measure of speed or quality; random weights and random tokens serve. Owner: the caller.

Results (2-core AMD EPYC with AVX-512, llama-cpp-python 0.3.36, CPU backend, 2 threads), with the
line of ggml-cpu that explains each:

- Q8_0 weights multiply exactly alike in every batch size. F16 weights do not: one row alone takes
  another kernel than two rows (`llamafile_sgemm` wants n >= 2).
- Flash attention over an F16 KV has three kernels: one row alone while the pool is used beyond
  512 cells (split over threads), up to 63 rows in the *batch* (not the slice), 64 and more
  (tiled). Within one kernel, neither slicing nor other streams change a bit; across them they do.
- Flash attention over a quantised KV has one kernel: Q8_0 weights with `kv_type: q8` give the
  same bits for every slicing, beside any other streams, and after a replay by prefill.
- Without flash attention a prompt fed row by row differs from any slicing.
- Always: the order of a stream's cells in the pool is the order of summation. So a stream that
  grows into holes left by others differs in its last bits. A stream whose cells lie behind the
  others' without a hole does not differ, with flash attention on.
"""

import argparse
import ctypes
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp.llama_cpp as lib  # noqa: TID251  (to write the F16 copy)
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench import cache, command, models
from bench.errors import BenchError
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions

SLICES = (1, 2, 4, 8, 16, 32, 63, 64, 128, 256)
# Below and above 512 cells: from there on ggml splits the attention of a lone row over threads.
PROMPTS = (192, 700)
_F16, _Q8_0 = 1, 8
_FTYPE_MOSTLY_F16 = 1
_CELLS, _BATCH, _SEQS = 4096, 512, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One combination of what may matter."""

    weights: str
    kv: str
    flash_attention: bool

    @property
    def name(self) -> str:
        """As a table row shows it."""
        return f"{self.weights}, kv {self.kv}, fa {'on' if self.flash_attention else 'off'}"


SETUPS = (
    Setup(weights="q8_0", kv="f16", flash_attention=True),
    Setup(weights="q8_0", kv="q8_0", flash_attention=True),
    Setup(weights="f16", kv="f16", flash_attention=True),
    Setup(weights="f16", kv="q8_0", flash_attention=True),
    Setup(weights="q8_0", kv="f16", flash_attention=False),
    Setup(weights="f16", kv="f16", flash_attention=False),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive tokens of one sequence in a step; logits of the last row when asked for."""

    seq: int
    start: int
    tokens: NDArray[np.int32]
    logits: bool = False


class Bench:
    """A context and a batch, fed by hand."""

    def __init__(self, model: llama.Model, setup: Setup, threads: int) -> None:
        kv_type = _F16 if setup.kv == "f16" else _Q8_0
        self.context = llama.Context(
            model,
            ContextOptions(
                n_cells=_CELLS,
                max_seqs=_SEQS,
                batch=_BATCH,
                ubatch=_BATCH,
                threads=threads,
                type_k=kv_type,
                type_v=kv_type,
                flash_attention=setup.flash_attention,
            ),
        )
        self._batch = llama.Batch(_BATCH)

    def step(self, *parts: Rows) -> NDArray[np.float32]:
        """Decode all parts at once; the logits rows asked for, in order, copied."""
        batch, at, wanted = self._batch, 0, 0
        for part in parts:
            end = at + part.tokens.size
            batch.token[at:end] = part.tokens
            batch.pos[at:end] = np.arange(part.start, part.start + part.tokens.size)
            batch.seq[at:end] = part.seq
            batch.wants_logits[at:end] = 0
            batch.wants_logits[end - 1] = part.logits
            wanted += part.logits
            at = end
        batch.set_rows(at)
        code = self.context.decode(batch)
        if code:
            raise BenchError(f"llama_decode returned {code}")
        rows: NDArray[np.float32] = self.context.logits(wanted).copy()
        return rows

    def feed(self, seq: int, tokens: NDArray[np.int32], slice_tokens: int) -> NDArray[np.float32]:
        """Prefill a whole prompt in slices; the last row's logits."""
        for start in range(0, tokens.size, slice_tokens):
            part = tokens[start : start + slice_tokens]
            last = start + part.size == tokens.size
            rows = self.step(Rows(seq, start, part, logits=last))
        last_row: NDArray[np.float32] = rows[0]
        return last_row


def _digest(logits: NDArray[np.float32], state: bytes = b"") -> str:
    return hashlib.sha256(logits.tobytes() + state).hexdigest()


def _letters(digests: Sequence[str]) -> str:
    """Equal digests get equal letters, in order of appearance."""
    seen: dict[str, str] = {}
    return " ".join(seen.setdefault(d, chr(ord("A") + len(seen))) for d in digests)


def slicing(bench: Bench, tokens: NDArray[np.int32]) -> str:
    """One letter for each of SLICES: same letter, same logits and same KV bytes."""
    digests = []
    for slice_tokens in SLICES:
        bench.context.clear()
        logits = bench.feed(0, tokens, slice_tokens)
        digests.append(_digest(logits, bench.context.whole(0)))
    return _letters(digests)


def company(bench: Bench, tokens: NDArray[np.int32]) -> Iterator[tuple[str, str]]:
    """(what, letters) of one decode row, alone first and then beside more and more work."""
    rng = np.random.default_rng(5)
    other = rng.integers(1000, 100_000, 600).astype(np.int32)
    prompt, last = tokens[:-1], tokens[-1:]
    mine = Rows(0, prompt.size, last, logits=True)

    def beside(*others: Rows) -> str:
        bench.context.clear()
        bench.feed(0, prompt, 32)
        for seq in {part.seq for part in others if part.start}:
            bench.feed(seq, other[:40], 32)
        return _digest(bench.step(mine, *others)[0])

    decodes = [Rows(seq, 40, other[:1], logits=True) for seq in range(1, 8)]
    rows = [beside()] + [beside(*decodes[:n]) for n in (1, 3, 7)]
    yield "decode alone, beside 1, 3, 7 decodes", _letters(rows)
    fills = [beside()] + [beside(Rows(1, 0, other[:n])) for n in (1, 16, 62, 63, 64, 128)]
    yield "decode alone, beside 1, 16, 62, 63, 64, 128 prefill", _letters(fills)


def placement(bench: Bench, tokens: NDArray[np.int32]) -> str:
    """Fed into an empty pool, behind another sequence, and into the holes one has left."""
    rng = np.random.default_rng(6)
    other = rng.integers(1000, 100_000, 600).astype(np.int32)
    digests = []
    bench.context.clear()
    digests.append(_digest(bench.feed(0, tokens, 32)))
    bench.context.clear()
    bench.feed(1, other[:100], 32)
    digests.append(_digest(bench.feed(0, tokens, 32)))
    bench.context.clear()
    for seq in (1, 2, 3, 4):
        bench.feed(seq, other[:24], 32)
    half = tokens.size // 2 // 32 * 32
    bench.feed(0, tokens[:half], 32)
    for seq in (1, 3):
        bench.context.trim(seq, 0)
    for start in range(half, tokens.size, 32):
        part = tokens[start : start + 32]
        rows = bench.step(Rows(0, start, part, logits=start + part.size == tokens.size))
    digests.append(_digest(rows[0]))
    return _letters(digests)


def f16_copy(path: Path) -> Path:
    """The same weights dequantised to F16, written once."""
    copy = path.with_name(path.stem.replace("q8_0", "f16") + ".gguf")
    with cache.exclusive("models"):
        if not copy.exists():
            partial = copy.with_suffix(".partial")
            params = lib.llama_model_quantize_default_params()
            params.ftype, params.allow_requantize, params.nthread = _FTYPE_MOSTLY_F16, True, 1
            if lib.llama_model_quantize(
                str(path).encode(), str(partial).encode(), ctypes.byref(params)
            ):
                raise BenchError(f"{path} could not be written as F16")
            partial.rename(copy)
    return copy


def run(options: argparse.Namespace, console: Console) -> None:
    """Compares and prints (and writes) the table."""
    llama.start()
    quantised = models.path(options.model)
    paths = {"q8_0": quantised, "f16": f16_copy(quantised)}
    table = Table("setup", "prompt", "what", "equal letters are equal bits")
    rows: list[tuple[str, str, str, str]] = []
    for setup in SETUPS:
        model = llama.Model(str(paths[setup.weights]))
        for n_tokens in PROMPTS:
            bench = Bench(model, setup, options.threads)
            tokens = np.random.default_rng(4).integers(1000, 100_000, n_tokens).astype(np.int32)
            found = [
                (f"slices of {SLICES}", slicing(bench, tokens)),
                *company(bench, tokens),
                ("pool empty, behind others, in holes", placement(bench, tokens)),
            ]
            rows += [(setup.name, str(n_tokens), what, letters) for what, letters in found]
            bench.context.close()
        model.close()
    for row in rows:
        table.add_row(*row)
    console.print(table)
    names = ("setup", "prompt", "what", "bits")
    plain = [dict(zip(names, row, strict=True)) for row in rows]
    command.write(options, {"benchmark": "determinism", "rows": plain})


def _parser() -> argparse.ArgumentParser:
    return command.parser("determinism", __doc__, model="tiny")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
