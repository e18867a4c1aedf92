"""Carries what engines report to the clients it concerns.

Hot path: `engine_tokens`, once a step for all streams. A token's frame is the completion's own head
and the tail that the engine packed. The transport joins a step's frames into one write for each
connection, and no task is switched.
Not: how a request begins or is given up (`umad.daemon.completions`). Owner: the event loop.
"""

from collections.abc import Sequence
from typing import Any

from umad.clock import Clock
from umad.daemon.completions import Completions
from umad.daemon.engine import Engine
from umad.daemon.engine_state import GONE, EngineState
from umad.daemon.generation import LiveGeneration
from umad.daemon.journal import Journal, JournalEntry
from umad.daemon.senses import naming_others
from umad.errors import MediaUnsupported, ProtocolViolation, UmadError
from umad.metrics.scorecard import Scorecard
from umad.protocol.engine_words import MOST_MS
from umad.protocol.errors import error_of
from umad.protocol.lifecycle import LifecycleEvent, LifecycleState
from umad.protocol.link import Pause, Prefilled, Scored, StepReport, Submit
from umad.protocol.messages import encode_event, encode_prompt_logprobs, encode_tokens
from umad.service import Loading, Progress
from umad.step import CARRIED_MOST


class Fanout:
    """The daemon's `EngineEvents`."""

    def __init__(self, *, completions: Completions, scorecard: Scorecard, clock: Clock) -> None:
        self._completions = completions
        # Those that were ready once and were not ended since, by name.
        self._engines: dict[str, Engine] = {}
        self._scorecard = scorecard
        self._clock = clock

    def engine_ready(self, engine: Engine) -> None:
        """Send a new process every live completion, with the tokens it already has."""
        self._engines[engine.name] = engine
        if engine.restarts and not engine.suspended_for:
            self._scorecard.engine_restarted(engine.name, self._clock.now_ns())
        for entry in engine.journal:
            order = engine.journal.replay(entry)
            if not isinstance(order, Submit):
                continue
            if not entry.resumed and entry.index == 0 and not order.adapters:
                self._tell_of_model(engine, entry.owner)
            if order.logits is not None:
                self._completions.await_client(entry)
            if entry.state is LifecycleState.PAUSED:
                engine.send(order, Pause(rid=entry.rid))
            else:
                engine.send(order)
        self._completions.flush()

    def _tell_of_model(self, engine: Engine, owner: LiveGeneration) -> None:
        """Tell a client that waited for the load what the model is."""
        if owner.recipient.wants_loading:
            ready = Loading(
                model=engine.name,
                state=engine.state.value,
                share=1.0,
                fingerprint=engine.fingerprint,
            )
            self._completions.tell(owner.recipient, encode_event(owner.client_id, ready))

    def engine_died(self, engine: Engine) -> None:
        """Let its completions wait for the next process, and end those with nothing left to do."""
        now_ns = self._clock.now_ns()
        engine.waits = {}
        if self._completions.media_deaths.died(engine.name):
            self._refuse_media(engine)
        for ended in engine.journal.engine_lost():
            entry = engine.journal.get(ended.rid)
            if entry is not None:
                self._completions.end(entry, ended, now_ns)
        self._completions.flush()

    def _refuse_media(self, engine: Engine) -> None:
        """End the requests with a medium that the engine died at again."""
        for entry in list(engine.journal):
            refusal = self._completions.media_deaths.refusal(engine.name, entry.submit)
            if refusal is not None:
                self._completions.fail(entry.owner, refusal)

    def engine_gave_way(self, engine: Engine) -> None:
        """Let its completions wait for the next process. Their pauses are no waits that the guard
        could have kept short.
        """
        self._completions.media_deaths.computes(engine.name, "")
        self.engine_died(engine)
        for entry in engine.journal:
            if entry.ids and entry.state is not LifecycleState.PAUSED:
                self._scorecard.paused(entry.rid)
                self._scorecard.resumed(entry.rid)

    def engine_suspended(self, engine: Engine) -> None:
        """Begin its counts anew; nothing is lost."""
        engine.stats, engine.waits = None, {}
        self._scorecard.engine_suspended(engine.name)

    def engine_ended(self, engine: Engine, error: UmadError) -> None:
        """End everything that ran on the engine with `error`: it is not started again."""
        self._engines.pop(engine.name, None)
        for generation in [one for one in self._completions if one.engine is engine]:
            self._completions.fail(generation, error)
        self._completions.flush()
        if engine.state not in GONE or engine.state is EngineState.STOPPED:
            self._scorecard.forget(engine.name)

    def engine_waits(self, engine: Engine) -> None:
        """Tell the clients that want to know how their model's load stands."""
        loading = Loading(
            model=engine.name,
            state=engine.state.value,
            share=engine.load_share if engine.state is EngineState.STARTING else None,
            why=engine.waits_for,
        )
        told: set[str] = set()
        for entry in engine.journal:
            owner = entry.owner
            if owner.recipient.wants_loading and owner.request not in told:
                told.add(owner.request)
                self._completions.tell(owner.recipient, encode_event(owner.client_id, loading))
        self._completions.flush()

    def engine_tokens(self, engine: Engine, unpacked: Sequence[Any], now_ns: int) -> None:
        """Pass on a step that brought tokens only.

        unpacked: the message's number, the step's length had it run alone, what it carried (bits of
        `umad.step`), then rid, token and tail of each token; a stream may have several. An unknown
        rid belongs to a completion that ended before the step did.
        """
        journal, note = engine.journal, self._scorecard.tokens
        values = iter(unpacked)
        next(values)
        solo_ms, carried = next(values), next(values)
        if not 0 <= solo_ms < MOST_MS:  # a text fails here too
            raise ProtocolViolation("a step's length is no length of time")
        if not 0 <= carried <= CARRIED_MOST:
            raise ProtocolViolation("a step carried what no step carries")
        for rid, token, tail in zip(values, values, values, strict=True):
            entry = journal.get(rid)
            if entry is None:
                continue
            if entry.state is not LifecycleState.GENERATING:
                self._begin(journal, entry, now_ns)
            ids = entry.ids
            ids.append(token)
            if len(ids) > entry.most_tokens:
                raise _too_many(entry)
            note(rid, 1, now_ns, solo_ms, carried)
            entry.owner.recipient.send(entry.head + tail)

    def _begin(
        self, journal: Journal[LiveGeneration], entry: JournalEntry[LiveGeneration], now_ns: int
    ) -> None:
        # The table maps (GENERATING, TOKENS) to itself; it is not walked for every token.
        journal.advance(entry, LifecycleEvent.TOKENS)
        entry.begun_ns = entry.begun_ns or now_ns
        entry.first_token_ns = entry.first_token_ns or now_ns

    def engine_report(self, engine: Engine, report: StepReport, now_ns: int) -> None:
        """Pass on the news of one step.

        An unknown rid belongs to a completion that ended before the step did.
        """
        journal, completions, scorecard = engine.journal, self._completions, self._scorecard
        if report.stats is not None:
            engine.stats = report.stats
            if report.stats.waits is not None:
                engine.waits = report.stats.waits
            scorecard.step(engine.name, report.stats)
        if report.medium is not None:
            completions.media_deaths.computes(engine.name, report.medium)
        for prefilled in report.prefilled:
            self._prefilled(engine, prefilled, now_ns)
        for scored in report.scored:
            self._scored(engine, scored)
        # The order matters: a row that is only read comes before the token drawn from it. A row to
        # choose from comes after the token that was chosen before.
        rows = [(journal.get(rid), position) for rid, position in report.logits]
        for entry, position in rows:
            if entry is not None and entry.submit.logits == "read":
                completions.show(entry, position)
        for news in report.emitted:
            entry = journal.get(news.rid)
            if entry is None:
                continue
            if entry.state is not LifecycleState.GENERATING:
                self._begin(journal, entry, now_ns)
            entry.ids.extend(news.ids)
            if len(entry.ids) > entry.most_tokens:
                raise _too_many(entry)
            scorecard.tokens(
                news.rid, len(news.ids), now_ns, report.solo_ms, carried=report.carried
            )
            owner = entry.owner
            completions.tell(
                owner.recipient,
                encode_tokens(owner.client_id, entry.index, news.text, news.ids, news.logprobs),
            )
        for entry, position in rows:
            if entry is not None and entry.submit.logits == "choose":
                completions.await_client(entry, position)
        for rejected in report.rejected:
            entry = journal.get(rejected.rid)
            if entry is not None:
                error = error_of(rejected.code, rejected.message, rejected.field)
                if isinstance(error, MediaUnsupported):
                    error = naming_others(
                        error, _kind_at(entry, error.field), self._engines.values()
                    )
                completions.fail(entry.owner, error)
        for ended in report.ended:
            entry = journal.get(ended.rid)
            if entry is not None:
                completions.end(entry, ended, now_ns)
        completions.flush()

    def _prefilled(self, engine: Engine, prefilled: Prefilled, now_ns: int) -> None:
        entry = engine.journal.get(prefilled.rid)
        if entry is None:
            return
        engine.journal.advance(entry, LifecycleEvent.PREFILLED)
        entry.begun_ns = entry.begun_ns or now_ns
        if entry.ids:  # a restarted engine reads what its client already has
            return
        entry.prompt_tokens = prefilled.total_tokens
        progress = Progress(
            index=entry.index,
            done_tokens=prefilled.done_tokens,
            total_tokens=prefilled.total_tokens,
        )
        owner = entry.owner
        self._completions.tell(owner.recipient, encode_event(owner.client_id, progress))

    def _scored(self, engine: Engine, scored: Scored) -> None:
        entry = engine.journal.get(scored.rid)
        if entry is None:
            return
        owner = entry.owner
        self._completions.tell(
            owner.recipient,
            encode_prompt_logprobs(
                owner.client_id,
                entry.index,
                start=scored.start,
                before=scored.before,
                ids=scored.ids,
                logprobs=scored.logprobs,
            ),
        )


def _kind_at(entry: JournalEntry[LiveGeneration], field: str | None) -> str:
    """The kind of the file in that field of a request, which has one at least."""
    kinds = {place: kind for kind, _, place, _ in reversed(entry.submit.media)}
    return kinds.get(field or "") or next(iter(kinds.values()), "image")


def _too_many(entry: JournalEntry[LiveGeneration]) -> ProtocolViolation:
    """The error for an engine that does not stop; its client keeps only the tokens it asked for."""
    del entry.ids[entry.most_tokens :]
    return ProtocolViolation(f"more than {entry.most_tokens} tokens of one completion")
