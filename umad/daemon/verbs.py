"""Carries out each request of the socket: one branch for each verb.

Not: bytes (`umad.daemon.session`), nor tokens (`umad.daemon.completions`). Nothing here blocks; a
request that must wait becomes a task of its connection. Owner: the daemon's event loop.
"""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umad.asker import Asker
from umad.clock import Clock
from umad.conversation import media_of, to_json
from umad.daemon.adapters import AdapterNames
from umad.daemon.authority import admit, told_to
from umad.daemon.auto_pull import AutoPull
from umad.daemon.completions import Completions
from umad.daemon.engine import Engine
from umad.daemon.estimates import Estimates
from umad.daemon.forgetting import Forgetting
from umad.daemon.handover import Begun
from umad.daemon.job_verbs import JobVerbs
from umad.daemon.listing import (
    describe_embedding,
    describe_generation,
    describe_model,
    describe_transcription,
)
from umad.daemon.memory import ProcessMemory
from umad.daemon.other_work import OtherWork
from umad.daemon.pressure import MemoryGuard, with_guard
from umad.daemon.readers import LogitsReaders
from umad.daemon.session import Session
from umad.daemon.speech_models import SpeechModels
from umad.daemon.stored_models import StoredModels
from umad.daemon.stored_rows import StoredRows
from umad.daemon.supervisor import Supervisor
from umad.embedding import EmbedRequest, RerankRequest
from umad.errors import ShuttingDown, UmadError, UnknownModel, UnknownRequest
from umad.metrics.scorecard import Scorecard
from umad.protocol import messages
from umad.protocol.messages import Request


class DaemonVerbs:
    """The verbs of one daemon."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        completions: Completions,
        scorecard: Scorecard,
        memory: ProcessMemory,
        clock: Clock,
        other: OtherWork,
        speech: SpeechModels,
        forgetting: Forgetting,
        estimates: Estimates,
        jobs: JobVerbs,
        stored: StoredModels,
        adapters: AdapterNames,
        auto_pull: AutoPull,
        stored_rows: StoredRows,
        guard: MemoryGuard | None = None,
    ) -> None:
        # Set to True once no new work may begin.
        self.draining = False
        self._supervisor = supervisor
        self._completions = completions
        self._embeddings = other.embeddings
        self._transcriptions = other.transcriptions
        self._other = other
        self._speech = speech
        self._forgetting = forgetting
        self._estimates = estimates
        self._jobs = jobs
        self._stored = stored
        self._adapters = adapters
        self._auto_pull = auto_pull
        self._stored_rows = stored_rows
        self._scorecard = scorecard
        self._memory = memory
        self._guard = guard
        self._readers = LogitsReaders(completions=completions, scorecard=scorecard, clock=clock)
        self._clock = clock

    def handle(self, session: Session, request: Request) -> None:
        """Carry out `request`, answering through `session`. Raises the error that refuses it."""
        asker = admit(request)
        match request:
            case messages.Generate():
                self._check_open()
                try:
                    self._generate(session, request, asker)
                except UnknownModel:
                    if not self._auto_pull.is_for(request.request.model, asker):
                        raise
                    session.answer_later(request.id, self._fetch_first(session, request, asker))
            case messages.Embed() | messages.Rerank():
                self._check_open()
                try:
                    work = self._embed(session, request.request, asker)
                except UnknownModel:
                    if not self._auto_pull.is_for(request.request.model, asker):
                        raise
                    work = self._fetch_and_embed(session, request.request, asker)
                session.answer_later(request.id, work)
            case messages.Transcribe():
                self._check_open()
                self._transcribe(session, request, asker)
            case messages.Cancel():
                self._cancel(session, request, asker)
                session.answer(request.id, None)
            case messages.Priority():
                moved = self._completions.move(request.target, request.lane, asker)
                session.answer(request.id, moved)
            case messages.Ping():
                session.answer(request.id, None)
            case messages.Models():
                now_ns = self._clock.now_ns()
                rows = [describe_model(one, asker, now_ns=now_ns) for one in self._supervisor]
                if request.stored:
                    session.answer_later(request.id, self._with_stored(rows, asker))
                else:
                    session.answer(request.id, rows)
            case messages.Adapters():
                session.answer_later(request.id, self._adapters.rows(request.model, asker))
            case messages.Sessions():
                now_ns = self._clock.now_ns()
                live = [
                    describe_generation(one, now_ns=now_ns, asker=asker)
                    for one in self._completions
                    if asker.may_touch(one.owner)
                ]
                live += [
                    describe_transcription(one, now_ns=now_ns, asker=asker)
                    for one in self._transcriptions
                    if asker.may_touch(one.owner)
                ]
                live += [
                    describe_embedding(one, now_ns=now_ns, asker=asker)
                    for one in self._embeddings
                    if asker.may_touch(one.owner)
                ]
                session.answer(request.id, live)
            case messages.Forget():
                session.answer_later(request.id, self._forgetting.forget(request, asker))
            case messages.Metrics():
                session.answer_later(request.id, self.scorecard())
            case messages.AttachLogits():
                session.answer_later(request.id, self._readers.attach(session, request))
            case messages.ChooseToken():
                self._readers.choose(session, request)
                session.answer(request.id, None)
            case messages.Tokenize():
                self._check_open()
                args: dict[str, Any] = {"text": request.text, "special": request.special}
                engine = self._adapters.engine_of(request.model, asker)
                args |= {"owner": asker.owner, "app": session.identity.app}
                work = engine.call("tokenize", args, whose=asker.owner or session.identity.app)
                session.answer_later(request.id, work)
            case messages.Detokenize():
                self._check_open()
                args = {"ids": request.ids, "pieces": request.pieces}
                engine = self._adapters.engine_of(request.model, asker)
                args |= {"owner": asker.owner, "app": session.identity.app}
                work = engine.call("detokenize", args, whose=asker.owner or session.identity.app)
                session.answer_later(request.id, work)
            case messages.Render():
                self._check_open()
                turns = request.messages
                args = {"chat": None if turns is None else to_json(turns, request.chat)}
                args["media"] = [
                    (one.kind, one.data, one.place, 0) for one in media_of(turns or ())
                ]
                engine = self._adapters.engine_of(request.model, asker)
                args |= {"owner": asker.owner, "app": session.identity.app}
                work = engine.call("render", args, whose=asker.owner or session.identity.app)
                session.answer_later(request.id, work)
            case messages.Load():
                self._check_open()
                asked = replace(request, model=self._adapters.base(request.model, asker))
                if request.background:
                    session.answer_later(request.id, self._jobs.load(asked.model, asker))
                else:
                    session.answer_later(request.id, self._load(asked, asker))
            case messages.Estimate():
                self._check_open()
                session.answer_later(request.id, self._estimates.estimate(request, asker))
            case messages.Pull():
                self._check_open()
                session.answer_later(request.id, self._jobs.pull(request, asker))
            case messages.Quantize():
                self._check_open()
                session.answer_later(request.id, self._jobs.quantize(request, asker))
            case messages.Jobs():
                session.answer_later(request.id, self._jobs.jobs(asker))
            case messages.GetJob():
                session.answer_later(request.id, self._jobs.job(request, asker))
            case messages.CancelJob():
                session.answer_later(request.id, self._jobs.cancel(request, asker))
            case messages.RemoveModel():
                session.answer_later(request.id, self._stored.remove(request))
            case messages.CopyModel():
                session.answer_later(request.id, self._stored.copy(request))
            case messages.SavePreset():
                session.answer_later(request.id, self._stored.save_preset(request))
            case messages.Unload():
                session.answer_later(request.id, self._supervisor.unload(request.model))

    async def scorecard(self) -> Mapping[str, Any]:
        """The scorecard as of now."""
        memory = await self._memory.facts(self._supervisor)
        card = with_guard(self._scorecard.snapshot(self._clock.now_ns(), memory), self._guard)
        # Also models that nobody has asked yet, which the scorecard does not know.
        return {**card, "model": ", ".join(engine.name for engine in self._supervisor) or None}

    def _check_open(self) -> None:
        if self.draining:
            raise ShuttingDown("the daemon is shutting down; try again once it runs again")

    def _cancel(self, session: Session, request: messages.Cancel, asker: Asker) -> None:
        if request.own_id is not None:
            if session.cancel_answer(request.own_id):
                return
            generation = session.generations.get(request.own_id)
            if generation is None:
                raise UnknownRequest(
                    f"this connection has no live request {request.own_id}", field="own_id"
                )
        elif self._other.cancel(request.request or "", asker):
            return
        else:
            generation = self._completions.find(request.request or "", asker)
        self._completions.cancel(generation)

    # -- work on tokens and texts -----------------------------------------------------------------

    def _generate(self, session: Session, request: messages.Generate, asker: Asker) -> None:
        meant = self._adapters.meant(request.request, asker)
        self._speech.check_writes(meant.engine, self._supervisor)
        self._completions.accept(session, meant.engine, request, adapters=meant.adapters)

    async def _fetch_first(
        self, session: Session, request: messages.Generate, asker: Asker
    ) -> Begun:
        asked = request.request
        name = await self._fetched(asked.model or "", asker, asked.deadline_ms)
        self._generate(session, replace(request, request=replace(asked, model=name)), asker)
        return Begun()

    def _embed(
        self, session: Session, asked: EmbedRequest | RerankRequest, asker: Asker
    ) -> Coroutine[Any, Any, Mapping[str, Any]]:
        engine = self._adapters.plain_engine(asked.model, asker, keep_alive_s=asked.keep_alive_s)
        self._speech.check_writes(engine, self._supervisor)
        return self._embeddings.answer(session, engine, asked, asker)

    def _transcribe(self, session: Session, request: messages.Transcribe, asker: Asker) -> None:
        asked = request.request
        model = self._speech.meant(asked.model, self._supervisor, asker)
        engine = self._supervisor.find(model, asker, keep_alive_s=asked.keep_alive_s)
        self._speech.check_hears(engine, self._supervisor, asker)
        work = self._transcriptions.answer(session, request.id, engine, asked, asker)
        session.answer_later(request.id, work)

    async def _fetch_and_embed(
        self, session: Session, asked: EmbedRequest | RerankRequest, asker: Asker
    ) -> Mapping[str, Any]:
        name = await self._fetched(asked.model or "", asker, asked.deadline_ms)
        return await self._embed(session, replace(asked, model=name), asker)

    async def _fetched(self, model: str, asker: Asker, deadline_ms: int | None) -> str:
        name = await self._auto_pull.fetched(model, asker, deadline_ms=deadline_ms)
        self._check_open()
        return name

    # -- models -----------------------------------------------------------------------------------

    async def _with_stored(
        self, loaded: Sequence[Mapping[str, Any]], asker: Asker
    ) -> Sequence[Mapping[str, Any]]:
        stored: Sequence[Mapping[str, Any]] = ()
        if asker.is_admin:  # what lies in the folders is not for users to find out
            stored = await self._stored_rows.rows([str(one["name"]) for one in loaded])
        return self._stored_rows.with_presets([*loaded, *stored])

    async def _load(self, request: messages.Load, asker: Asker) -> Mapping[str, Any]:
        try:
            engine = await self._loaded(request, asker)
        except UnknownModel as error:
            if not (request.as_request and self._auto_pull.is_for(request.model, asker)):
                raise told_to(asker, error, request.model) from None
            name = await self._fetched(request.model, asker, None)
            engine = await self._loaded(replace(request, model=name), asker)
        except UmadError as error:
            raise told_to(asker, error, request.model) from None
        return describe_model(engine, asker)

    async def _loaded(self, request: messages.Load, asker: Asker) -> Engine:
        return await self._supervisor.load(
            request.model,
            asker,
            as_request=bool(request.as_request),
            keep_alive_s=request.keep_alive_s,
        )
