"""Whose long work is done next: who was served least, one of each app at a time."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from umad.engine.mail.fair_queue import FairQueue

WAIT_S = 60.0


def filled(*jobs: tuple[str, str]) -> FairQueue[str]:
    """(app, job), each of its own owner unless the app says whose: "owner/app"."""
    queue: FairQueue[str] = FairQueue()
    for app, job in jobs:
        owner, _, name = app.rpartition("/")
        queue.put(job, job, owner=owner, app=name)
    return queue


def drained(queue: FairQueue[str], took_us: int = 1000) -> list[str]:
    done = []
    while len(queue):
        ticket = queue.take()
        done.append(ticket.job)
        queue.done(ticket, took_us)
    return done


def test_apps_take_turns_however_much_one_of_them_has_handed_in() -> None:
    queue = filled(*[("greedy", f"g{at}") for at in range(5)], ("modest", "m0"), ("modest", "m1"))

    assert drained(queue) == ["g0", "m0", "g1", "m1", "g2", "g3", "g4"]


def test_what_takes_long_counts_for_as_much() -> None:
    queue = filled(("a", "long"), ("a", "a1"), ("b", "b0"), ("b", "b1"), ("b", "b2"))
    long = queue.take()
    queue.done(long, 1_000_000)

    assert long.job == "long"
    assert drained(queue) == ["b0", "b1", "b2", "a1"]


def test_one_app_has_one_thread_at_a_time() -> None:
    queue = filled(("a", "a0"), ("a", "a1"), ("b", "b0"))
    first, second = queue.take(), queue.take()
    third: list[str] = []
    waits = threading.Thread(target=lambda: third.append(queue.take().job), daemon=True)
    waits.start()

    assert {first.job, second.job} == {"a0", "b0"}
    assert not third
    queue.done(first, 1)
    waits.join(WAIT_S)
    assert third == ["a1"]


def test_an_owner_of_many_app_names_has_one_owners_share() -> None:
    queue = filled(*[(f"mallory/app{at}", f"m{at}") for at in range(6)], ("alice/x", "a0"))

    assert drained(queue).index("a0") <= 1


def test_what_nobody_wants_any_more_is_not_kept() -> None:
    queue = filled(("a", "a0"), ("a", "a1"))

    assert queue.drop("a0")
    assert not queue.drop("a0")
    assert drained(queue) == ["a1"]
    assert not queue._lines
    assert len(queue._counters) == 0


@given(
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30),
    took=st.lists(st.integers(1, 10**6), min_size=30, max_size=30),
)
def test_everything_is_done_once_and_in_its_apps_order(
    jobs: list[tuple[str, bool]], took: list[int]
) -> None:
    queue: FairQueue[int] = FairQueue()
    for at, (app, _) in enumerate(jobs):
        queue.put(at, at, owner="", app=app)
    dropped = {at for at, (_, drops) in enumerate(jobs) if drops and queue.drop(at)}
    done = []
    while len(queue):
        ticket = queue.take()
        done.append(ticket.job)
        queue.done(ticket, took[len(done) - 1])

    assert sorted(done) == [at for at in range(len(jobs)) if at not in dropped]
    for app in "abc":
        mine = [at for at in done if jobs[at][0] == app]
        assert mine == sorted(mine)
    assert not queue._lines
