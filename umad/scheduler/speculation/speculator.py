"""Puts guesses into a plan that is ready, and learns from what became of them.

    plan     with_guesses(plan) adds guesses where they are worth their rows, and says what a draft
             model is to guess; with_drafted(plan, done) adds what that has guessed
    apply    settle(plan, result) books how many held, and what the step took
    end      ended(entry) keeps its text for other streams of its app; forget(owner) keeps none

What a stream's guesses are says `guessing_stream`. Where a draft model is likelier to be right than
they are, and the step is expected to be quicker for it, its guesses go in.

Guesses go only into a step of decode rows and nothing else. Beside a prompt, copies of cells or
background rows a step has no time to spare for them, and the guard's slack is left as it is. The
step's solo time is then that of all its rows, guesses included, since they are interactive work.
Background streams have guesses only in steps of background work alone, while no other model is
interactive. A step of more than `MOST_STREAMS` streams has none: the weights that it reads serve
enough rows.

A step of one stream may be long where an arrival cuts it (`choice.LONG_MS`). Its stream has lost
that time and no token, and it is booked as a loss of guessing.

Pure; owner: the step thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from umad.draft_slices import DraftDone
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.scheduled_request import ScheduledRequest
from umad.scheduler.snapshot import Guessed
from umad.scheduler.speculation.acceptance import AppAcceptances
from umad.scheduler.speculation.choice import LONG_MS, SHORT_MS, weighed
from umad.scheduler.speculation.drafting import NOTHING_ASKED, Drafting, DraftShape, DraftStream
from umad.scheduler.speculation.gain import MeasuredGain, Pace
from umad.scheduler.speculation.guessing_stream import GuessingStream
from umad.scheduler.speculation.other_texts import App, OtherTexts
from umad.scheduler.speculation.price_trial import PriceTrial
from umad.scheduler.steps.cut_wait import CutWait
from umad.scheduler.steps.latency_guard import LatencyGuard
from umad.step import DecodeSlice, GuessSlice, SeqPark, SeqRestore, StepPlan, StepResult

MOST_STREAMS = 8
# All guesses of one step together. Each has a row of logits, and a wrong one has been for nothing.
# Together with one stream's token, 63 fill a tile of llama.cpp's attention on a CPU.
MOST_GUESSES = 63
# While guessing rests, because it has lost, a step still has guesses where each stream copies (the
# next token holds with `SURE_CHANCE`) and the step is expected to be so much faster. What has lost
# was another text: a chat's prose would otherwise take the guesses of the edit that follows it.
SURE_CHANCE, SURE_GAIN = 0.9, 1.5
# So many steps of a number of streams are plain before any has guesses: their price has to be known
# from steps, or guesses would be held against what was learnt of steps with guesses.
FIRST_PLAIN = 9


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
        cut_wait: CutWait,
        draft: DraftShape | None = None,
    ) -> None:
        """entries: every live request by its number. most_rows: the most rows with logits that a
        step may have. cut_wait: how long an arrival waits for a step that it cuts. draft: None
        where there is no draft model."""
        self._entries = entries
        self._cost = cost
        self._guard = guard
        self._guarded = guarded
        self._most_rows = most_rows
        self._cut_wait = cut_wait
        self._streams: dict[int, GuessingStream] = {}
        # What apps are known for: guesses from a stream's own text, and from another one.
        self._in_own, self._in_others = AppAcceptances(), AppAcceptances()
        self._texts = OtherTexts()
        # What all guesses bring together, those of a draft and its reading included.
        self._whole = Pace()
        self.gain = MeasuredGain(self._whole)
        self.drafting = None if draft is None else Drafting(draft, cost, self._whole)
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
        self._texts.take_piece()
        survivals = [self._guess(entry, most) for entry in entries]
        if self._plain[len(decode)] < FIRST_PLAIN:
            self._plain[len(decode)] += 1
            return plan
        n_rows, n_cells = len(decode), plan.n_cells_read
        depth = n_cells / n_rows

        def step_ms(n: int) -> float:
            return self._cost.solo_ms(n_rows + n, round(n_cells + n * depth))

        longest_ms = self._longest_ms(n_rows)
        counts, gain = [0] * n_rows, 1.0
        may_try = any(survivals) and self.gain.may_try()
        if may_try or (self.gain.is_resting and _are_copies(survivals)):
            counts, gain = weighed(
                survivals, step_ms, most=most, each=n_guarded > 0, longest_ms=longest_ms
            )
        if may_try:
            tried = self._trial.counts(
                survivals, step_ms, most=most, used=max(counts), longest_ms=longest_ms
            )
            if any(tried):
                counts, gain = tried, float("inf")
        elif gain < SURE_GAIN:
            counts, gain = [0] * n_rows, 1.0
        asked = NOTHING_ASKED
        if self.drafting is not None:
            asked = self.drafting.asked(
                [self._draft_of(entry) for entry in entries],
                survivals,
                step_ms,
                most=most,
                each=n_guarded > 0,
                counts=counts,
                gain=gain,
            )
            counts = asked.counts or counts
        guesses = [
            GuessSlice(row.rid, row.seq, row.position + 1, self._guesses_of(row.rid, count))
            for at, (row, count) in enumerate(zip(decode, counts, strict=True))
            if count and at not in asked.drafted
        ]
        if guesses:
            plan = self._with(plan, tuple(guesses))
        return replace(plan, drafts=asked.orders) if asked.orders else plan

    def _longest_ms(self, n_streams: int) -> float:
        """What a step of so many streams may take. Where there are several, each of them would
        wait for the guesses of the others."""
        if n_streams > 1 or not self._cut_wait.can_cut:
            return SHORT_MS
        return max(SHORT_MS, self._cut_wait.longest_ms(SHORT_MS, LONG_MS))

    def with_drafted(self, plan: StepPlan, done: DraftDone) -> StepPlan:
        """Return a plan with what a draft model has guessed for it."""
        if self.drafting is not None:
            self.drafting.learn(done.calls)
        rows = {row.rid: row for row in plan.decode}
        guesses = list(plan.guesses)
        for one in done.drafted:
            draft, row = self._draft_of(self._entries.get(one.rid)), rows.get(one.rid)
            if draft is None or row is None:
                continue
            draft.told(one)
            if one.tokens:
                start = row.position + 1
                guesses.append(GuessSlice(row.rid, row.seq, start, one.tokens, drafted=True))
        if not any(one.drafted for one in guesses):
            # It has read, or mail has ended its work: a plain step that took longer.
            plain_ms = self._cost.solo_ms(len(plan.decode), _cells_of(plan.decode))
            self._whole.learn(plain_ms, plain_ms + done.ms)
        plan = replace(plan, drafts=(), draft_ms=done.ms, draft_bytes=done.bytes_moved)
        return self._with(plan, tuple(guesses))

    def _draft_of(self, entry: ScheduledRequest | None) -> DraftStream | None:
        stream = None if entry is None else self._streams.get(entry.rid)
        return None if stream is None else stream.draft

    def _guesses_of(self, rid: int, count: int) -> tuple[int, ...]:
        return self._streams[rid].guesses[:count]

    def _guess(self, entry: ScheduledRequest, most: int) -> list[float]:
        if not entry.speculates:
            return []
        stream = self._streams.get(entry.rid)
        if stream is not None:
            stream.follow()
        else:
            stream = self._streams[entry.rid] = self._begun(entry)
        return stream.guess(most, asks=not self.gain.is_resting)

    def _begun(self, entry: ScheduledRequest) -> GuessingStream:
        app, rid = App(entry.owner, entry.app), entry.rid
        stream = GuessingStream(
            entry,
            in_own=self._in_own.of(app),
            in_others=self._in_others.of(app),
            beside=lambda: self._texts.beside(app, rid),
            draft=None if self.drafting is None else self.drafting.stream(entry),
        )
        if not entry.leaves_nothing:
            self._texts.began(app, rid, stream.lookup.text)
        return stream

    def _with(self, plan: StepPlan, guesses: tuple[GuessSlice, ...]) -> StepPlan:
        """A plan with these guesses, which has decode rows and nothing else."""
        n_rows, n_cells = len(plan.decode), _cells_of(plan.decode)
        for one in guesses:
            n_rows += len(one.tokens)
            # The row at a position reads the cells up to it, its own included.
            n_cells += sum(range(one.start + 1, one.start + len(one.tokens) + 1))
        predicted_ms = self._cost.step_ms(n_rows, 0, decode_cells=n_cells)
        # A draft would have to forget what it has read for a step that was cut.
        is_drafted = any(one.drafted for one in guesses)
        is_long = predicted_ms > SHORT_MS and len(plan.decode) == 1 and not is_drafted
        solo_ms = within_ms = 0.0
        if plan.solo_ms:
            caps = [self._entries[row.rid].latency_cap for row in plan.decode]
            solo_ms = self._cost.solo_ms(n_rows, n_cells) + plan.draft_ms
            within_ms = self._guard.within_ms(solo_ms, caps)
        return replace(
            plan,
            guesses=guesses,
            n_cells_read=n_cells,
            predicted_ms=predicted_ms,
            cuttable=plan.cuttable or is_long,
            solo_ms=solo_ms,
            within_ms=within_ms,
        )

    def settle(self, plan: StepPlan, result: StepResult) -> None:
        """Book a step that had guesses."""
        if result.outcome == "cut" and not plan.background:
            # Its time is lost. Where arrivals come one after another, guesses rest.
            plain_ms = self._cost.solo_ms(len(plan.decode), _cells_of(plan.decode))
            self.gain.lost(result.device_ms, plain_ms)
        if result.outcome != "done":
            return
        self.steps_total += 1
        self.accepted_total += sum([one.n_accepted for one in result.verified])
        copied = result.house is not None and result.house.copied_bytes > 0
        if not result.felt_ms or copied or plan.switch_ms:
            return
        n_streams = len(plan.decode)
        planned_ms = self._cost.solo_ms(n_streams + plan.n_guesses, plan.n_cells_read)
        gain, felt_ms = self.gain, result.felt_ms - plan.draft_ms
        if self.drafting is not None and any(one.drafted for one in plan.guesses):
            gain, felt_ms = self.drafting.gain, result.felt_ms
            planned_ms += plan.draft_ms
        gain.learn(
            n_streams=n_streams,
            n_tokens=len(result.sampled),
            plain_ms=self._cost.solo_ms(n_streams, _cells_of(plan.decode)),
            planned_ms=planned_ms,
            felt_ms=felt_ms,
        )

    def snapshot(self) -> Guessed:
        """The counts for the scorecard."""
        return Guessed(
            steps_total=self.steps_total,
            accepted_total=self.accepted_total,
            gain=self._whole.ratio,
        )

    def ended(self, entry: ScheduledRequest) -> None:
        """A request has ended."""
        stream = self._streams.pop(entry.rid, None)
        if stream is None:
            return
        keeps = not entry.leaves_nothing and entry.speculates
        tokens = entry.tokens[: entry.n_tokens] if keeps else None
        self._texts.ended(App(entry.owner, entry.app), entry.rid, tokens)

    def forget(self, owner: str | None) -> None:
        """Give up what is kept of an owner's texts; of everybody's for None."""
        self._texts.forget(owner)


def _are_copies(survivals: Sequence[Sequence[float]]) -> bool:
    return all(one and one[0] >= SURE_CHANCE for one in survivals)


def _cells_of(rows: tuple[DecodeSlice, ...]) -> int:
    return sum([row.position + 1 for row in rows])
