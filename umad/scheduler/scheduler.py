"""Carries every live request from its arrival to its end, and plans each step.

The rules, in the order in which they are applied:
1. Waiting requests are placed while they fit: those that have aged first, then by lane, then the
   owner served least and of its apps the one served least, then by arrival. For a request that
   does not fit, others are preempted if that helps: first those whose clients do not read, of any
   lane, then those of lower lanes. They keep their tokens and are placed again later. Otherwise
   the request waits. Cells that are evicted for it and are worth keeping are copied to host memory
   first (`parking`), a bounded piece per step.
2. The step is composed of placed requests under guard and budget (`governor`).
3. The step's results are booked (`accounting`), its tokens are taken, and ended requests are
reported.

Pure: time is handed in; nothing is sent or decoded here. Owner: the step thread.
"""

from collections.abc import Mapping
from dataclasses import replace

from umad.errors import BadRequest, InternalError, PromptTooLong
from umad.forgetting import ForgetScope, Forgotten
from umad.request import FinishReason
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.memory.checkpoints import Checkpoints
from umad.scheduler.memory.copy_allowance import CopyAllowance
from umad.scheduler.memory.parking import Parker
from umad.scheduler.memory.rent import Rent
from umad.scheduler.memory.residency import Residency
from umad.scheduler.memory.restoring import Restorer
from umad.scheduler.memory.session_saving import SessionSaver
from umad.scheduler.memory.sparing import Spared, Sparing
from umad.scheduler.prompt_changes import PromptChanges
from umad.scheduler.queue.orders import Order
from umad.scheduler.queue.placement import Placer
from umad.scheduler.queue.token_counters import GENERATED_WEIGHT, TokenCounters
from umad.scheduler.queue.waiting_line import WaitingLine
from umad.scheduler.reasons import reasons
from umad.scheduler.scheduled_request import (
    NEVER_NS,
    RequestEvent,
    RequestState,
    ScheduledRequest,
    Submission,
)
from umad.scheduler.snapshot import SchedulerSnapshot
from umad.scheduler.spec import SchedulerSpec
from umad.scheduler.steps.accounting import StepAccounting
from umad.scheduler.steps.adapter_turns import AdapterTurns
from umad.scheduler.steps.candidates import candidates_of
from umad.scheduler.steps.governor import StepGovernor
from umad.scheduler.steps.neighbours import Neighbours
from umad.step import DiskDone, Finished, HouseKept, Sampled, StepPlan, StepResult

# A request that had to age to be placed is safe from preemption until it has a new token, and this
# long after that. If the next arrival could preempt it at once, it would never make progress.
HOLD_NS = 500_000_000


class Scheduler:
    """Schedules all requests of one engine. `assembly.assemble` makes one."""

    def __init__(
        self,
        *,
        spec: SchedulerSpec,
        order: Order,
        guarded: frozenset[str],
        cost: CostModel,
        entries: dict[int, ScheduledRequest],
        counters: Mapping[str, TokenCounters],
        waiting: WaitingLine,
        residency: Residency,
        governor: StepGovernor,
        books: StepAccounting,
        parker: Parker,
        restorer: Restorer,
        checkpoints: Checkpoints,
        saver: SessionSaver,
        freight: CopyAllowance,
        placer: Placer,
        rent: Rent,
        sparing: Sparing,
        adapter_turns: AdapterTurns,
    ) -> None:
        """entries: every live request by its number. `books` uses the same mapping."""
        self.cost = cost
        self.embeds = governor.embeds
        self.guard, self.slices = governor.guard, governor.slices
        self._throttle = governor.throttle
        self._n_cells = spec.n_cells
        self._priority = spec.priority
        self._order = order
        self._guarded = guarded
        self._entries = entries
        self._counters = counters
        self._waiting = waiting
        self._residency = residency
        self._governor = governor
        self.speculator = governor.speculator
        self._books = books
        self._parker = parker
        self._restorer = restorer
        self._checkpoints = checkpoints
        self._saver = saver
        self._freight = freight
        self._placer = placer
        self._rent = rent
        self._sparing = sparing
        self._adapter_turns = adapter_turns
        self._changes = PromptChanges()
        self._last_plan = StepPlan()
        self._planned_ns = 0

    # -- requests come and go -------------------------------------------------------------------

    def submit(self, admission: Submission, now_ns: int) -> None:
        """Take a request on. Raises `PromptTooLong` when no empty pool could hold it."""
        if admission.lane not in self._priority:
            raise BadRequest(f"no lane is called {admission.lane!r}", field="lane")
        entry = ScheduledRequest.of(admission, now_ns)
        if entry.cells_at_most > self._n_cells:
            raise PromptTooLong(
                f"{admission.n_prompt} prompt tokens and {admission.max_new_tokens} to generate "
                f"do not fit the {self._n_cells} cells of this model's context: shorten the "
                "prompt, ask for fewer tokens or serve with a larger --ctx-size",
                field="prompt",
            )
        if admission.rid in self._entries:
            raise InternalError(f"request {admission.rid} is here already")
        self._entries[admission.rid] = entry
        if not entry.ahead:
            entry.account = self._counters[entry.lane].enter(entry.owner, entry.app)
            prompt = admission.tokens[: admission.n_prompt]
            self._changes.note(entry.owner, entry.app, prompt)
        self._adapter_turns.entered(entry)
        self._waiting.add(entry)
        self._saver.look_up(entry, now_ns)
        self._placer.may_place = True

    def cancel(self, rid: int) -> Finished | None:
        """End a request; return None when it is unknown or has ended already."""
        entry = self._entries.get(rid)
        if entry is None:
            return None
        return self._end(entry, RequestEvent.CANCELLED, "cancelled")

    def stop(self, rid: int) -> None:
        """End a request, and keep what it has computed as a prefix."""
        entry = self._entries.get(rid)
        if entry is not None:
            self._end(entry, RequestEvent.FINISHED, "stop")

    def set_lane(self, rid: int, lane: str) -> None:
        """Move a request to another lane; it takes effect at the next step."""
        entry = self._entries.get(rid)
        if entry is None or entry.lane == lane or lane not in self._priority:
            return
        is_waiting = entry.state is RequestState.WAITING
        if is_waiting:
            self._waiting.remove(entry)
        self._counters[entry.lane].leave(entry.owner, entry.app)
        entry.lane = lane
        entry.account = self._counters[lane].enter(entry.owner, entry.app)
        if is_waiting:
            self._waiting.add(entry)
        self._placer.may_place = True

    def pause(self, rid: int, *, gives_way: bool = True) -> None:
        """Compute nothing more for a request until `resume`.

        gives_way: its cells stay only until a waiting request of any lane needs them. When it is
        resumed, they are computed again or put back from host memory.
        """
        entry = self._entries.get(rid)
        if entry is None:
            return
        entry.paused, entry.gives_way = True, gives_way
        if gives_way:
            self._placer.may_place = True

    def resume(self, rid: int) -> None:
        """Go on with a paused request. If it was preempted, its waiting time counts from now on,
        because its client chose not to read before."""
        entry = self._entries.get(rid)
        if entry is None:
            return
        entry.paused = entry.gives_way = False
        if entry.state is RequestState.WAITING:
            self._waiting.rejuvenate(entry, self._planned_ns)
        self._placer.may_place = True

    def guess_nothing(self, rid: int) -> None:
        """Give a request no guesses of next tokens any more."""
        entry = self._entries.get(rid)
        if entry is not None:
            entry.speculates = False

    def forget(self, what: ForgetScope) -> Forgotten:
        """Give up all kept cells and files that `what` covers. Its live requests go on, but leave
        nothing when they end."""
        self._placer.may_place = True
        in_use: set[str] = set()
        for entry in self._entries.values():
            if what.takes(entry.session, entry.owner):
                in_use |= {entry.session} if entry.session is not None else set()
                entry.session, entry.leaves_nothing = None, True
        self._governor.forget(what.owner)
        files = self._saver.forget(what)
        kept = self._parker.forget_kept(what) | self._checkpoints.forget(what)
        kept |= self._residency.forget(what) | files
        return Forgotten(
            sessions=frozenset(kept - in_use), in_use=frozenset(in_use), files=frozenset(files)
        )

    def spare(self, share: float) -> Spared:
        """Make do with `share` of the host memory for copies, because the machine is short of it;
        1 for all of it again."""
        self._placer.may_place = True
        return self._sparing.spare(share)

    def disk_done(self, report: DiskDone) -> None:
        """Book that a session was written or read, or could not be."""
        self._saver.done(report)
        self._placer.may_place = True

    def is_saving(self, now_ns: int) -> bool:
        """Whether sessions are still to be written. An engine that is about to end asks this. After
        some seconds (`session_saving.LAST_SAVES_NS`) the answer is False."""
        return self._saver.hurry(now_ns)

    # -- the step -------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether a request runs or waits, or llama.cpp is to be told of memory operations."""
        media = self._governor.media
        return (
            bool(self._entries)
            or len(self.embeds) > 0
            or self._residency.has_ops
            or (media is not None and media.encoding is not None)
        )

    def plan(self, now_ns: int) -> StepPlan:
        """Plan the next step."""
        self._planned_ns = now_ns
        if self._saver.let_go(now_ns):
            self._placer.may_place = True
        if self._rent.collect() or self._placer.let_followers_go():
            self._placer.may_place = True
        if self._placer.may_place and len(self._waiting):
            self._placer.place(now_ns)
        candidates = candidates_of(
            self._placer.running.values(),
            guarded=self._guarded,
            priority=self._priority,
            order=self._order,
            embeds=len(self.embeds) > 0,
        )
        turn = most_ms = None
        if self._adapter_turns.is_on:
            candidates, turn = self._adapter_turns.choose(candidates, now_ns)
            most_ms = self._adapter_turns.most_ms
        limits = self._governor.limits(candidates)
        copies, hold = self._freight.load(candidates, limits)
        if copies:
            # A request that waits for a copy may be placed once the copy is made.
            self._placer.may_place = True
        files = self._saver.take_ops(now_ns)
        memory = (*self._residency.take_ops(), *copies, *files)
        if not self._sparing.is_told:
            memory = (*memory, *self._sparing.take_ops())
        plan = self._governor.step(
            candidates, limits, memory, now_ns, copies=hold, turn=turn, most_ms=most_ms
        )
        if self._adapter_turns.is_of_use:
            adapters, switch_ms = self._adapter_turns.planned(plan)
            plan = replace(plan, adapters=adapters, switch_ms=switch_ms)
        self._last_plan = plan
        return plan

    def waits(self, now_ns: int) -> dict[int, str]:
        """Return why requests wait, in words, by their numbers. Those that the last plan serves are
        left out, but for prompts that it reads in part."""
        return reasons(
            [entry for entry in self._entries.values() if not entry.ahead],
            waiting=self._waiting,
            placer=self._placer,
            guarded=self._guarded,
            holds=self._governor.holds,
            plan=self._last_plan,
            now_ns=now_ns,
        )

    def kept_house(self, plan: StepPlan, kept: HouseKept | None, now_ns: int) -> bool:
        """Book the results of an idle plan's memory operations; `apply` does it for other plans.

        Return whether the next plan should be made at once, because a request may have waited for
        one of the copies.
        """
        restored = self._freight.settle(kept)
        for entry in restored.broken:
            self._placer.put_back(entry)
        if kept is None:
            return restored.goes_on
        if kept.copied_bytes:
            # A copy moves every byte twice: it is read and written.
            self._throttle.budget.spend(2 * kept.copied_bytes, now_ns, background=plan.background)
        return restored.goes_on or bool(kept.copied_bytes or kept.failed or kept.failed_states)

    def apply(self, plan: StepPlan, result: StepResult, now_ns: int) -> tuple[Finished, ...]:
        """Book the results of a step; return the requests that ended with it."""
        self.kept_house(plan, result.house, now_ns)
        self._throttle.settle(plan, result, now_ns)
        if plan.adapters or self._adapter_turns.is_of_use:
            self._adapter_turns.settle(plan, result)
        if plan.embed is not None:
            self.embeds.settle(plan.embed, result.embed_ms, now_ns, was_cut=result.embed_cut)
        if plan.has_media and self._governor.media is not None:
            rid = -1 if plan.rows is None else plan.rows.rid
            self._governor.media.settle(plan, result, self._residency, self._entries.get(rid))
        emptied = self._books.book(plan, result, copied_ms=self._freight.background_ms(result))
        for entry in emptied:
            self._placer.put_back(entry)
        self._rent.charge(plan.n_rows + plan.n_padding)
        if plan.guesses and self.speculator is not None:
            self.speculator.settle(plan, result)
        ended: list[Finished] = []
        for drawn in result.sampled:
            finished = self.take(drawn, now_ns)
            if finished is not None:
                ended.append(finished)
        return tuple(ended)

    def take(self, drawn: Sampled, now_ns: int) -> Finished | None:
        """Book a token of a request. Return how the request ended, if that token ends it.

        `apply` calls this for all tokens of a step, except those that clients choose. Those come
        later, and their requests are paused until then.
        """
        entry = self._entries.get(drawn.rid)
        if entry is None:
            return None
        # One that was preempted meanwhile is computed again; most tokens change no state.
        if entry.state not in (RequestState.DECODE, RequestState.WAITING):
            entry.on(RequestEvent.SAMPLED)
        if entry.held_until_ns == NEVER_NS:
            entry.held_until_ns = now_ns + HOLD_NS
        entry.tokens[entry.n_tokens] = drawn.token
        entry.n_tokens += 1
        entry.account.charge(GENERATED_WEIGHT)
        reason: FinishReason | None = drawn.finish
        if reason is None and entry.n_tokens >= entry.limit:
            reason = "length"
        return None if reason is None else self._end(entry, RequestEvent.FINISHED, reason)

    @property
    def bytes_per_s(self) -> float | None:
        """The budget's rate in force. A measured rate rises with better measurements."""
        return self._throttle.budget.bytes_per_s

    def heard(self, neighbours: Neighbours, now_ns: int) -> None:
        """Book what the engines of other models did since the last call. Call it before `plan`."""
        self._throttle.heard(neighbours, now_ns)

    def snapshot(self) -> SchedulerSnapshot:
        """Return the counts that the scorecard reads."""
        return SchedulerSnapshot(
            cells_live=self._residency.cells_live,
            cells_retained=self._residency.cells_retained,
            cells_total=self._n_cells,
            running=sum(not entry.ahead for entry in self._placer.running.values()),
            waiting=self.embeds.added_to(self._waiting.counts()),
            preemptions_total=self._placer.preemptions,
            parked=self._parker.n_parked,
            parked_bytes=self._parker.parked_bytes,
            restores_total=self._restorer.restores_total,
            saved=self._saver.n_saved,
            prompt_tokens_total=self._placer.prompt_tokens + self.embeds.tokens_total,
            cached_tokens_total=self._placer.cached_tokens,
            media_shared_total=self._placer.media_shared,
            prompt_changes=self._changes.found,
            guessed=self._governor.guessed,
            adapter_switch_ms=self._adapter_turns.learnt_ms,
            cut_ms=self._governor.slices.wait.ms or 0.0,
        )

    def _end(self, entry: ScheduledRequest, event: RequestEvent, reason: FinishReason) -> Finished:
        if entry.state is RequestState.WAITING:
            self._waiting.remove(entry)
        else:
            self._placer.leave(entry, keep=event is RequestEvent.FINISHED and reason != "error")
        entry.on(event)
        del self._entries[entry.rid]
        self._governor.ended(entry)
        self._adapter_turns.left(entry)
        if not entry.ahead:
            self._counters[entry.lane].leave(entry.owner, entry.app)
        self._placer.may_place = True
        return entry.finished(reason)
