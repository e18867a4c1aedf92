"""Runs the first decodes of an opened model, to learn what they cost and what its cells can do.

The decodes have no other effect: they run on an empty pool and leave it empty. Owner: the main
thread.
"""

import logging
from collections.abc import Callable

import numpy as np

from umad.engine.llamacpp.context_options import ContextOptions
from umad.engine.llamacpp.llama import Batch, Context, Model
from umad.engine.steps.cost_file import CostFile
from umad.errors import ModelLoadFailed
from umad.scheduler.costs.step_cost import CostModel
from umad.units import NS_PER_MS

log = logging.getLogger("umad.engine")

# (decode rows, prefill tokens) tried at load, cheap ones first, until the time is up. The cost
# model guesses the shapes that were not tried from their neighbours, and goes on learning.
_PROBES = ((1, 0), (2, 0), (0, 4), (4, 0), (8, 0), (0, 16), (0, 64))
_PROBE_MS = 1_500.0

# Shapes of steps for which backends of GPUs have programs of their own (ggml-vulkan.cpp: for each
# number of rows up to 8, and for slices of more than 8, 32 and 64 tokens). A program is built when
# it is first needed, which takes from milliseconds to many seconds, and the reader of that step
# waits. The most frequent shapes come first, a full micro-batch at last.
_BUILT = ((0, 128), (2, 0), (3, 0), (4, 0), (0, 16), (0, 48), (5, 0), (6, 0), (7, 0), (8, 0))
# No further shape is begun after so long.
_BUILD_MS = 10_000.0

# A remembered cost is believed if a row now takes at most this many times as long, and at least
# the inverse share of it. Otherwise the machine has changed.
_AGREES = 2.0

Observation = tuple[int, int, float]


def _agrees(ms: float, known_ms: float) -> bool:
    return 1 / _AGREES < ms / known_ms < _AGREES


class WarmUp:
    """The warm-up of one model, on its context."""

    def __init__(
        self,
        model: Model,
        context: Context,
        options: ContextOptions,
        n_streams: int,
        now_ns: Callable[[], int],
    ) -> None:
        self._context = context
        self._now_ns = now_ns
        self._batch = Batch(options.batch)
        self._most_tokens = options.batch
        self._most_rows = min(n_streams, options.batch)
        self._most_at_once = min(options.batch, options.ubatch, context.n_cells)
        self._token = max(model.bos, 0)

    def first_ms(self, *, reads_all: bool = True) -> float:
        """Milliseconds of the first decode, which pages in every weight. reads_all: those of all
        experts, too; where memory has no room for them, the first would be gone with the last.
        """
        self._context.set_warmup(reads_all)
        warmup_ms = self._run(1, 0)
        self._context.set_warmup(False)
        return warmup_ms

    def measure(self, known: CostModel | None) -> tuple[Observation, ...]:
        """Measure what steps cost. known: costs that were remembered for this machine. If the first
        shape agrees with them, the others are not tried.
        """
        observed: list[Observation] = []
        left_ms = _PROBE_MS
        for n_rows, n_tokens in _PROBES:
            if n_rows > self._most_rows or n_tokens > self._most_tokens:
                continue
            first_ms = self._run(n_rows, n_tokens)  # builds the graph of this shape as well
            ms = min(self._run(n_rows, n_tokens) for _ in range(2))
            observed.append((n_rows, n_tokens, ms))
            if known is not None and _agrees(ms, known.step_ms(n_rows, n_tokens)):
                break
            left_ms -= first_ms + 2 * ms
            if left_ms < 8 * ms:  # the next shape may cost so many times as much
                break
        return tuple(observed)

    def build(self) -> int:
        """Have the device build its programs for all shapes of steps, each by a step of that shape,
        until the time is up. Returns the number of shapes that were run.
        """
        began_ns, n_run = self._now_ns(), 0
        for n_rows, n_tokens in (*_BUILT, (0, self._most_at_once)):
            if n_rows > self._most_rows or n_tokens > self._most_at_once:
                continue
            if (self._now_ns() - began_ns) / NS_PER_MS >= _BUILD_MS:
                log.info("no more time to build programs of steps shapes=%d", n_run)
                break
            self._run(n_rows, n_tokens)
            n_run += 1
        return n_run

    def can_share_prefix(self) -> bool:
        """True if a sequence can drop its tail and share its beginning. It is
        found out by trying.
        """
        context = self._context
        self._fill(min(4, self._most_tokens), together=True)
        works = context.trim(0, 3) and context.length(0) == 3
        if works and self._most_rows > 1:
            context.copy(0, 1, 2)
            works = context.length(1) == 2
        context.clear()
        return works

    def _run(self, n_rows: int, n_tokens: int) -> float:
        self._context.clear()
        began_ns = self._now_ns()
        self._fill(n_rows or n_tokens, together=not n_rows)
        self._context.logits(n_rows or 1)  # waits for the device
        elapsed_ms = (self._now_ns() - began_ns) / NS_PER_MS
        self._context.clear()
        return elapsed_ms

    def _fill(self, n: int, *, together: bool) -> None:
        """Decode `n` tokens: all of one sequence, or one each of `n` sequences."""
        batch = self._batch
        batch.token[:n] = self._token
        batch.pos[:n] = np.arange(n) if together else 0
        batch.seq[:n] = 0 if together else np.arange(n)
        batch.wants_logits[:n] = not together
        batch.wants_logits[n - 1] = 1
        batch.set_rows(n)
        code = self._context.decode(batch)
        if code:
            raise ModelLoadFailed(
                f"the first decode failed with {code}: {self._context.last_words()}"
            )


def costs(
    warm: WarmUp, file: CostFile | None, *, tiles: bool, is_beside: bool, builds: bool = False
) -> tuple[CostModel, tuple[Observation, ...]]:
    """The remembered costs; measured costs where nothing is remembered or it is wrong by now.
    is_beside: another engine is at work. What is measured now would not be what is remembered, and
    would disturb that work, so what is remembered is believed. builds: the device builds programs
    for steps when they first run; this is done now, unless it would disturb that work.
    """
    if builds and not is_beside:
        warm.build()
    remembered = None if file is None else file.read()
    known = None
    if remembered is not None:
        known = CostModel(tiles=tiles)
        known.restore(remembered)
    if known is not None and is_beside:
        return known, ((1, 0, known.step_ms(1, 0)),)
    observed = warm.measure(known)
    if known is not None and len(observed) > 1:
        log.info("costs remembered are not those of now; measured anew")
    cost = known if known is not None and len(observed) == 1 else CostModel(tiles=tiles)
    cost.learn_all(observed)
    return cost, observed
