"""Who follows a job, and whether it ends when they leave."""

import asyncio
from contextlib import aclosing
from typing import Any, cast

import pytest

from umad.errors import Cancelled, DiskFull
from umad.gateway.following import JobFollowers
from umad.gateway.watchers import Watchers
from umad.service import Service


class OneJob:
    """A daemon with one job, which changes when a test says so."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"job": "a", "state": "running", "version": 1, "error": None}
        self.changed = asyncio.Event()
        self.waits = asyncio.Event()
        self.cancelled: list[str] = []

    def becomes(self, **what: Any) -> None:
        self.state = {**self.state, **what, "version": self.state["version"] + 1}
        self.changed.set()

    async def job(self, job: str, *, after: int | None = None) -> Any:
        while self.state["version"] == after:
            self.changed.clear()
            self.waits.set()
            await self.changed.wait()
        return self.state

    async def cancel_job(self, job: str) -> Any:
        self.cancelled.append(job)
        return self.state

    def row(self, *, is_new: bool = True) -> Any:
        return {**self.state, "is_new": is_new}


def test_a_follower_sees_every_change_to_the_end() -> None:
    async def test() -> None:
        daemon, followers = OneJob(), JobFollowers()
        rows = followers.rows(cast(Service, daemon), daemon.row(), ends_it=True)
        seen = [await anext(rows)]
        daemon.becomes(done=5)
        seen.append(await anext(rows))
        daemon.becomes(state="done")
        seen += [row async for row in rows]

        assert [row["version"] for row in seen] == [1, 2, 3]
        assert daemon.cancelled == []

    asyncio.run(test())


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ({"state": "cancelled"}, Cancelled),
        (
            {"state": "failed", "error": {"code": "disk_full", "message": "no", "field": None}},
            DiskFull,
        ),
    ],
)
def test_a_job_that_ends_badly_is_an_error_for_its_followers(
    what: dict[str, Any], error: type[Exception]
) -> None:
    async def test() -> None:
        daemon = OneJob()
        daemon.becomes(**what)
        with pytest.raises(error):
            async for _ in JobFollowers().rows(cast(Service, daemon), daemon.row()):
                pass

    asyncio.run(test())


def test_a_job_ends_with_the_last_of_those_who_follow_it_and_not_before() -> None:
    async def test() -> None:
        daemon, followers = OneJob(), JobFollowers()
        service = cast(Service, daemon)
        async with aclosing(followers.rows(service, daemon.row(), ends_it=True)) as first:
            await anext(first)
            same = followers.rows(service, daemon.row(is_new=False), ends_it=True)
            async with aclosing(same) as second:
                await anext(second)
                await first.aclose()
                assert daemon.cancelled == []
        assert daemon.cancelled == ["a"]

    asyncio.run(test())


@pytest.mark.parametrize(("is_new", "ends_it"), [(False, True), (True, False)])
def test_a_job_that_somebody_else_began_or_that_is_no_streams_own_goes_on(
    is_new: bool, ends_it: bool
) -> None:
    async def test() -> None:
        daemon = OneJob()
        rows = JobFollowers().rows(
            cast(Service, daemon), daemon.row(is_new=is_new), ends_it=ends_it
        )
        async with aclosing(rows):
            await anext(rows)
        assert daemon.cancelled == []

    asyncio.run(test())


def test_a_client_that_goes_while_it_waits_ends_its_job_too() -> None:
    async def test() -> None:
        daemon, followers = OneJob(), JobFollowers()

        async def read() -> None:
            rows = followers.rows(cast(Service, daemon), daemon.row(), ends_it=True)
            async with aclosing(rows):
                async for _ in rows:
                    pass

        reading = asyncio.create_task(read())
        await daemon.waits.wait()
        reading.cancel()
        await asyncio.wait({reading})
        assert daemon.cancelled == ["a"]

    asyncio.run(test())


def test_each_stream_hears_of_removals_since_its_own_last_look() -> None:
    async def test() -> None:
        watchers = Watchers()
        watchers.note_removed("a")
        seen = watchers.n_removed
        watchers.note_removed("b")
        watchers.note_removed("c")
        assert watchers.removed_since(seen) == ["b", "c"]
        assert watchers.removed_since(watchers.n_removed) == []
        for number in range(1000):
            watchers.note_removed(str(number))
        assert len(watchers.removed_since(0)) < 100

    asyncio.run(test())
