"""Who starts jobs and looks after them: one process a job, at most some at once, nothing lost."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from tests.jobs.fake_workers import FakeHouse
from umad.errors import ModelLoadFailed, UnknownRequest
from umad.jobs.job import JobEvent, JobKind, JobState, LoadOrder, Order, PullOrder
from umad.jobs.runner import KILL_AFTER_S, JobRunner
from umad.units import NS_PER_S


@pytest.fixture
def house(folder: Path) -> Iterator[FakeHouse]:
    one = FakeHouse(folder)
    yield one
    one.close()


@pytest.fixture
def runner(house: FakeHouse) -> Iterator[JobRunner]:
    one = house.runner()
    yield one
    one.close()


def pull(name: str) -> PullOrder:
    return PullOrder(reference=f"hf:org/{name}")


def test_jobs_are_started_in_their_order_and_at_most_some_at_once(
    house: FakeHouse, runner: JobRunner
) -> None:
    made = [runner.submit(pull(name), owner="")[0].id for name in "abc"]

    runner.tick()
    runner.tick()

    assert [one.told.job_id for one in house.workers] == made[:2]
    house.workers[0].begin()
    house.workers[0].end(JobEvent.DONE, result={"name": "a"})
    runner.tick()
    assert [one.told.job_id for one in house.workers] == made
    assert runner.book.get(made[0]).state is JobState.DONE


def test_a_process_outlives_its_daemon_and_the_next_one_finds_it(house: FakeHouse) -> None:
    first = house.runner()
    job, _ = first.submit(pull("a"), owner="")
    first.tick()
    house.workers[0].begin()
    first.close()
    second = house.runner()

    second.tick()

    assert len(house.workers) == 1, "it is not started twice"
    assert second.book.get(job.id).state is JobState.RUNNING
    house.workers[0].end(JobEvent.DONE, result={})
    assert second.tick().live == ()
    second.close()


def test_a_process_that_died_while_no_daemon_ran_is_started_again(house: FakeHouse) -> None:
    first = house.runner()
    job, _ = first.submit(pull("a"), owner="")
    first.tick()
    house.workers[0].begin()
    first.close()
    house.workers[0].end(None)
    second = house.runner()

    second.tick()

    assert [one.told.run for one in house.workers] == [1, 2]
    assert second.book.get(job.id).deaths == 1
    second.close()


def test_a_daemon_that_died_before_it_had_started_the_process_costs_nothing(
    house: FakeHouse, runner: JobRunner
) -> None:
    job, _ = runner.submit(pull("a"), owner="")
    assert runner.book.claim(job.id, most_at_once=1) is not None  # and it is gone

    runner.tick()

    assert [one.told.run for one in house.workers] == [2]


def test_two_daemons_with_one_store_start_a_job_once(house: FakeHouse) -> None:
    first, second = house.runner(), house.runner()
    for name in "abc":
        first.submit(pull(name), owner="")

    for one in (first, second, first, second):
        one.tick()

    assert len(house.workers) == 2, "the limit is of both together"
    for one in (first, second):
        one.close()


def test_one_that_waits_is_cancelled_at_once(house: FakeHouse, runner: JobRunner) -> None:
    job, _ = runner.submit(pull("a"), owner="")

    assert runner.cancel(job.id).state is JobState.CANCELLED
    runner.tick()
    assert house.workers == []


def test_one_that_runs_is_told_to_end(house: FakeHouse, runner: JobRunner) -> None:
    job, _ = runner.submit(pull("a"), owner="")
    runner.tick()
    house.workers[0].begin()

    assert runner.cancel(job.id).state is JobState.CANCELLED
    assert house.workers[0].signals == [15]


def test_one_that_does_not_end_is_killed_after_a_while(house: FakeHouse, runner: JobRunner) -> None:
    job, _ = runner.submit(pull("a"), owner="")
    runner.tick()
    worker = house.workers[0]
    worker.is_stubborn = True
    worker.begin()

    assert runner.cancel(job.id).state is JobState.RUNNING
    house.clock.ns += round((KILL_AFTER_S - 0.1) * NS_PER_S)
    runner.tick()
    assert worker.signals == [15]
    house.clock.ns += round(0.2 * NS_PER_S)
    runner.tick()
    runner.tick()

    assert worker.signals == [15, 9]
    assert runner.book.get(job.id).state is JobState.CANCELLED
    assert len(house.workers) == 1


def test_one_that_was_cancelled_is_ended_by_the_next_daemon_too(house: FakeHouse) -> None:
    first = house.runner()
    job, _ = first.submit(pull("a"), owner="")
    first.tick()
    worker = house.workers[0]
    worker.is_stubborn = True
    worker.begin()
    first.cancel(job.id)
    first.close()
    worker.is_stubborn = False
    second = house.runner()

    second.tick()

    assert second.book.get(job.id).state is JobState.CANCELLED
    second.close()


def test_a_runner_whose_daemon_ends_begins_nothing_and_the_next_one_does(house: FakeHouse) -> None:
    first, second = house.runner(), house.runner()
    job, _ = first.submit(pull("fox"), owner="")
    first.begin_nothing()

    first.tick()
    assert house.workers == []
    second.tick()

    assert [one.told.job_id for one in house.workers] == [job.id]
    first.close()
    second.close()


def test_a_process_that_cannot_be_started_is_a_failure_with_the_reason(
    house: FakeHouse, runner: JobRunner
) -> None:
    job, _ = runner.submit(pull("a"), owner="")
    house.start_error = OSError(12, "Cannot allocate memory")

    runner.tick()

    failure = runner.book.get(job.id).failure()
    assert failure is not None
    assert failure.message == "its process cannot be started: Cannot allocate memory"


def test_loads_are_handed_out_once_and_held_until_they_end(
    house: FakeHouse, runner: JobRunner
) -> None:
    job, _ = runner.submit(LoadOrder(model="fox"), owner="")

    (load,) = runner.tick().loads
    assert runner.tick().loads == ()
    other = house.runner()
    assert other.tick().loads == (), "another daemon sees that it is being done"
    runner.end_load(load, error=ModelLoadFailed("no such file"))

    assert runner.book.get(job.id).state is JobState.FAILED
    other.close()


def test_a_load_of_a_daemon_that_is_gone_is_done_by_the_next(house: FakeHouse) -> None:
    first = house.runner()
    first.submit(LoadOrder(model="fox"), owner="")
    first.tick()
    first.close()
    second = house.runner()

    (load,) = second.tick().loads

    assert (load.kind, load.run) == (JobKind.LOAD, 2)
    second.close()


def test_what_is_not_there_cannot_be_cancelled(runner: JobRunner) -> None:
    with pytest.raises(UnknownRequest, match="there is no job 'ffffffff'"):
        runner.cancel("ffffffff")


def test_a_runner_that_may_start_nothing_still_sees_what_has_died(folder: Path) -> None:
    house = FakeHouse(folder, most_at_once=0)
    runner = house.runner()
    job, _ = runner.submit(pull("a"), owner="")

    runner.tick()

    assert runner.book.get(job.id).state is JobState.QUEUED
    runner.close()
    house.close()


NAMES = st.sampled_from("abcd")
PICK = st.integers(0, 7)


class Jobs(RuleBasedStateMachine):
    """Two daemons that come and go, processes that end as they like, and people who change their
    mind.
    """

    MOST = 2

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.house = FakeHouse(folder / "store", most_at_once=self.MOST)
        self.runners = [self.house.runner(), self.house.runner()]
        self.asked: list[str] = []

    @override
    def teardown(self) -> None:
        # Whatever has happened: where processes end, everything ends.
        for _ in range(8 * len(self.asked) + 4):
            for worker in list(self.house.living()):
                worker.end(JobEvent.DONE)
            self.tick(0)
        assert self.house.book.live() == ()
        for one in self.runners:
            one.close()
        self.house.close()
        self._stack.close()

    def worker(self, pick: int) -> Any:
        living = list(self.house.living())
        return living[pick % len(living)] if living else None

    @rule(name=NAMES, which=st.integers(0, 1), is_load=st.booleans())
    def submit(self, name: str, which: int, is_load: bool) -> None:
        order: Order = LoadOrder(model=name) if is_load else pull(name)
        job, is_new = self.runners[which].submit(order, owner="")
        assert is_new is (job.id not in self.asked)
        if is_new:
            self.asked.append(job.id)

    @rule(which=st.integers(0, 1))
    def tick(self, which: int) -> None:
        runner = self.runners[which]
        for load in runner.tick().loads:
            runner.end_load(load, result={"name": load.order.what})

    @rule(pick=PICK, stubborn=st.booleans())
    def a_process_begins(self, pick: int, stubborn: bool) -> None:
        if (worker := self.worker(pick)) is not None:
            worker.is_stubborn = stubborn
            worker.begin()

    @rule(pick=PICK, event=st.sampled_from([JobEvent.DONE, JobEvent.FAIL, None]))
    def a_process_ends(self, pick: int, event: JobEvent | None) -> None:
        if (worker := self.worker(pick)) is not None:
            worker.end(event)

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0, 99), which=st.integers(0, 1))
    def cancel(self, pick: int, which: int) -> None:
        job = self.runners[which].cancel(self.asked[pick % len(self.asked)])
        assert job.state.is_over or job.is_unwanted

    @rule(which=st.integers(0, 1))
    def a_daemon_is_restarted(self, which: int) -> None:
        self.runners[which].close()
        self.runners[which] = self.house.runner()

    @rule(seconds=st.integers(1, 9))
    def time_passes(self, seconds: int) -> None:
        self.house.clock.ns += seconds * NS_PER_S

    @invariant()
    def a_job_has_one_process_at_most(self) -> None:
        ids = [one.told.job_id for one in self.house.living()]
        assert len(ids) == len(set(ids)) <= self.MOST

    @invariant()
    def nothing_is_lost_and_no_two_are_the_same(self) -> None:
        jobs = self.house.book.jobs()
        assert {one.id for one in jobs} == set(self.asked)
        live = [(one.kind, one.order.sameness) for one in jobs if not one.state.is_over]
        assert len(live) == len(set(live))
        assert all((one.ended_s is not None) is one.state.is_over for one in jobs)

    @invariant()
    def a_process_that_lives_works_for_a_job_that_runs(self) -> None:
        for one in self.house.living():
            job = self.house.book.get(one.told.job_id)
            assert (job.state, job.run) == (JobState.RUNNING, one.told.run)


TestJobs = Jobs.TestCase
# A few: each of them opens files.
TestJobs.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
