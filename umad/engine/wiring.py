"""Puts an engine together: every part is made here, once, and knows only those it is handed.

Owner: the main thread, which becomes the step thread.
"""

import gc
import os
import socket
import sys
from dataclasses import replace

from umad.cache_path import cache_folder
from umad.clock import MonotonicClock
from umad.config import EngineSettings
from umad.engine import llama, process, repack_check, spinning
from umad.engine.abort_flag import AbortFlag
from umad.engine.answer_rules import AnswerRules
from umad.engine.board import BoardSeat
from umad.engine.board_watch import BoardWatch
from umad.engine.chat import ChatTemplate
from umad.engine.cutter import Cutter
from umad.engine.embed_intake import EmbedIntake
from umad.engine.embedder import Embedder
from umad.engine.emitter import Emitter
from umad.engine.execution import DecodeRunner, NoStreams, StepRunner
from umad.engine.facts import StepTraffic
from umad.engine.guidance import Guidance
from umad.engine.inbox import Inbox
from umad.engine.intake import Intake
from umad.engine.launch import EngineOptions
from umad.engine.llama import Context
from umad.engine.loading import Loaded, load
from umad.engine.loop import StepLoop
from umad.engine.mailbox import Desk, Mailbox
from umad.engine.parked_cells import ParkedCells
from umad.engine.rehearsal import Rehearsal
from umad.engine.session_disk import SessionDisk
from umad.engine.tally import StepTally
from umad.engine.template_process import TemplateProcess
from umad.engine.vocab import Vocabulary
from umad.protocol.link import Ready
from umad.scheduler import SchedulerSpec, TrafficBudget, assemble, guarded_lanes
from umad.scheduler.embeds import is_short
from umad.scheduler.windows import Beginnings

# How long a thread busy in Python may keep the step thread from going on after a decode: measured
# 5.5 ms with Python's default of 5 ms, 0.7 with this. Longer than a step's own share of Python, so
# that the step thread is not interrupted in turn.
SWITCH_INTERVAL_S = 0.0005


def serve(options: EngineOptions, link: socket.socket, mailbox: Mailbox) -> None:
    """Load, then run the step loop until it is told to stop."""
    clock = MonotonicClock()
    llama.start()
    if options.engine.repack:
        memory = repack_check.repack_memory(os.environ)
        options = replace(options, engine=repack_check.settled(options.engine, memory))
    costs_folder = cache_folder(os.environ, sys.platform) / "costs"
    loaded = load(options, llama.devices(), clock.now_ns, costs_folder=costs_folder)
    emitter = Emitter(link)
    inbox = Inbox()
    abort = AbortFlag() if loaded.context is None else loaded.context.abort_flag
    cutter = Cutter(abort=abort.set, clear=abort.clear)
    seat = _seat(options)
    vocab = Vocabulary(loaded.model)
    # A process of its own, which starts while grammars are made ready.
    template = ChatTemplate(
        loaded.model.chat_template(),
        bos_text=vocab.bos_text,
        eos_text=vocab.eos_text,
        run=TemplateProcess,
    )
    guidance = Guidance(loaded.model)
    if loaded.facts.generates:
        # It holds the interpreter for up to a second: now, when nobody waits for a token.
        guidance.prepare()
    guarded = guarded_lanes(options.lanes)
    n_cells = loaded.facts.n_cells
    intake = Intake(
        vocab=vocab,
        template=template,
        rules=AnswerRules(guidance, vocab, template.format, now_ns=clock.now_ns),
        guarded=guarded,
        most_prompt_tokens=options.prompt_tokens or n_cells,
        n_cells=n_cells,
        text_tokens=loaded.facts.text_tokens,
    )
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    if loaded.context is not None:
        _rehearse(options, loaded, loaded.context, intake, cutter, clock)
    watch = BoardWatch(seat, cutter)
    watch.start()
    embedder = _embedder(loaded, cutter, watch, clock, abort)
    loop = _step_loop(options, loaded, inbox, emitter, cutter, seat, clock, watch, embedder)

    def hurry(lane: str, n_tokens: int) -> None:
        if is_short(n_tokens, guarded=lane in guarded):
            seat.arrived(clock.now_ns())
            cutter.cut()

    embeds = EmbedIntake(
        loaded.embeds,
        vocab,
        inbox=inbox,
        reply=emitter.put,
        hurry=hurry,
        most_tokens=options.prompt_tokens,
    )
    embeds.start()
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
            most_tokens=n_cells or loaded.embeds.most_tokens,
        )
    )
    # What has been loaded stays for good; the collector need not look at it, nor run by itself.
    gc.collect()
    gc.freeze()
    gc.disable()
    emitter.put(Ready(facts=loaded.facts.as_map()))
    loop.run()
    if loaded.cost_file is not None:
        loaded.cost_file.write(loaded.cost)
    embedder.close()
    if loaded.context is not None:
        loaded.context.close()
    loaded.model.close()


def _embedder(
    loaded: Loaded, cutter: Cutter, watch: BoardWatch, clock: MonotonicClock, abort: AbortFlag
) -> Embedder:
    options, whole = loaded.embed_options, loaded.embeds.whole

    def make(n_cells: int) -> Context:
        rows = n_cells if whole else options.batch
        cells = max(n_cells, loaded.embeds.least_cells)
        sized = replace(options, n_cells=cells, batch=rows, ubatch=rows)
        return Context(loaded.model, sized, abort=abort)

    return Embedder(
        loaded.embeds,
        make,
        cutter=cutter,
        can_cut=loaded.facts.can_share_prefix,
        now_ns=clock.now_ns,
        watch=watch,
    )


def _seat(options: EngineOptions) -> BoardSeat:
    if options.board_fd is None:
        return BoardSeat.alone()
    seat = BoardSeat.opened(options.board_fd, options.board_seat)
    os.close(options.board_fd)
    return seat


def _parked_cells(loaded: Loaded) -> ParkedCells | None:
    if loaded.parking is None or loaded.context is None:
        return None
    return ParkedCells(loaded.context, loaded.parking, scratch=loaded.facts.max_seqs)


def _capacity(settings: EngineSettings, loaded: Loaded) -> int:
    """Most rows of a step."""
    most_rows = settings.batch
    if loaded.window is not None:
        # llama.cpp finds cells for every micro-batch of a decode before it computes the first one.
        # Cells of a window that the first still looks at are taken for a later one by then, or
        # purged (`llama_kv_cache::prepare`): 9 of 60 prompts were answered wrongly, up to 8.7 nats
        # off, and after a cut there would be holes that nobody knows of.
        most_rows = min(most_rows, settings.ubatch)
    # A model that only embeds has no cells, and its steps no rows.
    return min(most_rows, loaded.facts.n_cells or most_rows)


def _beginnings(loaded: Loaded) -> Beginnings | None:
    if loaded.window is None or loaded.context is None or not loaded.facts.can_share_prefix:
        return None
    return Beginnings(loaded.window, loaded.context.begin)


def _traffic(settings: EngineSettings, loaded: Loaded) -> StepTraffic:
    facts = loaded.facts
    return StepTraffic(
        weights=facts.weights,
        kv_cell_bytes=facts.kv_cell_bytes,
        window_cell_bytes=facts.window_cell_bytes,
        window_tokens=facts.window_tokens,
        state_bytes=facts.state_bytes,
        max_seqs=facts.max_seqs,
        n_vocab=facts.n_vocab,
        ubatch=min(settings.ubatch, _capacity(settings, loaded)),
    )


def _rehearse(
    options: EngineOptions,
    loaded: Loaded,
    context: Context,
    intake: Intake,
    cutter: Cutter,
    clock: MonotonicClock,
) -> None:
    """Learn what streams feel here, alone and beside a long prompt; the pool is empty again."""
    facts = loaded.facts
    capacity = _capacity(options.engine, loaded)
    Rehearsal(
        facts=facts,
        cost=loaded.cost,
        runner=DecodeRunner(
            context,
            capacity=capacity,
            cutter=cutter,
            can_cut=False,
            now_ns=clock.now_ns,
            scratch=facts.max_seqs,
        ),
        intake=intake,
        traffic=_traffic(options.engine, loaded),
        lanes=options.lanes,
        settings=options.scheduler,
        latency_cap=options.latency_cap,
        batch_tokens=capacity,
        beginnings=_beginnings(loaded),
        most_prompt_tokens=min(options.prompt_tokens or facts.n_cells, facts.text_tokens),
        now_ns=clock.now_ns,
    ).run()
    context.clear()
    if loaded.cost_file is not None:
        loaded.cost_file.write(loaded.cost)


def _step_loop(
    options: EngineOptions,
    loaded: Loaded,
    inbox: Inbox,
    emitter: Emitter,
    cutter: Cutter,
    seat: BoardSeat,
    clock: MonotonicClock,
    watch: BoardWatch,
    embedder: Embedder,
) -> StepLoop:
    facts = loaded.facts
    settings = options.engine
    capacity, traffic = _capacity(settings, loaded), _traffic(settings, loaded)
    scheduler = assemble(
        SchedulerSpec(
            n_cells=facts.n_cells,
            max_seqs=facts.max_seqs,
            batch_tokens=capacity,
            settings=options.scheduler,
            latency_cap=options.latency_cap,
            lanes=options.lanes,
            can_share_prefix=facts.can_share_prefix,
            beginnings=_beginnings(loaded),
            traffic=traffic,
            budget=TrafficBudget(
                bytes_per_s=options.budget_bytes_per_s, measured=options.budget_measured
            ),
            cost=loaded.cost,
            cuts_soon=facts.cuts_soon,
            skip_ms=facts.skip_ms,
            parking=loaded.parking,
            saved=None if loaded.sessions is None else loaded.sessions.found,
            embeds=loaded.embeds.shape,
        )
    )
    parked, disk = _parked_cells(loaded), None
    if parked is not None and loaded.sessions is not None:
        disk = SessionDisk(loaded.sessions, parked, put=inbox.put, now_ns=clock.now_ns)
    runner: StepRunner = NoStreams()
    if loaded.context is not None:
        runner = DecodeRunner(
            loaded.context,
            capacity=capacity,
            cutter=cutter,
            can_cut=facts.can_share_prefix,
            now_ns=clock.now_ns,
            watch=watch,
            parked=parked,
            disk=disk,
            scratch=facts.max_seqs,
        )
    file = loaded.cost_file

    def at_rest() -> None:
        if file is not None:
            file.write_now_and_then(loaded.cost, clock.now_ns())

    return StepLoop(
        scheduler=scheduler,
        runner=runner,
        inbox=inbox,
        emit=emitter.put,
        traffic=traffic,
        guarded=guarded_lanes(options.lanes),
        now_ns=clock.now_ns,
        spin_watch=spinning.watch(facts.threads, clock.now_ns()),
        seat=seat,
        choice_s=options.choice_s,
        at_rest=at_rest,
        tally=StepTally(
            threads=facts.threads,
            waited_ns=spinning.waited_ns if process.tells_waits() else None,
        ),
        embedder=embedder,
    )
