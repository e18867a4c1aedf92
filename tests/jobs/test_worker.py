"""Real processes of jobs against a hub on loopback: killed, cancelled, left alone."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.jobs.fake_workers import FakeClock
from tests.models.fetching.conftest import random_bytes
from tests.models.gguf_bytes import gguf
from tests.models.loopback_hub import LoopbackHub
from umad.clock import MonotonicClock
from umad.engine.quantizer import Quantization
from umad.errors import BadRequest, UnknownModel
from umad.jobs import worker
from umad.jobs.book import JobBook
from umad.jobs.job import Job, JobProgress, JobState, PartProgress, PullOrder
from umad.jobs.runner import JobRunner
from umad.jobs.work import pull
from umad.jobs.worker import ProgressNotes
from umad.models.fetching.hub import HubAccess
from umad.models.gguf import read_header
from umad.models.store import Store

ROOT = Path(__file__).parents[2]
# Far above what anything takes; on a crowded machine each process begins slowly, and these let
# others first.
MOST_S = 200.0
pytestmark = pytest.mark.timeout(600)
REPOSITORY = "org/fox-GGUF"
FILE = "fox-Q4_K_M.gguf"
PULL = PullOrder(reference=f"hf:{REPOSITORY}:Q4_K_M", keep_free_bytes=0)
MIB = 2**20
_FILLING = 3 * MIB
DATA = gguf(
    {"general.architecture": "llama", "llama.block_count": 1},
    [("token_embd.weight", (64, _FILLING // 256), 0, _FILLING)],
)[:-_FILLING] + random_bytes(_FILLING)


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + MOST_S
    while not is_so():
        assert time.monotonic() < until, "it never came to that"
        threading.Event().wait(0.02)


@pytest.fixture
def filled(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """A hub with one model, which every process that is started here asks."""
    hub.add(REPOSITORY, {FILE: DATA})
    for name in [one for one in os.environ if one.startswith(("HF_", "HUGGINGFACE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return hub


@pytest.fixture
def runners(folder: Path) -> Iterator[Callable[[], JobRunner]]:
    """Makes a runner as a daemon has it; what its processes are at is ended afterwards."""
    made: list[JobRunner] = []

    def start() -> JobRunner:
        made.append(JobRunner(folder, most_at_once=2, clock=MonotonicClock()))
        return made[-1]

    yield start
    last = start()
    for job in last.book.live():
        if job.pid is not None and psutil.pid_exists(job.pid):
            os.kill(job.pid, signal.SIGKILL)
    for one in made:
        one.close()


def after_looks(runner: JobRunner, job: Job, is_so: Callable[[Job], bool]) -> Job:
    """The job, when it is so; the runner looks as a daemon does."""

    def looked() -> bool:
        runner.tick()
        return is_so(runner.book.get(job.id))

    wait_until(looked)
    return runner.book.get(job.id)


def fetched(job: Job) -> int:
    return sum(one.done for one in job.progress.parts)


def test_a_pull_survives_a_kill_of_its_process_and_two_daemons(
    filled: LoopbackHub, runners: Callable[[], JobRunner], tmp_path: Path
) -> None:
    half = MIB + 1000
    filled.hold_after(half)
    first = runners()
    job, _ = first.submit(PULL, owner="")
    running = after_looks(first, job, lambda now: fetched(now) >= half)
    assert running.pid is not None
    assert (running.progress.step, running.progress.missing_bytes) == ("fetching", len(DATA))
    first.close()
    os.kill(running.pid, signal.SIGKILL)
    filled.settle()
    filled.seen.clear()
    filled.hold_after(1000)

    second = runners()
    again = after_looks(second, job, lambda now: now.run == 2 and fetched(now) > half)
    second.close()
    filled.release()
    third = runners()
    done = after_looks(third, job, lambda now: now.state.is_over)

    assert (done.state, done.deaths, done.run) == (JobState.DONE, 1, 2)
    assert again.pid is not None
    assert done.result["source"] == PULL.reference
    assert Path(done.result["files"][0]).read_bytes() == DATA
    asked = sum(end - start for start, end in filled.ranges())
    assert asked <= len(DATA) - half + 1000, "what was there is not asked for again"
    assert [one.name for one in Store(third.book.path.parent).models()] == ["fox-Q4_K_M"]


def test_a_pull_that_is_cancelled_ends_and_what_came_stays_for_the_next(
    filled: LoopbackHub, runners: Callable[[], JobRunner], tmp_path: Path
) -> None:
    filled.hold_after(MIB)
    runner = runners()
    job, _ = runner.submit(PULL, owner="")
    running = after_looks(runner, job, lambda now: fetched(now) >= MIB)

    runner.cancel(job.id)
    ended = after_looks(runner, job, lambda now: now.state.is_over)

    assert ended.state is JobState.CANCELLED
    assert running.pid is not None
    wait_until(lambda: not _lives(running.pid))
    left = sorted(path.suffix for path in (tmp_path / "hub").rglob("*") if path.is_file())
    assert ".incomplete" in left
    assert not list((tmp_path / "hub").rglob(FILE))
    assert Store(runner.book.path.parent).models() == ()


def _lives(pid: int | None) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- in this process -------------------------------------------------------------------------------


@pytest.fixture
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_own_signals")
def test_a_pull_that_fails_says_why_in_the_book(
    hub: LoopbackHub, book: JobBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = HubAccess(endpoint=hub.url, cache=tmp_path / "hub")
    monkeypatch.setattr(HubAccess, "of_client", classmethod(lambda cls: access))
    job, _ = book.submit(PullOrder(reference="hf:org/none"), owner="")
    assert book.claim(job.id, most_at_once=1) is not None

    status = worker._work(book, Store(book.path.parent), job.id, 1)

    failed = book.get(job.id)
    assert (status, failed.state) == (0, JobState.FAILED)
    failure = failed.failure()
    assert isinstance(failure, UnknownModel)
    assert failure.message.startswith("the hub has no repository org/none")


@pytest.mark.usefixtures("_own_signals")
def test_a_bug_is_a_failure_with_its_name(book: JobBook, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("umad.jobs.work.carry_out", broken)
    job, _ = book.submit(PULL, owner="")
    assert book.claim(job.id, most_at_once=1) is not None

    worker._work(book, Store(book.path.parent), job.id, 1)

    failure = book.get(job.id).failure()
    assert failure is not None
    assert failure.message == "unexpected ZeroDivisionError: by nothing"


def test_sigterm_without_a_wish_to_cancel_leaves_the_job_for_the_next_process(
    book: JobBook,
) -> None:
    job, _ = book.submit(PULL, owner="")
    book.claim(job.id, most_at_once=1)

    assert worker._stopped(book, job.id, 1) == 0
    left = book.get(job.id)
    assert (left.state, left.deaths, left.pid) == (JobState.QUEUED, 0, None)
    assert worker._stopped(book, job.id, 1) == 1, "that run is over"
    book.claim(job.id, most_at_once=1)
    book.unwanted(job.id)
    assert worker._stopped(book, job.id, 2) == 0
    assert book.get(job.id).state is JobState.CANCELLED


def test_progress_is_noted_some_times_a_second_and_at_once_for_a_new_step(book: JobBook) -> None:
    job, _ = book.submit(PULL, owner="")
    claimed = book.claim(job.id, most_at_once=1)
    assert claimed is not None
    clock = FakeClock()
    notes = ProgressNotes(book, claimed, clock)

    def at(done: int, step: str = "fetching") -> int:
        part = PartProgress(name="a", done=done, total=100)
        notes.tell(JobProgress(step=step, parts=(part,)))  # type: ignore[arg-type]
        (noted,) = book.get(job.id).progress.parts
        return noted.done

    assert at(1) == 1
    clock.ns += 10**8
    assert at(2) == 1, "too soon"
    clock.ns += 2 * 10**8
    assert at(3) == 3
    assert at(4, "quantizing") == 4
    assert at(5, "quantizing") == 4
    notes.flush()
    assert book.get(job.id).progress.parts[0].done == 5


def test_whole_weights_are_quantized_on_the_way_in(
    nano_path: Path, folder: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "nano-f16.gguf"
    Quantization(nano_path, whole, "f16", again=True, kept_free_bytes=0).run()
    store = Store(folder)
    told: list[JobProgress] = []
    order = PullOrder(reference=str(whole), quantize="q8_0")

    made = pull(order, store, told.append)

    assert (made.name, made.quantization, made.place) == ("nano-Q8_0", "Q8_0", "store")
    target = made.files.main
    assert target.is_relative_to(store.files_folder)
    assert read_header(target).file_bytes < whole.stat().st_size
    steps = [one.step for one in told]
    assert steps == sorted(steps, key=("fetching", "quantizing", "checking").index)
    assert steps[-1] == "checking"
    assert "q8_0 makes" in told[-1].note
    assert {one.name for one in store.models()} == {"nano-f16", "nano-Q8_0"}
    told.clear()
    assert pull(order, store, told.append).files == made.files
    assert [one.step for one in told] == ["fetching"], "it is there already"
    with pytest.raises(BadRequest, match="quantized already"):
        pull(PullOrder(reference=str(target), quantize="q4_k_m"), store, told.append)
