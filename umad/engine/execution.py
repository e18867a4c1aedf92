"""What carries a plan out, and what came of it: the seam between the step loop and a backend.

Not: how llama.cpp does it (`decode_runner`), sampling, or the scheduler's books. Owner: the step
thread.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from umad.engine.facts import StepTraffic
from umad.errors import EngineFailed
from umad.scheduler.steps.background_throttle import embed_bytes
from umad.step import (
    DiskDone,
    HouseKept,
    MemoryOp,
    StepPlan,
)
from umad.units import NS_PER_MS

NOTHING_KEPT = HouseKept()


@dataclass(slots=True)
class Decoded:
    """rids: the request of each row of `logits`, float32 (n, n_vocab), good until the next run.
    device_ns: wall time of the decode call. n_rows: tokens in the batch. house: what the plan's
    memory operations came to."""

    outcome: Literal["done", "cut", "no_memory"]
    rids: list[int]
    logits: NDArray[np.float32]
    device_ns: int
    n_rows: int
    house: HouseKept = NOTHING_KEPT


NO_LOGITS: NDArray[np.float32] = np.empty((0, 0), np.float32)


def no_decode(house: HouseKept) -> Decoded:
    """What comes of a step without a row of any stream."""
    return Decoded("done", [], NO_LOGITS, 0, 0, house)


class StepRunner(Protocol):
    """What carries plans out. On the step thread; `run` takes as long as a decode."""

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """Carry out memory operations, in order."""
        ...

    def run(self, plan: StepPlan) -> Decoded:
        """One decode of a plan that has rows. Raises `EngineFailed`."""
        ...

    def disk_done(self, report: DiskDone) -> None:
        """A session was written or read, or could not be."""
        ...

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """(seq, tokens in the KV) of the plan's prefill sequences."""
        ...


class NoStreams:
    """The `StepRunner` of a model that only embeds: no plan has a row of a stream."""

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """There is nothing to keep."""
        return NOTHING_KEPT

    def run(self, plan: StepPlan) -> Decoded:
        """Never called: nothing that generates is taken in."""
        raise EngineFailed("a model that only embeds was given a stream to run")

    def disk_done(self, report: DiskDone) -> None:
        """There are no sessions."""

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """Of none."""
        return ()


def bytes_moved_by(plan: StepPlan, decoded: Decoded, traffic: StepTraffic) -> int:
    """What a step has moved; of a cut one about as much as it had time for."""
    whole = traffic.moved(
        n_rows=decoded.n_rows,
        n_cells_read=plan.n_cells_read,
        n_logit_rows=len(decoded.rids),
    )
    if plan.embed is not None:
        whole += embed_bytes(traffic, plan.embed)
    if decoded.outcome == "done":
        return whole
    if decoded.outcome == "no_memory" or not plan.predicted_ms:
        return 0
    return round(whole * min(1.0, decoded.device_ns / NS_PER_MS / plan.predicted_ms))
