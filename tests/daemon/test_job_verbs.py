"""Jobs as the daemon's clients see them: whose they are, how they are followed, and loads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.daemon.house import PATIENCE_S, run
from tests.jobs.fake_workers import FakeHouse
from umad.asker import MACHINE_USER, Asker
from umad.clock import Clock
from umad.daemon import job_verbs
from umad.daemon.engine_state import EngineState
from umad.daemon.job_verbs import JobVerbs
from umad.daemon.names import ModelFile
from umad.errors import (
    BadRequest,
    ModelLoadFailed,
    Refused,
    ShuttingDown,
    UmadError,
    UnknownModel,
    UnknownRequest,
    Unsupported,
)
from umad.jobs.job import JobEvent, JobProgress, PartProgress
from umad.models.catalogue import Catalogue
from umad.models.library import Library
from umad.models.store import Store
from umad.protocol.messages import CancelJob, GetJob, Pull, Quantize

ADMIN = Asker(owner="key:root")
ALICE, BOB = (Asker(owner=f"key:{one}", role="user") for one in ("alice", "bob"))
FOX = "hf:org/fox:Q4_K_M"


class FakeSupervisor:
    """Loads what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.may_load = asyncio.Event()
        self.error: UmadError | None = None
        self.loaded: list[tuple[str, Asker]] = []
        self.given_up: list[str] = []
        self.share = 0.0

    def get(self, name: str) -> Any:
        return SimpleNamespace(load_share=self.share, waits_for="")

    def give_up_load(self, name: str) -> bool:
        self.given_up.append(name)
        return True

    def file(self, model: str, asker: Asker) -> ModelFile:
        if model == "none":
            raise UnknownModel("no model is called 'none'", field="model")
        return ModelFile(name=model, path=Path("/models") / f"{model}.gguf", size_bytes=10)

    async def load(self, model: str, asker: Asker) -> Any:
        self.loaded.append((model, asker))
        await self.may_load.wait()
        if self.error is not None:
            raise self.error
        return SimpleNamespace(name=model, state=EngineState.READY)


class Jobs:
    """The verbs of one daemon, and what stands behind them."""

    def __init__(self, folder: Path) -> None:
        self.house = FakeHouse(folder)
        self.supervisor = FakeSupervisor()
        self.verbs = JobVerbs(
            library=Library(store=Store(folder), catalogue=Catalogue()),
            supervisor=cast(Any, self.supervisor),
            most_at_once=2,
            clock=cast(Clock, self.house.clock),
            environ={"HOME": "/home/me"},
            start=cast(Any, self.house._start),
        )

    async def until_started(self, n: int = 1) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.house.workers) < n:  # noqa: ASYNC110  (another thread decides)
                await asyncio.sleep(0.01)
        return self.house.workers[n - 1]

    async def pull(self, model: str = FOX, asker: Asker = MACHINE_USER, **more: Any) -> Any:
        return await self.verbs.pull(Pull(id=1, model=model, **more), asker)

    async def get(self, job: str, asker: Asker = MACHINE_USER, after: int | None = None) -> Any:
        return await self.verbs.job(GetJob(id=1, job=job, after=after), asker)

    async def over(self, job: str) -> Any:
        row = await self.get(job)
        while row["state"] in ("queued", "running"):
            row = await self.get(job, after=row["version"])
        return row


@asynccontextmanager
async def jobs(folder: Path) -> AsyncIterator[Jobs]:
    """A daemon's jobs, while it runs."""
    one = Jobs(folder)
    looking = asyncio.create_task(one.verbs.run())
    try:
        yield one
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        await one.verbs.close()
        one.house.close()


def test_a_pull_is_a_job_that_is_started_followed_and_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            row = await one.pull()
            assert (row["state"], row["what"], row["is_new"]) == ("queued", FOX, True)
            worker = await one.until_started()
            worker.begin()
            now = await one.get(row["job"])
            waiting = asyncio.create_task(one.get(row["job"], after=now["version"]))
            await asyncio.sleep(0.05)
            assert not waiting.done(), "nothing has changed"
            part = PartProgress(name="a.gguf", done=3, total=9)
            one.house.book.note(row["job"], 1, JobProgress(step="fetching", parts=(part,)))

            told = await asyncio.wait_for(waiting, PATIENCE_S)
            assert (told["step"], told["done"], told["total"]) == ("fetching", 3, 9)
            worker.end(JobEvent.DONE, result={"name": "fox"})
            done = await asyncio.wait_for(one.over(row["job"]), PATIENCE_S)
            assert (done["state"], done["result"]) == ("done", {"name": "fox"})

    run(test())


def test_a_follower_is_answered_after_a_while_in_which_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_verbs, "FOLLOW_S", 0.05)

    async def test() -> None:
        async with jobs(tmp_path) as one:
            row = await one.pull()
            await one.until_started()
            now = await one.get(row["job"])

            assert await one.get(row["job"], after=now["version"]) == now

    run(test())


def test_two_who_ask_for_the_same_have_one_job(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            first, second = await asyncio.gather(one.pull(), one.pull(asker=ADMIN))
            assert first["job"] == second["job"]
            assert {first["is_new"], second["is_new"]} == {True, False}
            await one.until_started()
            assert len(one.house.workers) == 1

    run(test())


def test_a_job_is_its_askers_and_an_admins(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            hers = await one.verbs.load("fox", ALICE)
            his = await one.verbs.load("fox", BOB)
            pulled = await one.pull(asker=ADMIN)

            assert [row["job"] for row in await one.verbs.jobs(ALICE)] == [hers["job"]]
            assert [row["job"] for row in await one.verbs.jobs(BOB)] == [his["job"]]
            assert len(await one.verbs.jobs(ADMIN)) == len(await one.verbs.jobs(MACHINE_USER)) == 3
            for row in (hers, pulled):
                with pytest.raises(UnknownRequest) as there:
                    await one.get(row["job"], BOB)
                with pytest.raises(UnknownRequest):
                    await one.verbs.cancel(CancelJob(id=1, job=row["job"]), BOB)
                with pytest.raises(UnknownRequest) as nowhere:
                    await one.get("0" * 8, BOB)
                assert str(there.value).replace(row["job"], "0" * 8) == str(nowhere.value)

    run(test())


def test_a_load_is_done_by_the_supervisor_for_whoever_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            row = await one.verbs.load("fox", ALICE)
            with pytest.raises(UnknownModel):
                await one.verbs.load("none", ALICE)
            while not one.supervisor.loaded:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            one.supervisor.share = 0.5
            while (now := await one.get(row["job"], ALICE))["done"] == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert (now["step"], now["done"], now["total"]) == ("loading", 5, 10)
            one.supervisor.may_load.set()

            done = await asyncio.wait_for(one.over(row["job"]), PATIENCE_S)
            assert done["result"] == {"name": "fox", "state": "ready"}
            assert done["done"] == done["total"] == 10
            assert one.supervisor.loaded == [("fox", ALICE)]
            assert one.house.workers == []

    run(test())


def test_a_load_that_is_under_way_is_cancelled_and_its_model_given_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            row = await one.verbs.load("fox", ALICE)
            while not one.supervisor.loaded:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            with pytest.raises(UnknownRequest):
                await one.verbs.cancel(CancelJob(id=1, job=row["job"]), BOB)

            await one.verbs.cancel(CancelJob(id=1, job=row["job"]), ALICE)

            over = await asyncio.wait_for(one.over(row["job"]), PATIENCE_S)
            assert (over["state"], over["error"]) == ("cancelled", None)
            assert one.supervisor.given_up == ["fox"]
            one.supervisor.may_load.set()
            again = await one.verbs.load("fox", ALICE)
            assert (await asyncio.wait_for(one.over(again["job"]), PATIENCE_S))["state"] == "done"

    run(test())


@pytest.mark.parametrize(
    ("asker", "says"), [(MACHINE_USER, "/models/fox"), (ALICE, "cannot be had now")]
)
def test_a_load_that_fails_says_why_and_tells_a_user_nothing_of_files(
    tmp_path: Path, asker: Asker, says: str
) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            one.supervisor.error = ModelLoadFailed("no such file: /models/fox.gguf")
            one.supervisor.may_load.set()
            row = await one.verbs.load("fox", asker)

            failed = await asyncio.wait_for(one.over(row["job"]), PATIENCE_S)
            assert failed["state"] == "failed"
            assert says in failed["error"]["message"]

    run(test())


def test_a_load_that_the_end_of_the_daemon_cuts_off_is_done_by_the_next(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            one.supervisor.error = ShuttingDown("the daemon has shut down")
            row = await one.verbs.load("fox", MACHINE_USER)
            while not one.supervisor.loaded:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            one.supervisor.may_load.set()
        async with jobs(tmp_path) as two:
            two.supervisor.may_load.set()
            done = await asyncio.wait_for(two.over(row["job"]), PATIENCE_S)
            assert done["state"] == "done"

    run(test())


def test_jobs_go_on_while_no_daemon_runs_and_the_next_one_knows_them(tmp_path: Path) -> None:
    async def test() -> None:
        first = Jobs(tmp_path)
        looking = asyncio.create_task(first.verbs.run())
        row = await first.pull()
        worker = await first.until_started()
        worker.begin()
        looking.cancel()
        await asyncio.wait({looking})
        await first.verbs.close()
        async with jobs(tmp_path) as second:
            worker.end(JobEvent.DONE, result={"name": "fox"})
            done = await asyncio.wait_for(second.over(row["job"]), PATIENCE_S)
            assert done["state"] == "done"
            assert second.house.workers == []
        first.house.close()

    run(test())


def test_a_pull_for_another_hub_or_token_is_not_the_daemons(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            with pytest.raises(Unsupported, match="other variables for the hub"):
                await one.pull(surroundings="0" * 64)
            assert await one.verbs.jobs(MACHINE_USER) == []

    run(test())


def test_a_quantization_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with jobs(tmp_path) as one:
            wrong: list[tuple[dict[str, Any], type[UmadError]]] = [
                ({"model": "none"}, UnknownModel),
                ({"model": "fox", "to": "int4"}, BadRequest),
                ({"model": "fox", "name": "a/b"}, BadRequest),
                ({"model": "fox", "name": "nano"}, BadRequest),
            ]
            for more, error in wrong:
                with pytest.raises(error):
                    await one.verbs.quantize(Quantize(id=1, **more), MACHINE_USER)
            row = await one.verbs.quantize(
                Quantize(id=1, model="fox", to="Q4_K_M", name="small"), MACHINE_USER
            )
            assert row["what"] == "fox as q4_k_m, called small"

    run(test())


def test_a_daemon_without_a_store_has_no_jobs(tmp_path: Path) -> None:
    async def test() -> None:
        verbs = JobVerbs(
            library=Library(),
            supervisor=cast(Any, FakeSupervisor()),
            most_at_once=2,
            clock=cast(Clock, FakeHouse(tmp_path).clock),
        )
        assert await verbs.jobs(MACHINE_USER) == []
        with pytest.raises(Refused, match="no store"):
            await verbs.pull(Pull(id=1, model=FOX), MACHINE_USER)
        with pytest.raises(UnknownRequest):
            await verbs.job(GetJob(id=1, job="a"), MACHINE_USER)
        await verbs.close()

    run(test())


def test_a_book_that_cannot_be_read_does_not_end_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_verbs, "AGAIN_S", 0.01)

    async def test() -> None:
        (tmp_path / "jobs.sqlite3").mkdir()
        async with jobs(tmp_path) as one:
            with pytest.raises(Refused, match="cannot be used"):
                await one.pull()
            (tmp_path / "jobs.sqlite3").rmdir()
            row = await one.pull()
            await one.until_started()
            assert row["state"] == "queued"

    run(test())
