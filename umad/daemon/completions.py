"""Keeps every live request for tokens: accepts, cancels, moves, pauses and ends it.

    client frame ─▶ accept ─▶ journal ─▶ engine ─▶ `umad.daemon.fanout` ─▶ frames of connections

Not: bytes of a connection (`umad.daemon.session`), nor the engines' messages
(`umad.daemon.fanout`).
Owner: the daemon's event loop.
"""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace

from umad.adapters import written
from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.daemon.admission import Admission, nth_order
from umad.daemon.app_shares import AppShares
from umad.daemon.authority import told_to
from umad.daemon.engine import Engine
from umad.daemon.generation import LiveGeneration, Recipient, ServingEngine
from umad.daemon.identity import BY_MOVE, own_process
from umad.daemon.journal import JournalEntry
from umad.daemon.media_deaths import MediaDeaths
from umad.errors import DeadlineExceeded, QueueFull, UmadError, UnknownRequest
from umad.metrics.scorecard import Scorecard
from umad.protocol.lifecycle import FINAL, LifecycleEvent
from umad.protocol.link import CancelOrder, Ended, Pause, Resume, SetLane, Submit
from umad.protocol.messages import (
    Generate,
    encode_error,
    encode_event,
    encode_logits,
    tokens_head,
)
from umad.request import FinishReason, Timings, Usage
from umad.service import Accepted, Done

# Most completions of an app while its client leaves earlier answers unread. Each is held twice, in
# the journal and in the engine.
MOST_UNREAD = 64


class Completions:
    """The live requests of one daemon, by the daemon's name for them."""

    def __init__(
        self, *, admission: Admission, shares: AppShares, scorecard: Scorecard, clock: Clock
    ) -> None:
        self._admission = admission
        self._shares = shares
        self._scorecard = scorecard
        self._clock = clock
        self._live: dict[str, LiveGeneration] = {}
        # Those that have live requests.
        self._engines: set[ServingEngine] = set()
        # Numbers of the completions that the scorecard counts; no number is used twice.
        self.rids = itertools.count(1)
        self._names = itertools.count(1)
        self.media_deaths = MediaDeaths()
        self._unflushed: list[Recipient] = []
        self._idle: asyncio.Future[None] | None = None

    def __iter__(self) -> Iterator[LiveGeneration]:
        return iter(self._live.values())

    def __len__(self) -> int:
        return len(self._live)

    async def idle(self) -> None:
        """Wait until no request is live."""
        if self._live:
            if self._idle is None or self._idle.done():
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    # -- what clients want ------------------------------------------------------------------------

    def accept(
        self,
        recipient: Recipient,
        engine: Engine,
        message: Generate,
        *,
        adapters: tuple[tuple[str, str, float, str], ...] = (),
    ) -> None:
        """Take on a request, or raise the `UmadError` that says why not. adapters: as in
        `Submit`.
        """
        request = message.request
        asker = message.asker or MACHINE_USER
        app = request.app or recipient.identity.app
        # The rules for the front end's own path do not apply where it asks for another app.
        path, parents = own_process(recipient.identity, request.app)
        journal = engine.journal
        choice = self._admission.lane(app, request, path=path, parents=parents, asker=asker)
        lane = choice.lane
        n_waiting = sum(one.journal.n_waiting for one in self._engines)
        cap = self._admission.latency_cap(app, path=path)
        first = self._admission.order(
            request,
            lane=lane,
            app=app,
            n_waiting=n_waiting,
            latency_cap=cap,
            owner=asker.owner,
        )
        if adapters:
            first = replace(first, adapters=adapters)
        others_bytes = sum(one.journal.prompt_bytes for one in self._engines if one is not engine)
        refusal = self.media_deaths.refusal(engine.name, first)
        if refusal is not None:
            raise refusal
        journal.check_room(first, request.n, others_bytes=others_bytes)
        self._shares.check(asker.owner or app, request.n, app=app)
        self._check_unread(recipient, app, asker.owner or app, request.n)

        generation = LiveGeneration(
            client_id=message.id,
            request=f"r{next(self._names)}",
            recipient=recipient,
            engine=engine,
            lane=lane,
            lane_by=choice.by,
            app=app,
            session=request.session,
            asker=asker,
            accepted_ns=self._clock.now_ns(),
            adapters=tuple(written(name, scale) for name, _, scale, _ in adapters),
            adapter_paths=tuple(path for _, path, _, _ in adapters),
            n_left=request.n,
        )
        accepted = Accepted(
            request=generation.request,
            model=engine.name,
            lane=lane,
            queue_position=journal.n_waiting,
            seed=first.sampling.seed,
            max_tokens=first.sampling.max_tokens,
            # What another machine has under the names of the adapters is not known.
            fingerprint="" if adapters else engine.fingerprint,
        )
        self.tell(recipient, encode_event(message.id, accepted))
        self._live[generation.request] = recipient.generations[message.id] = generation
        self._shares.began(generation.whose, request.n)
        self._engines.add(engine)
        owed = engine.owes_news
        for index in range(request.n):
            submit = nth_order(first, index, next(self.rids))
            head = tokens_head(message.id, index)
            entry = journal.add(submit, owner=generation, index=index, head=head)
            generation.entries.append(entry)
            self._scorecard.accepted(
                entry.rid, engine.name, lane, app, generation.accepted_ns, latency_cap=cap
            )
            if submit.logits is not None:
                self.await_client(entry)
            if recipient.paused:
                self._pause(entry, submit)
            else:
                engine.send(submit)
        if request.deadline_ms is not None:
            generation.deadline = asyncio.get_running_loop().call_later(
                request.deadline_ms / 1e3, self._too_late, generation, request.deadline_ms
            )
        if not owed:
            engine.watch()
        self.flush()

    def _check_unread(self, recipient: Recipient, app: str, whose: str, n: int) -> None:
        """Raise `QueueFull` where an app that leaves answers unread asks for too many more."""
        if not recipient.paused:
            return
        unread = sum(one.n_left for one in self if one.whose == whose and one.recipient.paused)
        if unread + n > MOST_UNREAD:
            raise QueueFull(
                f"{unread} completions of {app} are unread, at most {MOST_UNREAD} may be: read the "
                "answers that have come, then ask again"
            )

    def find(self, request: str, asker: Asker = MACHINE_USER) -> LiveGeneration:
        """The live request of that name. Raises `UnknownRequest` also where `asker` may not touch
        it.
        """
        generation = self._live.get(request)
        if generation is None or not asker.may_touch(generation.owner):
            raise UnknownRequest(
                f"no live request is called {request}; umad ps lists them", field="request"
            )
        return generation

    def cancel(self, generation: LiveGeneration) -> None:
        """End a request. Its completions end as "cancelled" once the engine has confirmed that."""
        engine = generation.engine
        for entry in _running(generation):
            engine.journal.advance(entry, LifecycleEvent.CANCEL)
            ended = None if engine.has_sent(entry.rid) else engine.journal.ended(entry)
            if ended is None:
                engine.send(CancelOrder(rid=entry.rid))
            else:
                self.end(entry, ended, self._clock.now_ns())
        self.flush()

    def cancel_all(self) -> None:
        """Cancel every request."""
        for generation in list(self):
            self.cancel(generation)

    def move(self, target: str, lane: str, asker: Asker = MACHINE_USER) -> int:
        """Move the work of a session or a request to `lane`; return how many requests moved.

        A session is the asker's own of that name. An admin without a session of that name moves the
        sessions of that name of all owners. Raises `UnknownRequest` where there is neither,
        `BadRequest` for an unknown lane, `Refused` for a lane above the asker's.
        """
        self._admission.check_lane(lane, asker)
        owners: tuple[str, ...] = (asker.owner,)
        known_session = self._admission.move_session(asker.owner, target, lane)
        if not known_session and asker.is_admin:
            owners = self._admission.owners()
            known = [self._admission.move_session(owner, target, lane) for owner in owners]
            known_session = any(known)
        moved = [
            one
            for one in self
            if (one.request == target and asker.may_touch(one.owner))
            or (one.session == target and one.owner in owners)
        ]
        if not moved and not known_session:
            raise UnknownRequest(
                f"no live request or session is called {target}; umad ps lists them", field="target"
            )
        for generation in moved:
            generation.lane, generation.lane_by = lane, BY_MOVE
            for entry in _running(generation):
                generation.engine.journal.set_lane(entry, lane)
                generation.engine.send(SetLane(rid=entry.rid, lane=lane))
                self._scorecard.moved(entry.rid, lane)
        return len(moved)

    def pause(self, recipient: Recipient) -> None:
        """Pause the completions of a client that reads too slowly."""
        for generation in recipient.generations.values():
            for entry in _running(generation):
                self._pause(entry)

    def resume(self, recipient: Recipient) -> None:
        """Resume the completions of a client that has caught up."""
        for generation in recipient.generations.values():
            engine = generation.engine
            owed = engine.owes_news
            for entry in _running(generation):
                engine.journal.advance(entry, LifecycleEvent.RESUME)
                engine.send(Resume(rid=entry.rid))
                self._scorecard.resumed(entry.rid)
            if not owed and engine.owes_news:
                engine.watch()

    def drop(self, recipient: Recipient) -> None:
        """End every request of a connection that has closed, at once and without a message."""
        for generation in list(recipient.generations.values()):
            self._let_go(generation, "cancelled")

    # -- how they end -----------------------------------------------------------------------------

    def end(self, entry: JournalEntry[LiveGeneration], ended: Ended, now_ns: int) -> None:
        """End a completion as the engine reports; `flush` sends the message."""
        generation = entry.owner
        generation.engine.journal.advance(entry, LifecycleEvent.ENDED)
        self._scorecard.ended(entry.rid, ended.reason, now_ns)
        self.tell(
            generation.recipient,
            encode_event(generation.client_id, _done(entry, ended, now_ns)),
        )
        generation.n_left -= 1
        self._shares.ended(generation.whose, 1)
        if generation.n_left == 0:
            self._forget(generation)

    def fail(self, generation: LiveGeneration, error: UmadError) -> None:
        """End a request with an error and cancel it in its engine; `flush` sends the message."""
        error = told_to(generation.asker, error, generation.engine.name)
        self.tell(generation.recipient, encode_error(error, generation.client_id))
        self._let_go(generation, "error")

    def fail_all(self, error: UmadError) -> None:
        """End every request with an error."""
        for generation in list(self):
            self.fail(generation, error)
        self.flush()

    def await_client(
        self, entry: JournalEntry[LiveGeneration], position: int | None = None
    ) -> None:
        """Note that a completion waits for its client, and tell the client; `flush` sends the
        message.

        The completion continues once its client has attached its logits, or has chosen the token of
        `position`.
        """
        self._scorecard.awaits_client(entry.rid, self._clock.now_ns())
        self.show(entry, position)

    def show(self, entry: JournalEntry[LiveGeneration], position: int | None) -> None:
        """Tell a client that it may read the logits of `position`; `flush` sends the message."""
        owner = entry.owner
        self.tell(owner.recipient, encode_logits(owner.client_id, entry.index, position))

    def tell(self, recipient: Recipient, body: bytes) -> None:
        """Queue a message for a connection; `flush` sends it."""
        if recipient.queue(body):
            self._unflushed.append(recipient)

    def flush(self) -> None:
        """Write the queued messages: one write for each connection that has some."""
        unflushed, self._unflushed = self._unflushed, []
        for recipient in unflushed:
            recipient.flush()

    def _let_go(self, generation: LiveGeneration, reason: FinishReason) -> None:
        self._shares.ended(generation.whose, generation.n_left)
        generation.n_left = 0
        engine = generation.engine
        now_ns = self._clock.now_ns()
        for entry in _running(generation):
            engine.journal.advance(entry, LifecycleEvent.FAIL)
            engine.send(CancelOrder(rid=entry.rid))
            self._scorecard.ended(entry.rid, reason, now_ns)
        self._forget(generation)

    def _forget(self, generation: LiveGeneration) -> None:
        if generation.deadline is not None:
            generation.deadline.cancel()
        del self._live[generation.request]
        del generation.recipient.generations[generation.client_id]
        generation.recipient.settled()
        if not len(generation.engine.journal):
            self._engines.discard(generation.engine)
        if not self._live and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _pause(self, entry: JournalEntry[LiveGeneration], *before: Submit) -> None:
        engine = entry.owner.engine
        engine.journal.advance(entry, LifecycleEvent.PAUSE)
        engine.send(*before, Pause(rid=entry.rid))
        self._scorecard.paused(entry.rid)

    def _too_late(self, generation: LiveGeneration, deadline_ms: int) -> None:
        self.fail(
            generation,
            DeadlineExceeded(f"the request had not ended {deadline_ms} ms after it came"),
        )
        self.flush()


def _running(generation: LiveGeneration) -> list[JournalEntry[LiveGeneration]]:
    return [entry for entry in generation.entries if entry.state not in FINAL]


def _done(entry: JournalEntry[LiveGeneration], ended: Ended, now_ns: int) -> Done:
    accepted_ns = entry.owner.accepted_ns
    return Done(
        index=entry.index,
        finish_reason=ended.reason,
        stop=ended.stop,
        usage=Usage(
            # A restarted engine counts the tokens it was handed as prompt; the journal has the
            # right number.
            prompt_tokens=entry.prompt_tokens if entry.resumed else ended.prompt_tokens,
            cached_tokens=ended.cached_tokens,
            completion_tokens=entry.n_made if entry.resumed else ended.completion_tokens,
        ),
        timings=Timings(
            queued_ms=((entry.begun_ns or now_ns) - accepted_ns) / 1e6,
            first_token_ms=((entry.first_token_ns or now_ns) - accepted_ns) / 1e6,
            total_ms=(now_ns - accepted_ns) / 1e6,
        ),
    )
