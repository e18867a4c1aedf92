"""Puts guesses into a plan that is ready, and learns from what became of them.

    plan     with_guesses(plan) adds guesses where they are worth their rows
    apply    settle(plan, result) books how many held, and what the step took
    end      forget(rid)

Where a grammar allows one text only, its tokens are guesses that are sure to hold; what stands
behind them is guessed from the text, where that agrees with them.

Guesses go only into a step of decode rows and nothing else. Beside a prompt, copies of cells or
background rows a step has no time to spare for them, and the guard's slack is left as it is. The
step's solo time is then that of all its rows, guesses included, since they are interactive work.
Background streams have guesses only in steps of background work alone, while no other model is
interactive. A step of more than `MOST_STREAMS` streams has none: the weights that it reads serve
enough rows.

Pure; owner: the step thread.
"""

from collections.abc import Mapping
from dataclasses import replace

from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.snapshot import Guessed
from umad.scheduler.speculation.acceptance import STREAM_RATE, Acceptance, AppAcceptances
from umad.scheduler.speculation.choice import chosen
from umad.scheduler.speculation.gain import MeasuredGain
from umad.scheduler.speculation.lookup import MOST_RUN, PromptLookup
from umad.scheduler.speculation.price_trial import PriceTrial
from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.step import DecodeSlice, GuessSlice, SeqPark, SeqRestore, StepPlan, StepResult

MOST_STREAMS = 8
# All guesses of one step together. Each has a row of logits, and a wrong one has been for nothing.
MOST_GUESSES = 31
# So many steps of a number of streams are plain before any has guesses: their price has to be known
# from steps, or guesses would be held against what was learnt of steps with guesses.
FIRST_PLAIN = 9


class _Stream:
    """One stream that may have guesses."""

    __slots__ = ("app", "entry", "guesses", "lookup", "own")

    def __init__(self, entry: ScheduledRequest, app: Acceptance) -> None:
        self.entry = entry
        self.app = app
        self.own = Acceptance(STREAM_RATE, like=app)
        self.lookup = PromptLookup(entry.tokens)
        self.lookup.take_piece(entry.n_tokens)
        # Those of the step that is being planned.
        self.guesses: tuple[int, ...] = ()

    def follow(self) -> None:
        """Take in the tokens that are known since the last step, and learn from them."""
        lookup, n_tokens = self.lookup, self.entry.n_tokens
        if n_tokens - lookup.n_tokens > MOST_RUN:
            lookup.take_piece(n_tokens)
            return
        for _ in range(n_tokens - lookup.n_tokens):
            run = lookup.run
            was_right = lookup.take()
            if was_right is not None:
                self.own.learn(run, was_right=was_right)
                self.app.learn(run, was_right=was_right)

    def guess(self, most: int, *, asks: bool) -> list[float]:
        """Guess its next tokens, at most so many. Return the chances that each and all before it
        hold; empty where there are no guesses. asks: its grammar, which may take a moment."""
        entry, lookup = self.entry, self.lookup
        # The step also brings the token behind the last guess that holds, and no token may come
        # after the last one that was asked for. So its cells never are more than it was promised.
        most = min(most, entry.limit - entry.n_tokens - 1)
        if most <= 0:
            self.guesses = ()
            return []
        forced = entry.forced()[:most] if asks and entry.forced is not None else ()
        n = len(forced)
        run = lookup.run if lookup.n_tokens == entry.n_tokens else 0
        found = lookup.guess(most) if run else ()
        if found[:n] != forced or not run:
            self.guesses = forced
            return [1.0] * n
        self.guesses = found
        return [1.0] * n + self.own.survival(run + n, most - n)


class Speculator:
    """The guesses of one engine."""

    def __init__(
        self,
        *,
        entries: Mapping[int, ScheduledRequest],
        cost: CostModel,
        guard: LatencyGuard,
        guarded: frozenset[str],
        most_rows: int,
    ) -> None:
        """entries: every live request by its number. most_rows: the most rows with logits that a
        step may have."""
        self._entries = entries
        self._cost = cost
        self._guard = guard
        self._guarded = guarded
        self._most_rows = most_rows
        self._streams: dict[int, _Stream] = {}
        self._apps = AppAcceptances()
        self.gain = MeasuredGain()
        self._trial = PriceTrial()
        # Steps of so many streams that were plain, up to `FIRST_PLAIN`.
        self._plain = [0] * (MOST_STREAMS + 1)
        # Steps that had guesses, and how many guesses of theirs held, since the start.
        self.steps_total = 0
        self.accepted_total = 0

    def with_guesses(self, plan: StepPlan, *, most_ms: float | None = None) -> StepPlan:
        """Return `plan` with guesses, or as it is. most_ms: the bound of a background step, where
        others wait for its end."""
        decode = plan.decode
        if not decode or plan.prefill or plan.embed is not None or len(decode) > MOST_STREAMS:
            return plan
        if plan.background and most_ms is not None:
            return plan
        if any(isinstance(one, SeqPark | SeqRestore) for one in plan.memory):
            return plan
        most = min(MOST_GUESSES, self._most_rows - len(decode))
        entries = [self._entries[row.rid] for row in decode]
        n_guarded = sum([entry.lane in self._guarded for entry in entries])
        if most <= 0 or n_guarded not in (0, len(entries)):
            return plan
        survivals = [self._guess(entry, most) for entry in entries]
        if self._plain[len(decode)] < FIRST_PLAIN:
            self._plain[len(decode)] += 1
            return plan
        if not any(survivals) or not self.gain.may_try():
            return plan
        n_rows, n_cells = len(decode), plan.n_cells_read
        depth = n_cells / n_rows

        def step_ms(n: int) -> float:
            return self._cost.solo_ms(n_rows + n, round(n_cells + n * depth))

        counts = chosen(survivals, step_ms, most=most, each=n_guarded > 0)
        tried = self._trial.counts(survivals, step_ms, most=most, used=max(counts))
        if any(tried):
            counts = tried
        return self._added(plan, counts, entries) if any(counts) else plan

    def _guess(self, entry: ScheduledRequest, most: int) -> list[float]:
        if not entry.speculates:
            return []
        stream = self._streams.get(entry.rid)
        if stream is None:
            app = self._apps.of((entry.owner, entry.app))
            stream = self._streams[entry.rid] = _Stream(entry, app)
        else:
            stream.follow()
        return stream.guess(most, asks=not self.gain.is_resting)

    def _added(
        self, plan: StepPlan, counts: list[int], entries: list[ScheduledRequest]
    ) -> StepPlan:
        guesses: list[GuessSlice] = []
        n_rows, n_cells = len(plan.decode), plan.n_cells_read
        for row, count in zip(plan.decode, counts, strict=True):
            if not count:
                continue
            start = row.position + 1
            tokens = self._streams[row.rid].guesses[:count]
            guesses.append(GuessSlice(row.rid, row.seq, start, tokens))
            n_rows += count
            # The row at a position reads the cells up to it, its own included.
            n_cells += sum(range(start + 1, start + count + 1))
        solo_ms = within_ms = 0.0
        if plan.solo_ms:
            solo_ms = self._cost.solo_ms(n_rows, n_cells)
            within_ms = self._guard.within_ms(solo_ms, [entry.latency_cap for entry in entries])
        return replace(
            plan,
            guesses=tuple(guesses),
            n_cells_read=n_cells,
            predicted_ms=self._cost.step_ms(n_rows, 0, decode_cells=n_cells),
            solo_ms=solo_ms,
            within_ms=within_ms,
        )

    def settle(self, plan: StepPlan, result: StepResult) -> None:
        """Book a step that had guesses."""
        if result.outcome != "done":
            return
        self.steps_total += 1
        self.accepted_total += sum([one.n_accepted for one in result.verified])
        copied = result.house is not None and result.house.copied_bytes > 0
        if not result.felt_ms or copied or plan.switch_ms:
            return
        n_streams = len(plan.decode)
        self.gain.learn(
            n_streams=n_streams,
            n_tokens=len(result.sampled),
            plain_ms=self._cost.solo_ms(n_streams, _cells_of(plan.decode)),
            planned_ms=self._cost.solo_ms(n_streams + plan.n_guesses, plan.n_cells_read),
            felt_ms=result.felt_ms,
        )

    def snapshot(self) -> Guessed:
        """The counts for the scorecard."""
        return Guessed(
            steps_total=self.steps_total,
            accepted_total=self.accepted_total,
            gain=self.gain.ratio,
        )

    def forget(self, rid: int) -> None:
        """A request has ended."""
        self._streams.pop(rid, None)


def _cells_of(rows: tuple[DecodeSlice, ...]) -> int:
    return sum([row.position + 1 for row in rows])
