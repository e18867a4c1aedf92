"""Defines the seam between the step loop and a backend: what carries a plan out, and its result.

Not: how llama.cpp does it (`decode_runner`), sampling, or the scheduler's books. Owner: the step
thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from umad.engine.facts import StepTraffic
from umad.errors import EngineFailed
from umad.scheduler.steps.background_throttle import embed_bytes, row_bytes
from umad.step import (
    CARRIED_BACKGROUND,
    CARRIED_COPY,
    CARRIED_EMBEDDING,
    CARRIED_PROMPT,
    DiskDone,
    HouseKept,
    MemoryOp,
    PrefillSlice,
    StepPlan,
)
from umad.units import NS_PER_MS

NOTHING_KEPT = HouseKept()


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """The rows of logits of a slice that scores its prompt."""

    rid: int
    # The position of the first row.
    start: int
    n_rows: int
    # The row of `Decoded.logits` where they begin.
    at: int
    # A token is drawn from the last one.
    draws: bool


def scored_rows(piece: PrefillSlice, before: tuple[ScoredRows, ...], n_drawn: int) -> ScoredRows:
    """The rows of `piece`, which follow the `n_drawn` rows that tokens are drawn from, and those of
    the scored slices `before` it.
    """
    return ScoredRows(
        rid=piece.rid,
        start=piece.start,
        n_rows=piece.n_tokens,
        at=n_drawn + sum([one.n_rows for one in before]),
        draws=piece.wants_logits,
    )


@dataclass(slots=True)
class Decoded:
    """The result of one step's decode."""

    outcome: Literal["done", "cut", "no_memory"]
    # The request of each row of `logits` from which a token is drawn; other rows follow: those of
    # the plan's guesses, in order, or those of `scored`.
    rids: list[int]
    # float32 (n, n_vocab), valid until the next run.
    logits: NDArray[np.float32]
    # Wall time of the decode call.
    device_ns: int
    # Tokens in the batch.
    n_rows: int
    # The results of the plan's memory operations.
    house: HouseKept = NOTHING_KEPT
    # The rest of the rows, where requests ask how probable their prompts are.
    scored: tuple[ScoredRows, ...] = ()
    # Of a cut step: from the request for a cut until the device was free.
    cut_ns: int = 0
    # Wall time of the decode of a medium's rows.
    rows_ns: int = 0


NO_LOGITS: NDArray[np.float32] = np.empty((0, 0), np.float32)


def no_decode(house: HouseKept) -> Decoded:
    """The result of a step in which no stream has a row."""
    return Decoded("done", [], NO_LOGITS, 0, 0, house)


class StepRunner(Protocol):
    """Carries plans out. On the step thread; `run` takes as long as a decode."""

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """Carry out memory operations, in order."""
        ...

    def run(self, plan: StepPlan) -> Decoded:
        """Run one decode of a plan that has rows. Raises `EngineFailed`."""
        ...

    def disk_done(self, report: DiskDone) -> None:
        """A session was written or read, or could not be."""
        ...

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """(seq, tokens in the KV) of the plan's prefill sequences."""
        ...


class NoStreams:
    """The `StepRunner` of a model that only embeds, whose plans have no rows of streams."""

    def keep_house(self, operations: tuple[MemoryOp, ...]) -> HouseKept:
        """Does nothing: there are no cells."""
        return NOTHING_KEPT

    def run(self, plan: StepPlan) -> Decoded:
        """Never called, because requests to generate are refused."""
        raise EngineFailed("a model that only embeds was given a stream to run")

    def disk_done(self, report: DiskDone) -> None:
        """Does nothing: there are no sessions."""

    def lengths(self, plan: StepPlan) -> tuple[tuple[int, int], ...]:
        """Returns nothing: no plan has a prefill sequence."""
        return ()


class Guardable(Protocol):
    """The part of a completion that tells whose work its rows are."""

    @property
    def guarded(self) -> bool:
        """Whether an interactive client reads it."""


def background_rows(plan: StepPlan, streams: Mapping[int, Guardable]) -> int:
    """How many rows of the plan are background work. What has no stream is computed ahead."""
    count = sum([not streams[piece.rid].guarded for piece in plan.decode])
    for piece in plan.prefill:
        stream = streams.get(piece.rid)
        if stream is None or not stream.guarded:
            count += piece.n_tokens
    for guesses in plan.guesses:
        if not streams[guesses.rid].guarded:
            count += len(guesses.tokens)
    return count


def carried_by(
    plan: StepPlan, streams: Mapping[int, Guardable], house: HouseKept
) -> tuple[int, int]:
    """How many rows of the plan are background work, and all that the step carries beside the next
    tokens of its interactive streams, in bits of `umad.step`.
    """
    n_background = background_rows(plan, streams)
    bits = CARRIED_BACKGROUND if n_background else 0
    if plan.prefill:
        for piece in plan.prefill:
            stream = streams.get(piece.rid)
            if stream is not None and stream.guarded:
                bits |= CARRIED_PROMPT
                break
    if house.copied_bytes > 0:
        bits |= CARRIED_COPY
    if plan.embed is not None:
        bits |= CARRIED_EMBEDDING
    media = plan.rows or plan.encode
    if media is not None:
        bits |= CARRIED_BACKGROUND if media.bulk else CARRIED_PROMPT
    return n_background, bits


def bytes_moved_by(plan: StepPlan, decoded: Decoded, traffic: StepTraffic) -> int:
    """Bytes that a step has moved. For a cut step it is the share that its time allowed."""
    whole = traffic.moved(
        n_rows=decoded.n_rows,
        n_cells_read=plan.n_cells_read,
        n_logit_rows=len(decoded.rids)
        + sum([one.n_rows for one in decoded.scored])
        + plan.n_guesses,
    )
    if plan.embed is not None:
        whole += embed_bytes(traffic, plan.embed)
    if plan.rows is not None:
        whole += row_bytes(traffic, plan.rows)
    if decoded.outcome == "done":
        return whole + plan.draft_bytes
    if decoded.outcome == "no_memory" or not plan.predicted_ms:
        return 0
    return round(whole * min(1.0, decoded.device_ns / NS_PER_MS / plan.predicted_ms))
