"""What a model answers on an empty pool, computed by the bare library, and how far another answer
may be from that.

Not tests. The same prompt cut into other slices gives other last bits, and of a model whose cells
are float16 other log-probabilities. So it does where its cells lie in another order, because others
came and went: what is looked at is added up in the order of the cells, in float16, too. So an
answer is as good as cold when its first token's log-probabilities are within the bound of the cold
ones, and no token is worse than the cold choice at its place by more than twice the bound: it is
the best one, or tied with it as far as the library can tell, which may think less of one and more
of the other by the bound. Each token is judged on the tokens before it, so that a tie decides
nothing behind it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from umad.config import KvType
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.kv_types import KV_TYPES

Rows = NDArray[np.float32]
Ids = NDArray[np.int32]
# Rows of a prompt's end that are compared: the first token's and those of the tokens behind it.
MOST_TOKENS = 48
# A row by itself, a few together and a tile's worth of them are computed each in its own way.
SLICE_SIZES = (1, 7, 20, 32, 64, 128)
# Tokens that another sequence takes cells for at once, and altogether.
STRANGER_TOKENS, MOST_STRANGER_TOKENS = 120, 300
_PROMPT, _STRANGER = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How far an answer is from the cold one, in nats. first: of the first token's
    log-probabilities. worst: of any token from the best one."""

    first: float
    worst: float


class ColdAnswers:
    """One model on a context of its own. options: of the pool that is judged by them."""

    def __init__(self, model: llama.Model, options: ContextOptions) -> None:
        self._context = llama.Context(model, replace(options, max_seqs=MOST_TOKENS + 1))
        self._batch = llama.Batch(options.batch)
        self._most = options.batch
        self._ends = sorted(model.eog_tokens())
        # Any token that is of no use to a prompt.
        self._stranger = model.n_vocab - 1

    def logprobs(
        self,
        tokens: Sequence[int],
        n_rows: int,
        *,
        slices: Sequence[int] = (),
        beside: Generator | None = None,
    ) -> Rows:
        """float32 (n_rows, n_vocab) behind each of the last `n_rows` of `tokens`. slices: where
        those after the first begin; by default each is as large as may be. beside: between slices,
        a stranger takes cells or gives them up, as drawn."""
        self._context.clear()
        rows = []
        starts = sorted({*range(0, len(tokens), self._most), *slices})
        for start, end in pairwise([*starts, len(tokens)]):
            if beside is not None:
                self._disturb(beside)
            n_wanted = min(end - start, max(0, end - (len(tokens) - n_rows)))
            rows.append(self._decode(_PROMPT, tokens[start:end], start, n_wanted))
        return log_softmax(np.concatenate(rows))

    def _disturb(self, drawn: Generator) -> None:
        """Let a stranger take cells, or give up all it has."""
        length = self._context.length(_STRANGER)
        if length and drawn.random() < 0.5:
            self._context.trim(_STRANGER, 0)
        elif length < MOST_STRANGER_TOKENS:
            n_tokens = int(drawn.integers(1, STRANGER_TOKENS))
            self._decode(_STRANGER, np.full(n_tokens, self._stranger, np.int32), length, 0)

    def _decode(self, seq: int, tokens: Sequence[int] | Ids, start: int, n_wanted: int) -> Rows:
        """float32 (n_wanted, n_vocab) behind the last of `tokens`."""
        batch, n = self._batch, len(tokens)
        batch.token[:n] = tokens
        batch.pos[:n] = np.arange(start, start + n)
        batch.seq[:n] = seq
        batch.wants_logits[:n] = np.arange(n) >= n - n_wanted
        batch.set_rows(n)
        assert self._context.decode(batch) == 0, self._context.last_words()
        return self._context.logits(n_wanted).copy()

    def judge(
        self, prompt: Sequence[int], answer: Sequence[int], first: Mapping[int, float]
    ) -> Judged:
        """first: log-probabilities that the answer's first token was drawn from, by token."""
        known = [*prompt, *answer[:-1]][: len(prompt) + MOST_TOKENS - 1]
        rows = self.logprobs(known, len(known) - len(prompt) + 1)
        chosen = np.asarray(answer[: len(rows)])
        best = np.delete(rows, self._ends, axis=1).max(axis=1)
        gaps = best - rows[np.arange(len(rows)), chosen]
        ids = list(first)
        differs = np.abs(rows[0, ids] - np.array([first[one] for one in ids]))
        return Judged(first=float(differs.max(initial=0.0)), worst=float(gaps.max()))

    def slicings(
        self,
        prompt: Sequence[int],
        n_first: int,
        drawn: Generator,
        n: int,
        sizes: Sequence[int] = SLICE_SIZES,
    ) -> float:
        """How far the log-probabilities of the `n_first` likeliest first tokens are apart between
        any two of `n` slicings of `prompt`: the cold one, and others that are drawn from `sizes`,
        with cells in another order."""
        rows = [self.logprobs(prompt, 1)[0]]
        while len(rows) < n:
            slices = _drawn_slices(len(prompt), drawn, sizes)
            rows.append(self.logprobs(prompt, 1, slices=slices, beside=drawn)[0])
        likeliest = np.argsort(rows[0])[-n_first:]
        spread = np.stack(rows)[:, likeliest]
        return float((spread.max(axis=0) - spread.min(axis=0)).max())

    def close(self) -> None:
        self._context.close()


def _drawn_slices(n_tokens: int, drawn: Generator, sizes: Sequence[int]) -> list[int]:
    starts, at = [], 0
    while (at := at + int(drawn.choice(sizes))) < n_tokens:
        starts.append(at)
    return starts


def log_softmax(rows: Rows) -> Rows:
    shifted: Rows = rows - rows.max(axis=-1, keepdims=True)
    normed: Rows = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normed


@contextmanager
def cold_answers(
    path: Path, *, kv_type: KvType = "f16", n_cells: int = 2048
) -> Iterator[ColdAnswers]:
    """Of the model in a file."""
    llama.start()
    model = llama.Model(str(path), gpu_layers=0)
    number = KV_TYPES[kv_type].number
    options = ContextOptions(
        n_cells=n_cells,
        max_seqs=1,
        batch=512,
        ubatch=512,
        threads=1,
        type_k=number,
        type_v=number,
        flash_attention=True,
    )
    answers = ColdAnswers(model, options)
    try:
        yield answers
    finally:
        answers.close()
        model.close()
