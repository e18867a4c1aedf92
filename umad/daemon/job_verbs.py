"""Answers the requests about jobs, and looks after the jobs while the daemon runs.

A pull and a quantization are processes of their own (`umad.jobs`), which outlive the daemon; the
next one goes on looking after them. A load is done here, by the supervisor. The list of jobs is a
file, and files block, so one thread has it: the loop only waits for that thread. While no job is
live, nothing is looked at.

Not: who may ask (`umad.daemon.authority`), except that a job is its asker's and an admin's. Owner:
the daemon's event loop.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.daemon.authority import told_to
from umad.daemon.engine import Engine
from umad.daemon.names import ModelFile
from umad.daemon.supervisor import Supervisor
from umad.errors import (
    BadRequest,
    Cancelled,
    InternalError,
    Refused,
    ShuttingDown,
    UmadError,
    Unsupported,
)
from umad.jobs.book import unknown
from umad.jobs.job import (
    Job,
    JobProgress,
    JobState,
    LoadOrder,
    Order,
    PartProgress,
    QuantizeOrder,
    wish_of,
)
from umad.jobs.ordering import pull_order
from umad.jobs.runner import JobRunner, Starter, start_worker
from umad.jobs.surroundings import surroundings
from umad.models.copying import check_new_name
from umad.models.library import Library
from umad.nano import NAME as NANO
from umad.protocol import messages
from umad.protocol.errors import error_of

log = logging.getLogger(__name__)
T = TypeVar("T")

# How often jobs that are not over are looked at. Workers tell as often.
LOOK_S = 0.25
# A book that cannot be read is not asked four times a second.
AGAIN_S = 10.0
# A follower's question is answered after so long, whatever has happened. Clients wait 30 s.
FOLLOW_S = 10.0


@dataclass(slots=True, kw_only=True)
class _Loading:
    """A load that is under way."""

    job: Job
    task: "asyncio.Task[None]"
    # The model; None until it is found.
    file: ModelFile | None = None
    # What the book was told last.
    told: JobProgress | None = None


class JobVerbs:
    """The jobs of one daemon."""

    def __init__(
        self,
        *,
        library: Library,
        supervisor: Supervisor,
        most_at_once: int,
        clock: Clock,
        environ: Mapping[str, str] | None = None,
        start: Starter = start_worker,
    ) -> None:
        """library: its store has the list of jobs; without a store there are none."""
        self._library = library
        self._supervisor = supervisor
        self._surroundings = surroundings(os.environ if environ is None else environ)
        self._runner: JobRunner | None = None
        if library.store is not None:
            self._runner = JobRunner(
                library.store.folder, most_at_once=most_at_once, clock=clock, start=start
            )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        # Set where there may be something to do.
        self._wake = asyncio.Event()
        # Set, and replaced, where a job has changed.
        self._changed = asyncio.Event()
        self._seen: frozenset[tuple[str, int]] = frozenset()
        self._loads: set[asyncio.Task[None]] = set()
        # Those whose model is not there yet, by the job's id.
        self._loading: dict[str, _Loading] = {}
        self._is_closing = False

    # -- looking after them ---------------------------------------------------------------------

    async def run(self) -> None:
        """Look after the jobs until cancelled, those of an earlier daemon too."""
        runner = self._runner
        if runner is None:
            return
        while True:
            self._wake.clear()
            wait_s: float | None
            try:
                look = await self._on_thread(runner.tick)
            except UmadError as error:
                log.error("jobs cannot be looked after reason=%s", error.message)
                wait_s = AGAIN_S
            except Exception:
                # A task's boundary: a bug costs a while, and not all jobs to come.
                log.exception("jobs cannot be looked after")
                wait_s = AGAIN_S
            else:
                for job in look.loads:
                    self._begin_load(job)
                for job in look.unwanted_loads:
                    # Not at once: a task that has not begun would end without a word.
                    asyncio.get_running_loop().call_soon(self._give_up, job.id)
                await self._note_loads()
                self._tell(look.live)
                wait_s = LOOK_S if look.live else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    def drain(self) -> None:
        """Begin no job any more: whoever ends this daemon may end all processes of its service, and
        waits for them.
        """
        if self._runner is not None:
            self._runner.begin_nothing()

    async def close(self) -> None:
        """Look after nothing any more; the processes live on. Bounded by one look at the file."""
        self._is_closing = True
        for task in self._loads:
            task.cancel()
        if self._loads:
            await asyncio.wait(self._loads)
        if self._runner is not None:
            await self._on_thread(self._runner.close)
        self._thread.shutdown()

    def _tell(self, live: tuple[Job, ...]) -> None:
        """Wake those who follow a job, where one has changed or is over."""
        seen = frozenset((job.id, job.version) for job in live)
        if seen != self._seen:
            self._seen = seen
            self._changed.set()
            self._changed = asyncio.Event()

    # -- the requests ---------------------------------------------------------------------------

    async def pull(self, request: messages.Pull, asker: Asker) -> Mapping[str, Any]:
        """A job that fetches a model. Raises `UnknownModel`, which names near ones, `BadRequest`,
        or `Unsupported` where the asker's variables mean another hub or folder.
        """
        self._needs_store()
        if request.surroundings not in (None, self._surroundings):
            raise Unsupported(
                "the daemon runs with other variables for the hub, its token or its folders "
                "(HF_…, UMAD_MODELS) than this shell: set them alike, and start the daemon again",
                field="surroundings",
            )
        order = pull_order(
            request.model,
            self._library.catalogue,
            quantize=request.quantize,
            parts=request.parts,
            bytes_per_s=request.bytes_per_s,
            keep_free_bytes=request.keep_free_bytes,
        )
        return await self._submit(order, asker)

    async def quantize(self, request: messages.Quantize, asker: Asker) -> Mapping[str, Any]:
        """A job that writes a smaller copy of a model that is here."""
        self._needs_store()
        wish = wish_of(request.to or "auto", "to")
        file = self._supervisor.file(request.model, asker)
        if file.problem:
            raise BadRequest(f"{file.name} cannot be quantized: {file.problem}", field="model")
        if request.name is not None:
            names = (NANO, *(one.name for one in self._library.models()))
            check_new_name(request.name, names)
        found = self._library.find(request.model)
        projector = None if found is None else found.files.projector
        order = QuantizeOrder(
            model=file.name,
            source=str(file.path),
            projector="" if projector is None else str(projector),
            wish=wish,
            name=request.name or "",
        )
        return await self._submit(order, asker)

    async def load(self, model: str, asker: Asker) -> Mapping[str, Any]:
        """A job that loads a model, for somebody who wants to follow it."""
        self._needs_store()
        name = self._supervisor.file(model, asker).name
        order = LoadOrder(
            model=model if asker.is_admin else name, owner=asker.owner, role=asker.role
        )
        return await self._submit(order, asker)

    async def jobs(self, asker: Asker) -> list[Mapping[str, Any]]:
        """The jobs that the asker may see, the newest first."""
        if self._runner is None:
            return []
        found = await self._on_thread(self._runner.book.jobs)
        return [job.as_map() for job in found if asker.may_touch(job.owner)]

    async def job(self, request: messages.GetJob, asker: Asker) -> Mapping[str, Any]:
        """One job; with `after`, once it has changed since. Raises `UnknownRequest`."""
        until_s = asyncio.get_running_loop().time() + FOLLOW_S
        while True:
            changed = self._changed
            job = await self._find(request.job, asker)
            is_news = request.after is None or job.version > request.after
            if is_news or job.state.is_over:
                return job.as_map()
            try:
                async with asyncio.timeout_at(until_s):
                    await changed.wait()
            except TimeoutError:
                return job.as_map()

    async def finished(self, row: Mapping[str, Any], asker: Asker) -> Mapping[str, Any]:
        """Wait for the end of a job, and return it. Raises the error that it failed with, or
        `Cancelled`.
        """
        while not JobState(row["state"]).is_over:
            look = messages.GetJob(id=0, job=str(row["job"]), after=int(row["version"]))
            row = await self.job(look, asker)
        error = row["error"]
        if error is not None:
            raise error_of(error["code"], error["message"], error["field"])
        if row["state"] == JobState.CANCELLED.value:
            raise Cancelled(f"job {row['job']} was cancelled")
        return row

    async def cancel(self, request: messages.CancelJob, asker: Asker) -> Mapping[str, Any]:
        """End a job: one that waits at once, one that runs within seconds. One that is over stays
        as it ended. The model of a load is given up where nobody else waits for it. Raises
        `UnknownRequest`.
        """
        job = await self._find(request.job, asker)
        runner = self._needs_store()
        ended = await self._on_thread(lambda: runner.cancel(job.id))
        self._wake.set()
        return ended.as_map()

    # -- inside ---------------------------------------------------------------------------------

    async def _submit(self, order: Order, asker: Asker) -> Mapping[str, Any]:
        runner = self._needs_store()
        job, is_new = await self._on_thread(lambda: runner.submit(order, owner=asker.owner))
        self._wake.set()
        log.info("job asked for job=%s what=%s new=%s", job.id, order.what, is_new)
        return {**job.as_map(), "is_new": is_new}

    async def _find(self, job_id: str, asker: Asker) -> Job:
        """A job that the asker may see; another one is as if it did not exist."""
        runner = self._runner
        if runner is None:
            raise unknown(job_id)
        job = await self._on_thread(lambda: runner.book.get(job_id))
        if not asker.may_touch(job.owner):
            raise unknown(job_id)
        return job

    def _needs_store(self) -> JobRunner:
        if self._runner is None:
            raise Refused("this daemon has no store of models, and so no jobs")
        return self._runner

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- loads ----------------------------------------------------------------------------------

    def _begin_load(self, job: Job) -> None:
        if not isinstance(job.order, LoadOrder):
            return
        task = asyncio.create_task(self._load(job, job.order), name=f"job {job.id}")
        self._loads.add(task)
        self._loading[job.id] = _Loading(job=job, task=task)
        task.add_done_callback(self._loads.discard)
        task.add_done_callback(lambda _: self._loading.pop(job.id, None))

    def _give_up(self, job_id: str) -> None:
        if (loading := self._loading.get(job_id)) is not None:
            loading.task.cancel()

    async def _note_loads(self) -> None:
        """Note how far loads are. A book that cannot be written costs nobody the load."""
        runner = self._runner
        for loading in list(self._loading.values()):
            progress = self._progress_of(loading.file)
            if runner is None or progress == loading.told:
                continue
            loading.told, job = progress, loading.job
            with contextlib.suppress(UmadError):
                await self._on_thread(partial(runner.book.note, job.id, job.run, progress))

    def _progress_of(self, file: ModelFile | None) -> JobProgress:
        engine = None if file is None else self._supervisor.get(file.name)
        if file is None or engine is None:
            return JobProgress(step="loading")
        share, n_bytes = engine.load_share or 0.0, file.sized().size_bytes
        part = PartProgress(name=file.name, done=round(share * n_bytes), total=n_bytes)
        return JobProgress(step="loading", parts=(part,), note=engine.waits_for)

    async def _loaded(self, job: Job, order: LoadOrder, asker: Asker) -> Engine:
        """Load a model until it is there, or the job is cancelled."""
        loading = self._loading[job.id]
        try:
            loading.file = self._supervisor.file(order.model, asker)
            return await self._supervisor.load(order.model, asker)
        except asyncio.CancelledError:
            if loading.file is not None and not self._is_closing:
                self._supervisor.give_up_load(loading.file.name)
            raise
        finally:
            # What comes now is short, and the book has to hear of it.
            self._loading.pop(job.id, None)

    async def _load(self, job: Job, order: LoadOrder) -> None:
        runner = self._needs_store()
        asker = Asker(owner=order.owner, role=order.role) if order.owner else MACHINE_USER
        try:
            engine = await self._loaded(job, order, asker)
        except asyncio.CancelledError:
            if self._is_closing:
                raise
            await self._on_thread(lambda: runner.end_load(job))
        except ShuttingDown:
            return  # the next daemon does it
        except UmadError as error:
            failure = told_to(asker, error, order.model)
            await self._on_thread(lambda: runner.end_load(job, error=failure))
        except Exception:
            # A task's boundary: a bug costs one job, and its follower does not wait for ever.
            log.exception("load failed unexpectedly job=%s", job.id)
            bug = InternalError("see the log of the daemon")
            await self._on_thread(lambda: runner.end_load(job, error=bug))
        else:
            result = {"name": engine.name, "state": engine.state.value}
            await self._on_thread(lambda: _end_loaded(runner, job, result))
        self._wake.set()


def _end_loaded(runner: JobRunner, job: Job, result: Mapping[str, Any]) -> None:
    with contextlib.suppress(UmadError):  # it is loaded, whatever is known of the way there
        parts = runner.book.get(job.id).progress.parts
        whole = tuple(replace(one, done=one.total) for one in parts)
        runner.book.note(job.id, job.run, JobProgress(step="loading", parts=whole))
    runner.end_load(job, result=result)
