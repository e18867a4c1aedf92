"""Adds up what steps did, until the sums are worth telling the daemon.

A `StepStats` with every step cost engine and daemon a twentieth of a small model's step, and the
scorecard is looked at only once a second. Owner: the step thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from umad.engine.embedding.work import NOTHING, Embedded
from umad.engine.execution import Decoded
from umad.engine.media.desk import NO_MEDIA, MediaCounts
from umad.protocol.link import StepStats
from umad.scheduler import SchedulerSnapshot
from umad.step import StepPlan
from umad.units import NS_PER_MS, NS_PER_US

# The scorecard's figures may be this old. An engine that comes to rest tells at once.
TELL_NS = 200_000_000


@dataclass(slots=True)
class Totals:
    """Counts from the engine's start."""

    cuts: int = 0
    sampled: int = 0
    # Tokens whose row of logits was copied first, because their client reads it or a mask lies on
    # it. All others are sampled in place.
    copied: int = 0


class StepTally:
    """Sums since the last `told`."""

    __slots__ = (
        "_began_ns",
        "_bytes_moved",
        "_device_ns",
        "_n_background",
        "_n_decode",
        "_n_prefill",
        "_row_copies",
        "_threads",
        "_waited_from_ns",
        "_waited_ns",
    )

    def __init__(
        self,
        *,
        threads: int = 1,
        row_copies: int = 0,
        waited_ns: Callable[[], int] | None = None,
    ) -> None:
        """threads: those of a decode. row_copies: of a row of logits before it can be read, as
        `Capabilities` has it. waited_ns: how long all of them together were ready and had no core,
        ever growing; None where the platform does not tell.
        """
        self._row_copies = row_copies
        self._threads = threads
        self._waited_ns = waited_ns
        self._waited_from_ns = waited_ns() if waited_ns is not None else 0
        self._clear()

    def _clear(self) -> None:
        self._began_ns = 0
        self._device_ns = self._n_decode = self._n_prefill = self._n_background = 0
        self._bytes_moved = 0

    def is_due(self, now_ns: int) -> bool:
        """True if there is something to tell that has waited for `TELL_NS`."""
        return self._began_ns > 0 and now_ns - self._began_ns >= TELL_NS

    def add(
        self,
        plan: StepPlan,
        decoded: Decoded,
        *,
        n_background: int,
        bytes_moved: int,
        began_ns: int,
        embedded: Embedded = NOTHING,
    ) -> None:
        """Count a step that ran. Of a step that was cut, only its time and its bytes count."""
        self._began_ns = self._began_ns or began_ns
        self._device_ns += decoded.device_ns + embedded.ns + round(plan.draft_ms * NS_PER_MS)
        self._bytes_moved += bytes_moved
        if decoded.outcome == "done":
            n_decode = len(plan.decode) + plan.n_guesses
            self._n_decode += n_decode
            self._n_prefill += decoded.n_rows - n_decode
            self._n_background += n_background
        if plan.embed is not None and not embedded.was_cut:
            self._n_prefill += plan.embed.n_rows
            self._n_background += plan.embed.n_rows if plan.embed.bulk else 0

    def told(
        self,
        now: SchedulerSnapshot,
        *,
        totals: Totals,
        now_ns: int,
        media: MediaCounts = NO_MEDIA,
        waits: Mapping[int, str] | None = None,
    ) -> StepStats:
        """Return the sums and the scheduler's standing, and begin to count anew. waits: as in
        `StepStats`.
        """
        stats = StepStats(
            began_ns=self._began_ns or now_ns,
            ended_ns=now_ns,
            device_ms=self._device_ns / NS_PER_MS,
            coreless_ms=self._coreless_ms(),
            n_decode=self._n_decode,
            n_prefill_tokens=self._n_prefill,
            n_background_tokens=self._n_background,
            bytes_moved=self._bytes_moved,
            cells_live=now.cells_live,
            cells_retained=now.cells_retained,
            cells_total=now.cells_total,
            running=now.running,
            waiting=now.waiting,
            parked=now.parked,
            cuts_total=totals.cuts,
            preemptions_total=now.preemptions_total,
            prompt_tokens_total=now.prompt_tokens_total,
            cached_tokens_total=now.cached_tokens_total,
            sampled_total=totals.sampled,
            copied_rows_total=totals.copied,
            row_copies_total=totals.sampled * self._row_copies + totals.copied,
            guess_steps_total=now.guessed.steps_total,
            guesses_held_total=now.guessed.accepted_total,
            speculation_gain=now.guessed.gain,
            waits=waits,
            prompt_changes=now.prompt_changes,
            adapter_switch_ms=now.adapter_switch_ms,
            cut_ms=now.cut_ms,
            media_encoded_total=media.encoded,
            media_reused_total=media.reused + now.media_shared_total,
            encode_us_total=media.encode_ns // NS_PER_US,
        )
        self._clear()
        return stats

    def _coreless_ms(self) -> float:
        if self._waited_ns is None:
            return 0.0
        before_ns, self._waited_from_ns = self._waited_from_ns, self._waited_ns()
        # The sum is over living threads, so it falls when a thread ends.
        return max(0, self._waited_from_ns - before_ns) / self._threads / NS_PER_MS
