"""Models that are fetched for requests: for whom, which, and what the request becomes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tests.daemon.house import House, Serve, Wire, asks, run, tokens_of
from umad.asker import MACHINE_USER, Asker
from umad.config import Settings
from umad.daemon.auto_pull import AutoPull
from umad.daemon.job_verbs import JobVerbs
from umad.embedding import EmbedRequest
from umad.errors import DiskFull
from umad.models.files import ModelFiles
from umad.models.library import Library
from umad.models.store import Store, StoredModel
from umad.protocol.messages import Embed, Load, Pull
from umad.service import Failed
from umad.testing import FakeModel

USER = Asker(owner="key:alice", role="user")
FOX = "hf:org/fox:Q4_K_M"


class FakeJobs:
    """Pulls that are done at once: they put a model into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pulled: list[str] = []
        self.error: Exception | None = None

    async def pull(self, request: Pull, _: Asker) -> Mapping[str, Any]:
        self.pulled.append(request.model)
        if self.error is not None:
            raise self.error
        FakeModel().write(self.folder / "fox.gguf")
        return {"state": "done", "result": {"name": "fox"}}

    async def finished(self, row: Mapping[str, Any], _: Asker) -> Mapping[str, Any]:
        return row


def fetcher(jobs: FakeJobs, library: Library, **settings: Any) -> AutoPull:
    told: dict[str, Any] = {"auto_pull": True, **settings}
    return AutoPull(cast(JobVerbs, jobs), library, Settings(**told))


@pytest.mark.parametrize(
    ("model", "asker", "settings", "is_fetched"),
    [
        pytest.param(FOX, MACHINE_USER, {}, True, id="a reference"),
        pytest.param(f"{FOX}+pirate", MACHINE_USER, {}, True, id="with an adapter"),
        pytest.param(FOX, USER, {}, False, id="of somebody who may not pull"),
        pytest.param(FOX, MACHINE_USER, {"auto_pull": False}, False, id="turned off"),
        pytest.param(FOX, MACHINE_USER, {"lazy_load": False}, False, id="nothing would load it"),
        pytest.param("fux", MACHINE_USER, {}, False, id="a name that nothing has"),
        pytest.param("/models/fox.gguf", MACHINE_USER, {}, False, id="a file"),
        pytest.param(None, MACHINE_USER, {}, False, id="no name"),
    ],
)
def test_only_what_can_be_fetched_is_fetched_and_for_those_who_may_pull(
    tmp_path: Path, model: str | None, asker: Asker, settings: dict[str, Any], is_fetched: bool
) -> None:
    library = Library(store=Store(tmp_path))

    assert fetcher(FakeJobs(tmp_path), library, **settings).is_for(model, asker) is is_fetched


def test_a_model_that_is_here_is_meant_by_less_than_its_name_and_not_fetched(
    tmp_path: Path,
) -> None:
    store, jobs = Store(tmp_path / "store"), FakeJobs(tmp_path)
    file = tmp_path / "fox-q4.gguf"
    FakeModel().write(file)
    store.add(StoredModel(name="fox-q4", files=ModelFiles(parts=(file,)), source=FOX))
    auto = fetcher(jobs, Library(store=store))

    assert run_of(auto, "hf:org/fox+pirate") == "fox-q4+pirate"
    assert jobs.pulled == []


def run_of(auto: AutoPull, model: str) -> str:
    names: list[str] = []

    async def ask() -> None:
        names.append(await auto.fetched(model, MACHINE_USER))

    run(ask())
    return names[0]


async def fetching(house: House, folder: Path) -> tuple[FakeJobs, Wire]:
    """Have a daemon without a store fetch by jobs that are done at once."""
    jobs = FakeJobs(folder)
    auto = house.daemon._verbs._auto_pull
    auto._jobs, auto._is_on = cast(JobVerbs, jobs), True
    return jobs, await house.connect()


def test_a_request_waits_for_its_model_to_be_fetched_and_loaded(
    serve: Serve, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with serve(empty=True, several={"model_folders": (str(tmp_path),)}) as house:
            jobs, wire = await fetching(house, tmp_path)

            stream = await wire.stream(asks(1, model=FOX))
            facts = await wire.ask(Load(id=2, model=FOX, as_request=True))

            assert stream.ids == tokens_of(7, 5)
            assert facts["name"] == "fox"
            assert set(jobs.pulled) == {FOX}

    run(scene())


def test_a_fetch_that_fails_is_the_answer_of_the_request(serve: Serve, tmp_path: Path) -> None:
    async def scene() -> None:
        async with serve(empty=True, several={"model_folders": (str(tmp_path),)}) as house:
            jobs, wire = await fetching(house, tmp_path)
            jobs.error = DiskFull("fox needs 3 GB more on the disk")

            stream = await wire.stream(asks(1, model=FOX))
            vectors = await wire.ask(Embed(id=2, request=EmbedRequest(inputs=("a",), model=FOX)))

            for failed in (stream.failed, vectors):
                assert isinstance(failed, Failed)
                assert failed.message == "fox needs 3 GB more on the disk"

    run(scene())
