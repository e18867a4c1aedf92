"""Runs the step loop: read mail, plan, decode, sample, apply, send news; then again.

Not: which work runs (`umad.scheduler`), or how a backend decodes (`umad.engine.backend`).
Owner: the step thread, which is the process's main thread. It alone touches the scheduler, the
llama.cpp context and the streams; other threads hand it mail and take its news.
"""

import gc
from collections.abc import Callable

from umad.engine.adapters.adapter_set import AdapterShelf, NoAdapters
from umad.engine.ahead.desk import AheadDesk
from umad.engine.backend import EmbedRunner
from umad.engine.board.seat import BoardSeat
from umad.engine.drafts.desk import NO_DRAFT, DraftDesk
from umad.engine.embedding.cache import VectorCache
from umad.engine.embedding.desk import EmbedDesk
from umad.engine.execution import StepRunner, bytes_moved_by, carried_by, no_decode
from umad.engine.facts import StepTraffic
from umad.engine.logits.readers import Readers
from umad.engine.mail.step_mail import (
    AheadMail,
    Arrival,
    AttachRing,
    EmbedMail,
    ForgetMail,
    Mail,
    SpareMail,
    StepMail,
)
from umad.engine.mail.step_news import News, rejection
from umad.engine.mail.step_tally import StepTally, Totals
from umad.engine.media.desk import NO_TURN, MediaDesk
from umad.engine.media.rows import RowCache
from umad.engine.sessions.forget_desk import ForgetDesk
from umad.engine.steps.completion_stream import CompletionStream
from umad.engine.steps.spinning import NoSpinWatch, SpinWatch
from umad.engine.steps.token_drawing import TokenDrawing
from umad.engine.steps.told_waits import ToldWaits
from umad.errors import UmadError
from umad.protocol.link import (
    Attached,
    CancelOrder,
    Choose,
    FromEngine,
    Pause,
    Resume,
    SetLane,
    Stop,
)
from umad.protocol.link import StepStats as Stats
from umad.scheduler import Scheduler, SchedulerSnapshot
from umad.scheduler.steps.neighbours import NOBODY
from umad.step import DiskDone, Finished, Sampled, StepPlan, StepResult, Verified
from umad.units import MS_PER_S, NS_PER_MS

# Only mail ends an idle wait. This bound keeps any wait from lasting for ever.
IDLE_S = 1.0
STANDING_NS = 20 * NS_PER_MS
# An engine that is about to end looks this often whether its last sessions are written.
LAST_SAVES_LOOK_MS = 50.0
CHOICE_S = 10.0
# While nothing else is to be done, the loop looks this often whether a late mask has been made.
MASK_LOOK_MS = 1.0


class StepLoop:
    """Runs until it is told to stop and no work is left."""

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        runner: StepRunner,
        inbox: StepMail,
        emit: Callable[[News | FromEngine], None],
        traffic: StepTraffic,
        guarded: frozenset[str],
        now_ns: Callable[[], int],
        seat: BoardSeat | None = None,
        spin_watch: SpinWatch | None = None,
        choice_s: float = CHOICE_S,
        at_rest: Callable[[], None] = lambda: None,
        tally: StepTally | None = None,
        embedder: EmbedRunner | None = None,
        vectors: VectorCache | None = None,
        ahead: AheadDesk | None = None,
        adapters: AdapterShelf | None = None,
        media: MediaDesk | None = None,
        drafts: DraftDesk = NO_DRAFT,
    ) -> None:
        """choice_s: how long a completion waits for the client that chooses its tokens. at_rest:
        called when work has ended and none has come for a while. The others: None for none."""
        self._scheduler = scheduler
        self._runner = runner
        self._inbox = inbox
        self._emit = emit
        self._traffic = traffic
        self._guarded = guarded
        self._now_ns = now_ns
        self._seat = seat or BoardSeat.alone()
        self._spin_watch = spin_watch or NoSpinWatch()
        self._streams: dict[int, CompletionStream] = {}
        self._readers = Readers(scheduler, n_vocab=traffic.n_vocab, wait_s=choice_s)
        self._totals = Totals()
        self._drawing = TokenDrawing(self._streams, self._readers, self._totals, now_ns, scheduler)
        self._tally = tally or StepTally()
        self._last_standing: SchedulerSnapshot | None = None
        self._waits = ToldWaits(scheduler)
        # `_left_ns`: when the tokens of the latest step were sent; 0 once the loop has rested.
        self._standing_at_ns = self._left_ns = 0
        self._adapters = adapters or NoAdapters()
        self._media = media or MediaDesk(None, RowCache(0), now_ns=now_ns)
        self._stopping = self._has_garbage = False
        self._at_rest = at_rest
        self._embeds = EmbedDesk(scheduler.embeds, embedder, emit, vectors)
        self._forgetting = ForgetDesk(emit)
        self._drafts = drafts
        self._ahead = AheadDesk(scheduler, put=None, lane="") if ahead is None else ahead

    def is_guarded(self, rid: int) -> bool:
        """True if a live completion is in a guarded lane. Any thread: it is a single look-up."""
        stream = self._streams.get(rid)
        return stream is not None and stream.guarded

    def run(self) -> None:
        """Serve. Raises `EngineFailed` when llama.cpp cannot go on."""
        while True:
            news = News()
            for mail in self._inbox.drain():
                self._read(mail, news)
            began_ns = self._now_ns()
            if self._readers:
                for rid in self._readers.overdue(began_ns):
                    self._let_go(rid, news)
            if self._drawing:
                for sampled in self._drawing.late(news):
                    self._take(sampled, news)
            if self._ahead.has_prompt and not self._streams:
                self._ahead.begin(began_ns)
            neighbours = self._seat.others(began_ns)
            if neighbours is not NOBODY:
                self._scheduler.heard(neighbours, began_ns)
            plan = self._scheduler.plan(began_ns)
            if not plan.is_idle:
                self._step(plan, news, began_ns)
                continue
            self._left_ns = 0
            kept = self._runner.keep_house(plan.memory)
            goes_on = self._scheduler.kept_house(plan, kept, began_ns)
            # A silent engine is taken for one that hangs, so work that is held back is told of.
            is_held = plan.wait_ms >= IDLE_S * MS_PER_S or (
                plan.wait_ms > 0 and began_ns >= self._waits.due_ns
            )
            if plan.memory or news or is_held:
                # Cells were given back without a step. The scorecard must not show them as used.
                self._last_standing = None
                news.stats = self._tell(began_ns)
                self._emit(news)
            wait_ms = plan.wait_ms
            if self._stopping and not self._streams:
                if not self._scheduler.is_saving(began_ns):
                    return
                wait_ms = LAST_SAVES_LOOK_MS
            if goes_on:
                continue
            if self._drawing:  # a mask comes without mail
                wait_ms = min(wait_ms or MASK_LOOK_MS, MASK_LOOK_MS)
            held_ns = int(plan.wait_ms * NS_PER_MS)
            self._seat.waits(began_ns + held_ns if held_ns else 0)
            self._rest(wait_ms)

    def _rest(self, wait_ms: float) -> None:
        self._embeds.rest(self._now_ns())
        if wait_ms:
            self._inbox.wait(min(IDLE_S, wait_ms / MS_PER_S))
            return
        # The garbage collector is off while work is done, because its pauses would stall streams.
        if self._inbox.wait(IDLE_S):
            return
        if self._readers:
            self._emit(News(stats=self._tell(self._now_ns())))
        if not self._has_garbage:
            return
        self._has_garbage = False
        gc.collect()
        self._at_rest()

    # -- mail -----------------------------------------------------------------------------------

    def _read(self, mail: Mail, news: News) -> None:
        scheduler = self._scheduler
        match mail:
            case Arrival():
                self._admit(mail, news)
            case AheadMail():
                self._ahead.read(mail)
            case EmbedMail():
                self._ahead.give_way()
                self._embeds.read(mail, self._now_ns())
            case CancelOrder():
                self._let_go(mail.rid, news)
            case SetLane():
                scheduler.set_lane(mail.rid, mail.lane)
                stream = self._streams.get(mail.rid)
                if stream is not None:
                    stream.guarded = mail.lane in self._guarded
                    self._show_standing()
            case Pause():
                if not self._drawing.pause(mail.rid):
                    self._readers.pause(mail.rid, self._streams.get(mail.rid))
            case Resume():
                if not self._drawing.resume(mail.rid):
                    self._readers.resume(mail.rid, self._streams.get(mail.rid))
            case Attached():
                self._readers.attached(self._streams.get(mail.rid))
            case Choose():
                self._choose(mail, news)
            case AttachRing():
                stream = self._streams.get(mail.rid)
                self._emit(self._readers.answer(mail.call, stream, mail.ring, choose=mail.choose))
            case ForgetMail():
                self._ahead.forget(mail.what)
                self._drafts.forget()
                self._forgetting.begin(mail, scheduler.forget(mail.what))
            case SpareMail():
                self._emit(mail.answered(scheduler.spare(mail.share)))
            case DiskDone():
                self._runner.disk_done(mail)
                scheduler.disk_done(mail)
                self._forgetting.disk_done(mail)
            case Stop():
                self._stopping = True
                self._ahead.give_way()

    def _admit(self, arrival: Arrival, news: News) -> None:
        admission = self._forgetting.arriving(arrival.admission)
        self._ahead.give_way()
        try:
            self._adapters.take(admission.rid, arrival.adapters)
            self._media.take(admission.rid, arrival.media)
            self._scheduler.submit(admission, self._now_ns())
        except UmadError as error:
            self._adapters.leave(admission.rid)
            self._media.leave(admission.rid)
            news.rejected.append(rejection(admission.rid, error))
            return
        self._streams[admission.rid] = arrival.stream
        self._ahead.admitted(admission, arrival.turn)
        self._readers.admitted(arrival.stream, self._now_ns())
        self._last_standing = None
        self._show_standing()

    def _let_go(self, rid: int, news: News) -> None:
        finished = self._scheduler.cancel(rid)
        if finished is not None:
            self._end(finished, news)

    def _choose(self, choice: Choose, news: News) -> None:
        """Accept a client's token. An impossible choice ends its own request and no other."""
        stream = self._streams.get(choice.rid)
        if stream is None:
            return
        try:
            self._readers.chosen(stream, choice.position, choice.token)
        except UmadError as error:
            self._fail(choice.rid, error, news)
            return
        self._totals.sampled += 1
        self._totals.copied += 1
        self._take(self._drawing.accept(stream, choice.token, None, news), news)

    def _fail(self, rid: int, error: UmadError, news: News) -> None:
        """End a completion with its own error."""
        stream = self._streams.get(rid)
        if stream is not None:
            stream.error = error
            self._let_go(rid, news)

    def _take(self, sampled: Sampled, news: News) -> None:
        """Book a token that was drawn or chosen after its step had ended."""
        finished = self._scheduler.take(sampled, self._now_ns())
        if finished is not None:
            self._end(finished, news)

    def _show_standing(self) -> None:
        self._seat.standing(sum([one.guarded for one in self._streams.values()]), self._now_ns())

    # -- the step -------------------------------------------------------------------------------

    def _step(self, plan: StepPlan, news: News, began_ns: int) -> None:
        runner = self._runner
        self._seat.begins(began_ns)
        self._spin_watch.begins()
        plan = self._drafts.completed(plan, self._inbox.has_mail)
        # Texts are embedded first, so their time counts as part of this step.
        embedded = self._embeds.run(plan, began_ns)
        turned = NO_TURN if plan.encode is None else self._media.encode(plan.encode)
        decoded = runner.run(plan) if plan.decodes else no_decode(runner.keep_house(plan.memory))
        sampled = self._drawing.sample(decoded, news) if decoded.rids else ()
        verified: tuple[Verified, ...] = ()
        if plan.guesses and decoded.rids:
            sampled, verified = self._drawing.verify(plan.guesses, decoded, sampled, news)
        if decoded.scored:
            sampled = (*sampled, *self._drawing.score(decoded, news))
        now_ns = self._now_ns()
        felt_ms = (now_ns - self._left_ns) / NS_PER_MS if self._left_ns else 0.0
        self._left_ns = now_ns
        news.solo_ms, house = plan.solo_ms, decoded.house
        bytes_moved = bytes_moved_by(plan, decoded, self._traffic)
        result = StepResult(
            outcome=decoded.outcome,
            sampled=sampled,
            verified=verified,
            device_ms=decoded.device_ns / NS_PER_MS,
            felt_ms=felt_ms,
            bytes_moved=bytes_moved,
            cut_ms=decoded.cut_ns / NS_PER_MS,
            seq_lengths=runner.lengths(plan) if decoded.outcome == "cut" else (),
            house=decoded.house,
            embed_ms=embedded.ns / NS_PER_MS,
            embed_cut=embedded.was_cut,
            media_ms=(turned.ns + decoded.rows_ns) / NS_PER_MS,
            is_encoded=turned.is_done,
            crowded=self._seat.ends(now_ns) or self._media.computes,
            bulk_beside=self._media.computes_bulk,
        )
        self._totals.cuts += embedded.was_cut + (decoded.outcome == "cut")
        if decoded.outcome == "cut":
            news.stats = self._tell(began_ns)
        elif decoded.outcome == "done":
            for piece in plan.prefill:
                news.progress(self._streams.get(piece.rid), piece.start + piece.n_tokens)
        n_background, news.carried = carried_by(plan, self._streams, house)
        # A completion that was let go gave its cells back, so statistics are sent at once. Tokens
        # do not wait for them. A first token comes after a rest, when statistics are due.
        is_due = self._tally.is_due(now_ns)
        if news.ended or (is_due and not news.drawn):
            news.stats = self._tell(now_ns)
            is_due = False
        # Tokens leave before the books are done: daemon and clients work on other cores meanwhile.
        if news:
            self._emit(news)
        self._tally.add(
            plan,
            decoded,
            n_background=n_background,
            bytes_moved=bytes_moved,
            began_ns=began_ns,
            embedded=embedded,
        )
        self._seat.stepped(
            bytes_moved, now_ns, background=plan.background, bytes_per_s=self._scheduler.bytes_per_s
        )
        last = News()
        for finished in self._scheduler.apply(plan, result, now_ns):
            self._end(finished, last)
            is_due = is_due or finished.rid < 0  # cells are in use, though it is no news
        if turned.error is not None and plan.encode is not None:
            self._fail(plan.encode.rid, turned.error, last)
        if last or is_due or decoded.outcome == "cut":
            # A cut brought no tokens, so its time must not be counted with that of steps which did.
            last.stats = self._tell(now_ns)
            self._emit(last)
        self._has_garbage = True
        self._embeds.answer(embedded)
        self._spin_watch.look(now_ns, is_read=plan.solo_ms > 0)

    def _end(self, finished: Finished, news: News) -> None:
        stream = self._streams.pop(finished.rid, None)
        self._adapters.leave(finished.rid)
        self._media.leave(finished.rid)
        self._ahead.ended(finished, guarded=stream is not None and stream.guarded)
        self._last_standing = None
        if stream is None:
            return
        self._readers.ended(stream)
        self._drawing.forget(finished.rid)
        self._show_standing()
        if stream.error is not None:
            news.rejected.append(rejection(finished.rid, stream.error))
        else:
            news.ended.append((finished, stream))

    def _standing(self, now_ns: int) -> SchedulerSnapshot:
        """The scheduler's counts, at most `STANDING_NS` old, and made anew when a request has come
        or gone: counting takes a tenth of the time that the loop may take on a small model."""
        if self._last_standing is None or now_ns - self._standing_at_ns > STANDING_NS:
            self._last_standing = self._scheduler.snapshot()
            self._standing_at_ns = now_ns
        return self._last_standing

    def _tell(self, now_ns: int) -> Stats:
        return self._tally.told(
            self._standing(now_ns),
            totals=self._totals,
            media=self._media.counts,
            now_ns=now_ns,
            waits=self._waits.now(now_ns),
        )
