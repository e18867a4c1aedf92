"""The list of jobs: one of a kind, whatever happens to the file, and from several processes."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from umad.errors import BadRequest, QueueFull, Refused, UnknownRequest
from umad.jobs import book as book_module
from umad.jobs.book import JobBook
from umad.jobs.job import (
    MOST_DEATHS,
    MOST_RUNS,
    NEXT,
    Job,
    JobEvent,
    JobKind,
    JobProgress,
    JobState,
    LoadOrder,
    PartProgress,
    PullOrder,
    QuantizeOrder,
    error_map,
    wish_of,
)

PULL = PullOrder(reference="hf:org/repo:Q4_K_M")
OLD_COLUMNS = (
    "id text primary key, kind text, sameness text, owner text, wish text, state text, "
    "run integer default 0, deaths integer default 0, pid integer, is_unwanted integer default 0, "
    "progress text, result text, error text, asked_s integer, started_s integer, ended_s integer, "
    "version integer default 1"
)


def running(book: JobBook, order: PullOrder | LoadOrder = PULL) -> Job:
    job, _ = book.submit(order, owner="")
    claimed = book.claim(job.id, most_at_once=99)
    assert claimed is not None
    return claimed


def test_a_book_that_nobody_wrote_into_has_no_jobs_and_no_file(book: JobBook, folder: Path) -> None:
    assert book.jobs() == book.live() == ()
    with pytest.raises(UnknownRequest):
        book.get("0a0b0c0d")
    assert not folder.exists()


def test_a_job_is_kept_as_it_was_asked_for(book: JobBook, folder: Path) -> None:
    orders = (
        PullOrder(reference="hf:org/repo", quantize="auto", parts=2, bytes_per_s=7),
        QuantizeOrder(model="fox", source="/m/fox-F16.gguf", projector="/m/p.gguf", name="small"),
        LoadOrder(model="fox", owner="key:alice", role="user"),
    )
    made = [book.submit(one, owner="me")[0] for one in orders]
    book.close()

    kept = JobBook(folder)

    assert [kept.get(one.id).order for one in made] == list(orders)
    assert [one.id for one in kept.jobs()] == [one.id for one in reversed(made)]
    assert {one.owner for one in kept.jobs()} == {"me"}
    kept.close()


def test_two_of_the_same_are_one_until_it_is_over(book: JobBook) -> None:
    first, is_first_new = book.submit(PULL, owner="")
    same, is_same_new = book.submit(PullOrder(reference=PULL.reference, parts=9), owner="you")
    other, is_other_new = book.submit(
        PullOrder(reference=PULL.reference, quantize="q8_0"), owner=""
    )

    assert (is_first_new, is_same_new, is_other_new) == (True, False, True)
    assert (same.id, same.order) == (first.id, PULL)
    assert other.id != first.id
    book.unwanted(first.id)
    again, is_again_new = book.submit(PULL, owner="")
    assert is_again_new
    assert again.id != first.id


def test_loads_of_two_askers_are_two_jobs(book: JobBook) -> None:
    hers, _ = book.submit(LoadOrder(model="fox", owner="alice"), owner="alice")
    his, _ = book.submit(LoadOrder(model="fox", owner="bob"), owner="bob")

    assert hers.id != his.id


def test_many_processes_that_ask_for_the_same_at_once_have_one_job(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One after the other, each waits for the disk.
    monkeypatch.setattr("umad.jobs.book_file._WAIT_S", 100.0)
    found: list[tuple[str, bool]] = []
    ready = threading.Barrier(4)
    JobBook(folder).submit(PullOrder(reference="hf:an/other"), owner="")  # the file is there

    def ask() -> None:
        own = JobBook(folder)  # as a process has it
        ready.wait()
        job, is_new = own.submit(PULL, owner="")
        found.append((job.id, is_new))
        own.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)

    assert len({job_id for job_id, _ in found}) == 1
    assert sorted(is_new for _, is_new in found) == [False, False, False, True]


def test_a_job_goes_through_its_life_and_every_change_can_be_told_from_the_last(
    book: JobBook,
) -> None:
    job, _ = book.submit(PULL, owner="")
    claimed = book.claim(job.id, most_at_once=1)
    assert claimed is not None
    begun = book.began(job.id, claimed.run, pid=4242)
    assert begun is not None
    part = PartProgress(name="a.gguf", done=5, total=9, per_s=2.5, digest="ab" * 32)
    progress = JobProgress(step="fetching", parts=(part,), missing_bytes=9, note="chosen")
    assert book.note(job.id, claimed.run, progress)
    noted = book.get(job.id)
    assert book.end(job.id, claimed.run, JobEvent.DONE, result={"name": "a"})
    done = book.get(job.id)

    assert [one.state for one in (job, claimed, begun, noted, done)] == [
        JobState.QUEUED,
        JobState.RUNNING,
        JobState.RUNNING,
        JobState.RUNNING,
        JobState.DONE,
    ]
    versions = [one.version for one in (job, claimed, begun, noted, done)]
    assert versions == sorted(set(versions))
    assert (begun.pid, noted.progress, done.result) == (4242, progress, {"name": "a"})
    assert done.ended_s is not None
    row = done.as_map()
    assert (row["done"], row["total"], row["state"]) == (5, 9, "done")
    json.dumps(row)


def test_a_run_that_is_over_changes_nothing_any_more(book: JobBook) -> None:
    job = running(book)
    assert book.died(job.id, job.run)
    again = book.claim(job.id, most_at_once=1)
    assert again is not None

    assert book.began(job.id, job.run, pid=1) is None
    assert not book.note(job.id, job.run, JobProgress(step="checking"))
    assert not book.end(job.id, job.run, JobEvent.DONE)
    assert not book.died(job.id, job.run)
    assert book.get(job.id).state is JobState.RUNNING
    assert book.get(job.id).deaths == 1


def test_what_is_over_stays_as_it_ended(book: JobBook) -> None:
    job = running(book)
    error = error_map(BadRequest("no such", field="model"))
    assert book.end(job.id, job.run, JobEvent.FAIL, error=error)

    assert not book.end(job.id, job.run, JobEvent.DONE)
    assert book.unwanted(job.id).state is JobState.FAILED
    failure = book.get(job.id).failure()
    assert isinstance(failure, BadRequest)
    assert (failure.message, failure.field) == ("no such", "model")


def test_only_so_many_run_at_once_and_loads_do_not_count(book: JobBook) -> None:
    waiting, _ = book.submit(PullOrder(reference="hf:b/b"), owner="")
    running(book, LoadOrder(model="fox"))
    assert book.claim(waiting.id, most_at_once=0) is None
    running(book)

    assert book.claim(waiting.id, most_at_once=1) is None
    assert book.claim(waiting.id, most_at_once=2) is not None
    assert book.claim(waiting.id, most_at_once=9) is None, "it runs already"


def test_one_that_dies_waits_again_and_has_failed_after_some_deaths(book: JobBook) -> None:
    job = running(book)
    for _ in range(MOST_DEATHS[JobKind.PULL] - 1):
        assert book.died(job.id, book.get(job.id).run)
        assert book.claim(job.id, most_at_once=1) is not None

    assert book.died(job.id, book.get(job.id).run, words="Killed by a test")

    failure = book.get(job.id).failure()
    assert failure is not None
    assert failure.message == "its process died 8 times without an end: Killed by a test"


def test_one_that_is_told_to_end_again_and_again_has_not_died_and_is_not_begun_for_ever(
    book: JobBook,
) -> None:
    job, _ = book.submit(PULL, owner="")

    for run in range(1, MOST_RUNS + 1):
        assert book.claim(job.id, most_at_once=1) is not None
        assert book.stopped(job.id, run)

    failed = book.get(job.id)
    assert (failed.state, failed.deaths) == (JobState.FAILED, 0)
    assert failed.error is not None
    assert "was told to end each of" in failed.error["message"]


def test_one_that_is_unwanted_is_cancelled_at_once_or_when_its_process_is_gone(
    book: JobBook,
) -> None:
    job = running(book)
    waiting, _ = book.submit(PullOrder(reference="hf:b/b"), owner="")

    assert book.unwanted(waiting.id).state is JobState.CANCELLED
    wanted_off = book.unwanted(job.id)
    assert (wanted_off.state, wanted_off.is_unwanted) == (JobState.RUNNING, True)
    assert book.unwanted(job.id).version == wanted_off.version, "twice is once"
    assert book.died(job.id, job.run)
    assert book.get(job.id).state is JobState.CANCELLED


def test_every_state_that_is_not_over_has_a_way_out() -> None:
    for state in JobState:
        ways = [event for before, event in NEXT if before is state]
        assert bool(ways) is not state.is_over


def test_a_program_gone_wrong_cannot_fill_the_book(
    book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "MOST_LIVE", 2)
    for name in ("a", "b"):
        book.submit(PullOrder(reference=f"hf:{name}/{name}"), owner="")

    with pytest.raises(QueueFull, match="2 jobs wait or run"):
        book.submit(PullOrder(reference="hf:c/c"), owner="")
    assert not book.submit(PullOrder(reference="hf:a/a"), owner="")[1], "it is there already"


def test_one_key_cannot_take_the_room_of_the_others(
    book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "MOST_LIVE_EACH", 2)
    for name in ("a", "b"):
        book.submit(LoadOrder(model=name, owner="key:alice"), owner="key:alice")

    with pytest.raises(QueueFull, match="2 jobs of yours wait or run already"):
        book.submit(LoadOrder(model="c", owner="key:alice"), owner="key:alice")
    assert book.submit(LoadOrder(model="a", owner="key:alice"), owner="key:alice")[1] is False
    assert book.submit(LoadOrder(model="c", owner="key:bob"), owner="key:bob")[1]
    for name in ("d", "e", "f"):
        assert book.submit(LoadOrder(model=name), owner="")[1]


def test_the_history_is_short_and_files_of_what_is_forgotten_go(
    book: JobBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "MOST_OVER", 2)
    made = []
    book.folder.mkdir(parents=True, mode=0o700)
    for number in range(4):
        job, _ = book.submit(PullOrder(reference=f"hf:a/{number}"), owner="")
        (book.folder / f"{job.id}.lock").touch()
        book.words_path(job.id).touch()
        book.unwanted(job.id)
        made.append(job.id)

    book.submit(PULL, owner="")

    assert [one.id for one in book.jobs()][1:] == [made[3], made[2]]
    left = {path.stem for path in book.folder.iterdir()}
    assert left == {made[3], made[2]}


@pytest.mark.parametrize("damage", [b"no database at all", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_book_is_put_aside_and_begun_anew(
    folder: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(mode=0o700)
    (folder / "jobs.sqlite3").write_bytes(damage)
    book = JobBook(folder)

    job, is_new = book.submit(PULL, owner="")

    assert is_new
    assert book.jobs() == (job,)
    assert (folder / "jobs.damaged").read_bytes() == damage
    assert "begun anew" in caplog.text
    book.close()


def test_a_second_look_in_one_process_costs_the_first_nothing(folder: Path) -> None:
    """SQLite's locks are the process's (POSIX): closing the file by hand would end all of them."""

    def another_process_sees() -> set[str]:
        program = (
            "import sys; from pathlib import Path; from umad.jobs.book import opened\n"
            "with opened(Path(sys.argv[1])) as book: print(*[one.id for one in book.jobs()])"
        )
        command = [sys.executable, "-c", program, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    book = JobBook(folder)
    first, _ = book.submit(PULL, owner="")
    with book_module.opened(folder) as again:
        assert again.jobs() == (first,)
    assert another_process_sees() == {first.id}

    second, _ = book.submit(PullOrder(reference="hf:new/one"), owner="")

    assert another_process_sees() == {first.id, second.id}
    book.close()


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param("id text primary key, kind text", id="fewer columns"),
        pytest.param(f"{OLD_COLUMNS}, place text not null", id="more columns"),
    ],
)
def test_a_book_of_another_version_is_put_aside_and_begun_anew(folder: Path, columns: str) -> None:
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "jobs.sqlite3") as db:
        db.execute(f"create table jobs ({columns})")
    db.close()
    book = JobBook(folder)

    job, is_new = book.submit(PULL, owner="")

    assert is_new
    assert book.jobs() == (job,)
    assert (folder / "jobs.damaged").exists()
    book.close()


def test_a_book_that_another_process_has_begun_anew_is_the_one_that_counts(folder: Path) -> None:
    first, second = JobBook(folder), JobBook(folder)
    first.submit(PULL, owner="")
    (folder / "jobs.sqlite3").rename(folder / "jobs.damaged")
    for ending in ("-wal", "-shm"):
        (folder / f"jobs.sqlite3{ending}").unlink(missing_ok=True)
    job, _ = second.submit(PullOrder(reference="hf:new/one"), owner="")

    assert first.jobs() == (job,)
    first.close()
    second.close()


def test_a_record_that_makes_no_sense_is_left_out_and_takes_nobodys_place(
    book: JobBook, folder: Path
) -> None:
    good, _ = book.submit(PULL, owner="")
    bad, _ = book.submit(PullOrder(reference="hf:b/b"), owner="")
    with sqlite3.connect(folder / "jobs.sqlite3") as db:
        db.execute("update jobs set wish = '{\"no\": 1}' where id = ?", (bad.id,))
    db.close()

    assert book.live() == (good,)
    with pytest.raises(UnknownRequest):
        book.get(bad.id)
    assert book.submit(PullOrder(reference="hf:b/b"), owner="")[1], "its place is free"


def test_only_this_user_may_read_the_book(book: JobBook, folder: Path) -> None:
    book.submit(PULL, owner="")

    for path in (folder, folder / "jobs.sqlite3", folder / "jobs.sqlite3-wal"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file is in its place")

    with pytest.raises(Refused, match=r"the list of jobs .*jobs\.sqlite3 cannot be used"):
        JobBook(tmp_path / "store").submit(PULL, owner="")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_says_so(folder: Path) -> None:
    folder.mkdir(mode=0o500)

    with pytest.raises(Refused, match="Permission denied"):
        JobBook(folder).submit(PULL, owner="")


@pytest.mark.parametrize(("text", "meant"), [("Q4_K_M", "q4_k_m"), (" auto ", "auto")])
def test_a_type_is_written_in_any_letters(text: str, meant: str) -> None:
    assert wish_of(text) == meant


def test_a_type_that_is_none_names_those_there_are() -> None:
    with pytest.raises(BadRequest, match="quantize is one of auto, f16, q8_0") as caught:
        wish_of("int4")
    assert caught.value.field == "quantize"
