"""Measures the microseconds to sample one token: umad's numpy and llama.cpp's own chain, same rows.

Both read the logits buffer of one llama.cpp context, as they do in service: umad through a view,
llama.cpp through `llama_sampler_sample`. The buffer is filled with rows that look like a language
model's: Zipf's law, and a nearly even one for the worst case. Both take turns within each
repetition, so that the machine's other work falls on both alike. Before anything is timed, both
must keep the same tokens, with the same odds. Not: decoding.
"""

import argparse
import ctypes
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import llama_cpp.llama_cpp as lib  # noqa: TID251  (the other contender)
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench import command, shapes
from bench.errors import BenchError
from bench.table import Comparison, render
from umad.request import SamplingParams
from umad.sampling.cuts import draw
from umad.sampling.detokenizer import Detokenizer
from umad.sampling.sampler import Sampler
from umad.sampling.workspace import Workspace

Row = NDArray[np.float32]

_OFF = SamplingParams(temperature=0.8, top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0)
CHAINS = {
    "greedy": SamplingParams(temperature=0.0),
    "top-k 40, top-p, min-p, temperature": SamplingParams(),
    "the same, repetition penalty": SamplingParams(repetition_penalty=1.1),
    "temperature alone": _OFF,
    "top-p alone": dataclasses.replace(_OFF, top_p=0.95),
    "min-p alone": dataclasses.replace(_OFF, min_p=0.05),
    "top-k 40, typical": dataclasses.replace(_OFF, top_k=40, typical_p=0.9),
    "typical alone": dataclasses.replace(_OFF, typical_p=0.9),
}
# Those in which llama.cpp decides on few tokens. Over the whole vocabulary it adds up float32
# from one end to the other, and its top-p and typical are a token or two off what float64 says.
CHECKED = ("top-k 40, top-p, min-p, temperature", "top-k 40, typical", "min-p alone")
_HISTORY_TOKENS = 500


class Chain:
    """llama.cpp's sampler chain for some parameters, in the order of its `common_sampler`."""

    def __init__(self, params: SamplingParams, n_vocab: int, *, seed: int | None) -> None:
        """`seed`: None leaves out the last link, the draw."""
        options = lib.llama_sampler_chain_default_params()
        options.no_perf = True
        self.handle = lib.llama_sampler_chain_init(options)
        links = []
        if params.repetition_penalty != 1.0:
            links.append(
                lib.llama_sampler_init_penalties(
                    n_vocab, params.penalty_last_n, params.repetition_penalty, 0.0, 0.0
                )
            )
        if params.temperature == 0.0:
            links.append(lib.llama_sampler_init_greedy())
        else:
            if params.top_k:
                links.append(lib.llama_sampler_init_top_k(params.top_k))
            if params.typical_p < 1.0:
                links.append(lib.llama_sampler_init_typical(params.typical_p, 0))
            if params.top_p < 1.0:
                links.append(lib.llama_sampler_init_top_p(params.top_p, 0))
            if params.min_p > 0.0:
                links.append(lib.llama_sampler_init_min_p(params.min_p, 0))
            links.append(lib.llama_sampler_init_temp(params.temperature))
            if seed is not None:
                links.append(lib.llama_sampler_init_dist(seed))
        for link in links:
            lib.llama_sampler_chain_add(self.handle, link)

    def accept(self, tokens: list[int]) -> None:
        """Make these the history."""
        for token in tokens:
            lib.llama_sampler_accept(self.handle, token)

    def odds(self, row: Row) -> dict[int, float]:
        """Tokens that stay, ascending, and their probabilities."""
        data = (lib.llama_token_data * row.size)()
        fields = np.ctypeslib.as_array(data)
        fields["id"], fields["logit"] = np.arange(row.size), row
        array = lib.llama_token_data_array(data, row.size, -1, False)
        lib.llama_sampler_apply(self.handle, ctypes.byref(array))
        left = np.sort(fields[: array.size], order="id")
        weights = np.exp(left["logit"].astype(np.float64) - float(left["logit"].max()))
        shares = weights / weights.sum()
        return dict(zip(left["id"].tolist(), shares.tolist(), strict=True))

    def close(self) -> None:
        """Free the chain and its links."""
        lib.llama_sampler_free(self.handle)


class LogitsBuffer:
    """The logits of one decoded token in a llama.cpp context; ours to overwrite."""

    def __init__(self, model: Path) -> None:
        self._log = lib.llama_log_callback(lambda _level, _text, _data: None)
        lib.llama_log_set(self._log, ctypes.c_void_p())
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(
            str(model).encode(), lib.llama_model_default_params()
        )
        if not self._model:
            raise BenchError(f"llama.cpp cannot open {model}")
        self.n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        options = lib.llama_context_default_params()
        options.n_ctx = 64
        options.n_threads = options.n_threads_batch = 1
        self.context = lib.llama_init_from_model(self._model, options)
        token = (lib.llama_token * 1)(0)
        if lib.llama_decode(self.context, lib.llama_batch_get_one(token, 1)):
            raise BenchError("llama.cpp decoded nothing")
        logits = lib.llama_get_logits_ith(self.context, -1)
        self.row: Row = np.ctypeslib.as_array(logits, shape=(self.n_vocab,))

    def close(self) -> None:
        """Free the context and the model."""
        lib.llama_free(self.context)
        lib.llama_model_free(self._model)


def rows(n_vocab: int) -> dict[str, Row]:
    """A row as language models make them, and the worst case."""
    generator = np.random.default_rng(0)
    rank = generator.permutation(n_vocab) + 1.0
    zipf = 20.0 - 1.6 * np.log(rank) + generator.standard_normal(n_vocab) * 0.3
    even = generator.standard_normal(n_vocab) * 0.3
    return {"Zipf": zipf.astype(np.float32), "even": even.astype(np.float32)}


def check(row: Row, params: SamplingParams) -> int:
    """How many tokens llama.cpp keeps; raises unless umad keeps the same with the same odds.

    In the middle of each token's share of [0, 1), in the order of ids, umad must draw that token;
    so for rows of which few tokens are kept only, since umad sums many in another order.
    """
    chain = Chain(params, row.size, seed=None)
    odds = chain.odds(row)
    chain.close()
    space = Workspace.of_thread(row.size)
    peak = space.look(row)
    below = 0.0
    for token, share in odds.items():
        drawn = draw(space, peak, params, below + share / 2)
        if drawn != token:
            raise BenchError(f"llama.cpp keeps token {token}, umad draws {drawn} for it: {params}")
        below += share
    return len(odds)


def compare(
    buffer: LogitsBuffer, row: Row, *, repetitions: int, calls: int
) -> dict[str, dict[str, list[float]]]:
    """Microseconds a call by chain and contender, one median of `calls` per repetition."""
    samples: dict[str, dict[str, list[float]]] = {
        name: {"llama.cpp": [], "umad": []} for name in CHAINS
    }
    history = np.random.default_rng(1).integers(0, row.size, _HISTORY_TOKENS).tolist()
    for repetition in range(-1, repetitions):
        for name, params in CHAINS.items():
            buffer.row[:] = row
            chain = Chain(params, row.size, seed=1)
            chain.accept(history)
            sampler = Sampler(params, seed=1, n_vocab=row.size, eog=frozenset(), history=history)
            contenders: list[tuple[str, Callable[[int], object]]] = [
                ("llama.cpp", _chain_call(chain, buffer)),
                ("umad", _sampler_call(sampler, buffer.row)),
            ]
            if repetition % 2:
                contenders.reverse()
            for contender, call in contenders:
                median = _median_us(call, calls)
                if repetition >= 0:
                    samples[name][contender].append(median)
            chain.close()
    return samples


def _chain_call(chain: Chain, buffer: LogitsBuffer) -> Callable[[int], object]:
    sample, handle, context = lib.llama_sampler_sample, chain.handle, buffer.context
    return lambda _position: sample(handle, context, -1)


def _sampler_call(sampler: Sampler, row: Row) -> Callable[[int], object]:
    def call(position: int) -> None:
        sampler.accept(sampler.sample(row, position).token)

    return call


def _median_us(call: Callable[[int], object], calls: int) -> float:
    took = []
    for position in range(calls):
        began = time.perf_counter_ns()
        call(position)
        took.append(time.perf_counter_ns() - began)
    return float(np.median(took)) / 1000


def alone(
    buffer: LogitsBuffer, row: Row, *, repetitions: int, calls: int
) -> dict[str, list[float]]:
    """What llama.cpp's chain has no counterpart of; microseconds a call."""
    buffer.row[:] = row
    params = SamplingParams(temperature=0.0, logprobs=5)
    sampler = Sampler(params, seed=1, n_vocab=row.size, eog=frozenset(), history=[])
    plain = Detokenizer(lambda _token: b" token")
    stopped = Detokenizer(lambda _token: b" token", stops=("\n\n", "</s>"))
    work: dict[str, Callable[[int], object]] = {
        "greedy, 5 logprobs": _sampler_call(sampler, buffer.row),
        "text of a token": plain.push,
        "text of a token, 2 stop strings": stopped.push,
    }
    return {
        name: [_median_us(call, calls) for _ in range(repetitions)] for name, call in work.items()
    }


def run(options: argparse.Namespace, console: Console) -> None:
    """Checks, compares, prints (and writes) the tables."""
    counts = {"repetitions": options.repetitions, "calls": options.calls}
    buffer = LogitsBuffer(shapes.model("tiny"))
    shaped = rows(buffer.n_vocab)
    for name in CHECKED:
        kept = check(shaped["Zipf"], CHAINS[name])
        console.print(f"{name}: the same {kept} tokens stay, with the same odds")
    comparisons = [
        Comparison(
            kind="sampling",
            title=f"one token of {buffer.n_vocab:,} ({shape} row)",
            unit="us",
            condition="chain",
            baseline="llama.cpp",
            samples=compare(buffer, row, **counts),
            notes=(f"median of {options.calls} calls, {options.repetitions} times; min-max",),
        )
        for shape, row in shaped.items()
    ]
    for comparison in comparisons:
        console.print(render(comparison))
    by_itself = alone(buffer, shaped["Zipf"], **counts)
    for name, took in by_itself.items():
        console.print(f"{name}: {np.median(took):.1f} us", highlight=False)
    buffer.close()
    beside = {one.title: one.samples for one in comparisons}
    command.write(options, {"benchmark": "sampling", "unit": "us", **beside, "alone": by_itself})


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("sampling", __doc__)
    parser.add_argument("--repetitions", type=command.positive, default=9)
    parser.add_argument("--calls", type=command.positive, default=20)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    return command.main(_parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
