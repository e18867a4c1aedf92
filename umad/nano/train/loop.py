"""Train until a wall-clock deadline. Not the export, not the full evaluation.

corpus -> tokenizer -> [steps] -> checkpoint.pt + report.json in the output folder; started again
with the same folder it goes on from the checkpoint. The learning rate depends on the share of
wall time that has passed, so a paused or slowed process still ends with its decay.
Owner: this module's `Trainer` owns model, optimiser and random state; one thread.
"""

from __future__ import annotations

import datetime
import json
import logging
import platform
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from umad.nano.train import corpus, pairs, tokenizer
from umad.nano.train.model import Nano, Shape
from umad.nano.train.optim import Optimiser, Rates

log = logging.getLogger("umad.nano.train")

ROW_TOKENS = 512
MICRO_ROWS = 8  # 4,096 tokens: activations of a layer stay in the last-level cache
# Small steps: what is short here is tokens, and at a few million of them more updates win.
MICROS_PER_STEP = 1
WARMUP_STEPS = 60
DECAY_FROM = 0.55  # share of the wall time after which the rate falls to zero
LONG_FROM = 0.55  # and after which some rows are long
AVERAGE = 0.995  # of the running mean of the weights, for exports made before the decay
LONG_EVERY = 6  # every so many micro-batches is then one row of 4,096 tokens
CHECKPOINT_EVERY_S = 180.0
QUICK_ROWS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command line asked for."""

    out: Path
    seed: int
    deadline: datetime.datetime
    n_threads: int
    extra_corpus: Path | None = None


@dataclass(slots=True, kw_only=True)
class TrainingProgress:
    """Where the run is; part of the checkpoint."""

    started_at_s: float
    step: int = 0
    epoch: int = 0
    row: int = 0
    n_tokens: int = 0
    cpu_s: float = 0.0


def rate(step: int, passed: float) -> float:
    """Learning-rate factor: short warm-up, constant, then straight down to zero."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    if passed <= DECAY_FROM:
        return warm
    return warm * max(0.0, 1.0 - passed) / (1.0 - DECAY_FROM)


def wall_s() -> float:
    """Seconds since the epoch: a deadline is a time of day, also after a pause."""
    return datetime.datetime.now(datetime.UTC).timestamp()


class Trainer:
    """One run: reads the corpus once, then steps until the deadline."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        torch.set_num_threads(plan.n_threads)
        torch.manual_seed(plan.seed)
        plan.out.mkdir(parents=True, exist_ok=True)
        documents = corpus.read(corpus.stdlib_root())
        if plan.extra_corpus is not None:
            documents += corpus.read(plan.extra_corpus)
        self.documents = documents
        self.train, self.held_out = corpus.split(documents)
        self.pairs = pairs.all_pairs(self.train, seed=plan.seed)
        path = plan.out / "tokenizer.json"
        if not path.exists():
            tokenizer.train(d.text for d in self.train).save(str(path))
        self.tokenizer = tokenizer.load(path)
        self.model = Nano(Shape())
        self.optimiser = Optimiser(self.model, Rates())
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.progress = TrainingProgress(started_at_s=wall_s())
        self.stream: npt.NDArray[np.uint16] = np.empty(0, dtype=np.uint16)
        self.order: list[int] = []
        self.quick = self._quick_rows()
        self.checkpoint = plan.out / "checkpoint.pt"
        if self.checkpoint.exists():
            self._resume()
        self._fill_epoch()
        self.compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(
            self.model.loss, dynamic=False
        )
        log.info(
            "ready documents=%d held_out=%d pairs=%d parameters=%d epoch_tokens=%d",
            len(self.train),
            len(self.held_out),
            len(self.pairs),
            self.model.n_parameters,
            len(self.stream),
        )

    def run(self) -> None:
        """Step until the deadline; then write the last checkpoint and the report."""
        end_s = self.plan.deadline.timestamp()
        saved_at_s = wall_s()
        while (now_s := wall_s()) < end_s:
            start_s = self.progress.started_at_s
            passed = (now_s - start_s) / (end_s - start_s)
            loss = self._step(rate(self.progress.step, passed), long_rows=passed > LONG_FROM)
            if self.progress.step % 50 == 0:
                log.info(
                    "step=%d loss=%.4f tokens=%d epoch=%d passed=%.3f step_s=%.2f",
                    self.progress.step,
                    loss,
                    self.progress.n_tokens,
                    self.progress.epoch,
                    passed,
                    wall_s() - now_s,
                )
            if wall_s() - saved_at_s > CHECKPOINT_EVERY_S:
                log.info("step=%d held_out_nats=%.4f", self.progress.step, self._quick_loss())
                self._save()
                saved_at_s = wall_s()
        log.info("step=%d held_out_nats=%.4f", self.progress.step, self._quick_loss())
        self._save()
        log.info("done steps=%d tokens=%d", self.progress.step, self.progress.n_tokens)

    def _step(self, rate_now: float, *, long_rows: bool) -> float:
        started_s = time.process_time()
        total = 0.0
        for micro in range(MICROS_PER_STEP):
            if self.progress.row + MICRO_ROWS > len(self.order):
                self.progress.epoch += 1
                self.progress.row = 0
                self._fill_epoch()
            rows = self.order[self.progress.row : self.progress.row + MICRO_ROWS]
            self.progress.row += MICRO_ROWS
            turn = self.progress.step * MICROS_PER_STEP + micro
            if long_rows and turn % LONG_EVERY == 0:
                loss = self.model.loss(*self._window(rows[:1], MICRO_ROWS * ROW_TOKENS))
            else:
                loss = self.compiled(*self._window(rows, ROW_TOKENS))
            (loss / MICROS_PER_STEP).backward()  # type: ignore[no-untyped-call]
            total += loss.item() / MICROS_PER_STEP
        self.optimiser.step(rate_now)
        self.progress.step += 1
        self.progress.n_tokens += MICROS_PER_STEP * MICRO_ROWS * ROW_TOKENS
        # The mean starts as the weights themselves and lengthens to its full window.
        weight = max(1 - AVERAGE, 1 / self.progress.step)
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, weight)
        self.progress.cpu_s += time.process_time() - started_s
        return total

    def _window(self, rows: list[int], length: int) -> tuple[Tensor, Tensor]:
        """(ids, targets), int64 (rows, length); a window past the end is moved back."""
        last = len(self.stream) - length - 1
        starts = [min(row * ROW_TOKENS, last) for row in rows]
        block = np.stack([self.stream[s : s + length + 1] for s in starts]).astype(np.int64)
        ids = torch.from_numpy(block)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def _fill_epoch(self) -> None:
        samples = corpus.samples(
            self.train,
            self.pairs,
            mix=corpus.Mix(),
            seed=self.plan.seed,
            epoch=self.progress.epoch,
        )
        self.stream = tokenizer.encode(self.tokenizer, samples)
        self.order = list(range((len(self.stream) - 1) // ROW_TOKENS))
        random.Random(f"{self.plan.seed}/{self.progress.epoch}/rows").shuffle(self.order)

    def _quick_rows(self) -> tuple[Tensor, Tensor]:
        """A fixed sample of held-out rows, for the log only."""
        stream = tokenizer.encode(
            self.tokenizer, [(d.text + corpus.END,) for d in self.held_out]
        ).astype(np.int64)
        starts = np.linspace(0, len(stream) - ROW_TOKENS - 1, QUICK_ROWS).astype(int)
        block = torch.from_numpy(np.stack([stream[s : s + ROW_TOKENS + 1] for s in starts]))
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()

    @torch.no_grad()
    def _quick_loss(self) -> float:
        ids, targets = self.quick
        losses = [
            self.model.loss(a, b) for a, b in zip(ids.split(8), targets.split(8), strict=True)
        ]
        return float(torch.stack(losses).mean())

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "shape": asdict(self.model.shape),
            "progress": asdict(self.progress),
        }
        # Written beside and renamed: a reader never meets half a checkpoint.
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)
        (self.plan.out / "report.json").write_text(json.dumps(self.report(), indent=2))

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.progress = TrainingProgress(**state["progress"])
        log.info("resumed step=%d", self.progress.step)

    def report(self) -> dict[str, object]:
        """The facts that the model card repeats."""
        return {
            "corpus_sha256": corpus.sha256(self.documents),
            "corpus_bytes": sum(len(d.text.encode()) for d in self.documents),
            "documents": len(self.train),
            "held_out_documents": len(self.held_out),
            "held_out_bytes": sum(len(d.text.encode()) for d in self.held_out),
            "pairs": len(self.pairs),
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "seed": self.plan.seed,
            "steps": self.progress.step,
            "tokens": self.progress.n_tokens,
            "epochs": self.progress.epoch + self.progress.row / len(self.order),
            "wall_minutes": (wall_s() - self.progress.started_at_s) / 60,
            "cpu_minutes": self.progress.cpu_s / 60,
            "parameters": self.model.n_parameters,
        }
