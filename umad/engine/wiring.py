"""Puts an engine together: makes every part once, and gives each only the parts it needs.

Owner: the main thread, which becomes the step thread.
"""

import gc
import importlib
import logging
import os
import socket
import sys

from umad.cache_path import cache_folder
from umad.clock import MonotonicClock
from umad.config import guarded_lanes
from umad.engine import process
from umad.engine.adapters.reading import AdapterReader
from umad.engine.ahead.desk import AheadDesk
from umad.engine.ahead.next_prompt import NextPrompts
from umad.engine.ahead.reader import AheadReader
from umad.engine.backend import BACKENDS, Backend, OpenModel
from umad.engine.board.seat import BoardSeat
from umad.engine.board.watch import BoardWatch
from umad.engine.chats.chat_template import ChatTemplate
from umad.engine.chats.template_process import TemplateProcess
from umad.engine.company import Company
from umad.engine.constraints.answer_rules import AnswerRules
from umad.engine.constraints.guidance import Guidance
from umad.engine.drafts.desk import draft_desk, draft_shape
from umad.engine.embedding.cache import DEFAULT_BYTES, VectorCache
from umad.engine.embedding.intake import EmbedIntake
from umad.engine.execution import StepRunner
from umad.engine.facts import StepTraffic
from umad.engine.launch import EngineOptions
from umad.engine.library.choice import is_another
from umad.engine.mail.emitter import Emitter
from umad.engine.mail.intake import Intake
from umad.engine.mail.mailbox import Desk, Mailbox
from umad.engine.mail.media_intake import MediaIntake
from umad.engine.mail.step_mail import AheadMail, StepMail
from umad.engine.mail.step_tally import StepTally
from umad.engine.media.desk import MediaDesk
from umad.engine.media.files import MediaFiles
from umad.engine.media.rows import RowCache
from umad.engine.sessions.disk import SessionDisk
from umad.engine.sessions.trials import TriedRunner
from umad.engine.slabs import SlabStore, StateStore
from umad.engine.steps import spinning
from umad.engine.steps.cutter import Cutter
from umad.engine.steps.decode_waits import DecodeWaits
from umad.engine.steps.loop import StepLoop
from umad.engine.steps.rehearsal import Rehearsal
from umad.engine.vocab import Vocabulary
from umad.media.decoder import MediaDecoder
from umad.media.limits import MediaLimits
from umad.protocol.link import EngineReady, LoadProgress, StepReport
from umad.scheduler import Scheduler, SchedulerSpec, TrafficBudget, assemble
from umad.scheduler.costs.step_cost import CostModel
from umad.scheduler.embeds.queue import is_short
from umad.scheduler.memory.parked_store import ParkShape
from umad.scheduler.steps.scoring import most_scored_rows

log = logging.getLogger("umad.engine")

# The longest time that a thread busy in Python may keep the step thread from going on after a
# decode: measured 5.5 ms with Python's default of 5 ms, 0.7 with this value. It is longer than a
# step's own time in Python, so that the step thread itself is not interrupted.
SWITCH_INTERVAL_S = 0.0005


def serve(options: EngineOptions, link: socket.socket, mailbox: Mailbox) -> None:
    """Load the model, then run the step loop until it is told to stop."""
    clock = MonotonicClock()
    emitter = Emitter(link)
    seat = _seat(options)
    seat.computes(clock.now_ns())
    company = Company(
        seat,
        now_ns=clock.now_ns,
        tell=lambda share: emitter.put(LoadProgress(share=share)),
    )
    # What the load finds out takes the place of this guess.
    company.keeps_threads = is_another(os.environ)
    backend = company.compute_aside(lambda: backend_named(options.engine.backend))
    model = backend.open(
        options,
        now_ns=clock.now_ns,
        costs_folder=cache_folder(os.environ, sys.platform) / "costs",
        company=company,
    )
    inbox = StepMail()
    cutter = Cutter(abort=model.abort.set, clear=model.abort.clear, now_ns=clock.now_ns)
    vocab = company.aside(lambda: Vocabulary(model.tokens))
    # The template runs in a process of its own, which starts while grammars are prepared.
    template = ChatTemplate(
        model.tokens.chat_template(),
        bos_text=vocab.bos_text,
        eos_text=vocab.eos_text,
        run=lambda source: TemplateProcess(source, aside=company.is_busy),
    )
    guidance = Guidance(model.tokens)
    if model.facts.generates:
        # This holds the interpreter for up to a second, so it happens now, when no client waits for
        # a token.
        company.aside(guidance.prepare)
    guarded = guarded_lanes(options.lanes)
    rows = RowCache(options.engine.media_bytes)
    files = None
    if model.media is not None:
        decoder = MediaDecoder(MediaLimits.of(options.media))
        files = MediaFiles(
            model.media,
            decoder,
            has_rows=rows.__contains__,
            has_readers=lambda: seat.has_readers(clock.now_ns()),
        )
    n_cells = model.facts.n_cells
    intake = Intake(
        vocab=vocab,
        template=template,
        rules=AnswerRules(guidance, vocab, template.format, now_ns=clock.now_ns),
        guarded=guarded,
        most_prompt_tokens=options.prompt_tokens or n_cells,
        n_cells=n_cells,
        text_tokens=model.facts.text_tokens,
        text_bound=model.facts.text_bound,
        # A model with states can go on only from places where its state was saved.
        marks_turns=model.facts.shares_at == "states",
        reads_ahead=options.engine.read_ahead,
        adapters=AdapterReader(model.adapters),
        speculates=options.engine.guesses,
        media=_media_intake(options, model, vocab, files),
        fingerprint=model.facts.fingerprint,
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    traffic = _traffic(options, model)
    if model.facts.generates:
        if model.cost.pace.is_known:
            # These few steps warm the code up. On idle cores alone they would teach wrong costs.
            aside_cost = model.cost.copy()
            company.compute_aside(
                lambda: _rehearse(options, model, aside_cost, traffic, intake, cutter, clock)
            )
        else:
            with company.measuring():
                _rehearse(options, model, model.cost, traffic, intake, cutter, clock)
            if model.cost_file is not None:
                model.cost_file.write(model.cost)
    watch = BoardWatch(seat, cutter)
    watch.start()
    embedder = model.embedder(cutter=cutter, now_ns=clock.now_ns, watch=watch)
    cache_bytes = options.engine.embed_cache_bytes
    vectors = VectorCache(DEFAULT_BYTES if cache_bytes is None else cache_bytes)
    slabs, states = model.slabs(), model.states()
    disk = None if model.parking is None else _disk(model, model.parking, slabs, states, inbox)
    media = MediaDesk(model.media, rows, now_ns=clock.now_ns)
    media.tell = lambda content_id: emitter.put(StepReport(medium=content_id))
    runner: StepRunner = model.runner(
        cutter=cutter,
        now_ns=clock.now_ns,
        watch=watch,
        slabs=slabs,
        states=states,
        disk=disk,
        media=media,
    )
    if disk is not None:
        runner = TriedRunner(runner, disk.trials)

    def at_rest() -> None:
        if model.cost_file is not None:
            model.cost_file.write_now_and_then(model.cost, clock.now_ns())

    scheduler = _scheduler(options, model, traffic, media)
    reader = AheadReader(
        make=NextPrompts(vocab, template, has_states=model.facts.shares_at == "states").after,
        found=lambda turn, ids: inbox.put(AheadMail(turn=turn, ids=ids)),
    )
    loop = StepLoop(
        scheduler=scheduler,
        adapters=model.adapters,
        ahead=AheadDesk(
            scheduler,
            put=reader.put if options.engine.read_ahead else None,
            lane=min(options.lanes, key=lambda name: options.lanes[name].priority),
        ),
        runner=runner,
        inbox=inbox,
        emit=emitter.put,
        traffic=traffic,
        guarded=guarded,
        now_ns=clock.now_ns,
        spin_watch=spinning.watch(model.facts.threads, clock.now_ns()),
        seat=seat,
        choice_s=options.choice_s,
        at_rest=at_rest,
        tally=StepTally(
            threads=model.facts.threads,
            row_copies=model.capabilities.row_copies,
            waited_ns=DecodeWaits() if process.tells_waits() else None,
        ),
        embedder=embedder,
        vectors=vectors,
        media=media,
        drafts=draft_desk(
            model.draft,
            scheduler.speculator,
            n_target=model.facts.n_vocab,
            now_ns=clock.now_ns,
        ),
    )

    def hurry(lane: str, n_tokens: int) -> None:
        if is_short(n_tokens, guarded=lane in guarded):
            seat.arrived(clock.now_ns())
            cutter.cut()

    embeds = EmbedIntake(
        model.embeds,
        vocab,
        inbox=inbox,
        reply=emitter.put,
        hurry=hurry,
        cache=vectors,
        most_tokens=options.prompt_tokens,
    )
    embeds.start()
    # Before the mailbox opens: what it starts must not step back with this.
    company.aside(gc.collect)
    mailbox.open(
        Desk(
            intake=intake,
            embeds=embeds,
            vocab=vocab,
            inbox=inbox,
            emitter=emitter,
            cutter=cutter,
            guarded=guarded,
            is_guarded=loop.is_guarded,
            seat=seat,
            now_ns=clock.now_ns,
            most_tokens=n_cells or model.embeds.most_tokens,
        )
    )
    # Loaded objects stay for good, so the garbage collector need not look at them. It does not run
    # by itself, either.
    gc.freeze()
    gc.disable()
    company.has_loaded()
    seat.computes(0)
    emitter.put(EngineReady(facts=model.facts.as_map()))
    loop.run()
    if disk is not None:
        disk.end()
    if model.cost_file is not None:
        model.cost_file.write(model.cost)
    company.leave()
    embedder.close()
    media.close()
    if files is not None:
        files.close()
    model.close()


def backend_named(name: str) -> Backend:
    """The backend of that name. Its libraries are loaded here."""
    backend: Backend = importlib.import_module(BACKENDS[name]).BACKEND
    return backend


def _seat(options: EngineOptions) -> BoardSeat:
    if options.board_fd is None:
        return BoardSeat.alone()
    seat = BoardSeat.opened(options.board_fd, options.board_seat)
    os.close(options.board_fd)
    return seat


def _media_intake(
    options: EngineOptions, model: OpenModel, vocab: Vocabulary, files: MediaFiles | None
) -> MediaIntake:
    """What takes images and sounds in."""
    return MediaIntake(
        vocab,
        kinds=model.facts.media,
        files=files,
        encoder=model.media,
        most_rows=min(options.engine.ubatch, model.batch_tokens),
    )


def _traffic(options: EngineOptions, model: OpenModel) -> StepTraffic:
    facts = model.facts
    return StepTraffic(
        weights=facts.weights,
        kv_cell_bytes=facts.kv_cell_bytes,
        window_cell_bytes=facts.window_cell_bytes,
        window_tokens=facts.window_tokens,
        state_bytes=facts.state_bytes,
        max_seqs=facts.max_seqs,
        n_vocab=facts.n_vocab,
        ubatch=min(options.engine.ubatch, model.batch_tokens),
    )


def _disk(
    model: OpenModel,
    parking: ParkShape,
    slabs: SlabStore | None,
    states: StateStore | None,
    inbox: StepMail,
) -> SessionDisk | None:
    """The disk that sessions are saved on; None where none are saved."""
    if model.sessions is None or (slabs is None and states is None):
        return None
    return SessionDisk(
        model.sessions,
        slabs,
        states=states,
        state_bytes=parking.state_bytes,
        put=inbox.put,
        now_ns=MonotonicClock().now_ns,
    )


def _rehearse(
    options: EngineOptions,
    model: OpenModel,
    cost: CostModel,
    traffic: StepTraffic,
    intake: Intake,
    cutter: Cutter,
    clock: MonotonicClock,
) -> None:
    """Teach `cost` what streams feel here, alone and beside a long prompt. The pool is empty again
    afterwards.
    """
    facts = model.facts
    Rehearsal(
        facts=facts,
        cost=cost,
        runner=model.runner(cutter=cutter, now_ns=clock.now_ns),
        intake=intake,
        traffic=traffic,
        lanes=options.lanes,
        settings=options.scheduler,
        latency_cap=options.latency_cap,
        batch_tokens=model.batch_tokens,
        beginnings=model.beginnings,
        most_prompt_tokens=min(options.prompt_tokens or facts.n_cells, facts.text_tokens),
        now_ns=clock.now_ns,
    ).run()
    model.clear()


def _scheduler(
    options: EngineOptions, model: OpenModel, traffic: StepTraffic, media: MediaDesk
) -> Scheduler:
    able = model.capabilities
    spec = SchedulerSpec(
        n_cells=model.facts.n_cells,
        max_seqs=model.facts.max_seqs,
        batch_tokens=model.batch_tokens,
        settings=options.scheduler,
        latency_cap=options.latency_cap,
        lanes=options.lanes,
        can_share_prefix=able.can_share_prefix,
        shares_at=able.shares_at,
        beginnings=model.beginnings,
        traffic=traffic,
        budget=TrafficBudget(
            bytes_per_s=options.budget_bytes_per_s, measured=options.budget_measured
        ),
        cost=model.cost,
        cut_share=able.cut_share,
        cut_save_ms=able.cut_save_ms,
        skip_ms=able.skip_ms,
        parking=model.parking,
        saved=None if model.sessions is None else model.sessions.found,
        saved_states={} if model.sessions is None else model.sessions.found_states,
        embeds=model.embeds.shape,
        most_scored_rows=most_scored_rows(model.facts.n_vocab, model.facts.max_seqs),
        speculates=options.engine.guesses,
        draft=None if model.draft is None else draft_shape(model.draft),
        has_rows=None if model.media is None else media.has_rows,
    )
    if spec.speculates and model.facts.generates and not spec.can_verify:
        log.warning(
            "speculate is on, but nothing is guessed: tokens cannot be taken back from this "
            "model's states or windows model=%s",
            model.facts.name,
        )
    return assemble(spec)
