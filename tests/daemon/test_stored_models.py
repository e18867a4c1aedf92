"""Models and presets that clients remove, name and save: what the daemon refuses, and why."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.daemon.house import run
from umad.asker import Asker
from umad.daemon.engine_state import EngineState
from umad.daemon.names import NANO, ModelFile
from umad.daemon.stored_models import StoredModels
from umad.errors import BadRequest, Refused, UnknownModel
from umad.jobs.book import opened
from umad.jobs.job import QuantizeOrder
from umad.models.catalogue import Catalogue
from umad.models.files import ModelFiles
from umad.models.library import Library
from umad.models.presets import SavedPresets, with_saved
from umad.models.store import Store, StoredModel
from umad.preset import Preset
from umad.protocol.messages import CopyModel, RemoveModel, SavePreset


class House:
    """A store with one model, and a daemon that may have it loaded."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.file = self.store.files_folder / "fox.gguf"
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(b"GGUF")
        self.store.add(StoredModel(name="fox", files=ModelFiles(parts=(self.file,))))
        self.engines: list[Any] = []
        self.live: list[Any] = []
        mine = Preset(name="mine", model="fox")
        self.library = Library(store=self.store, catalogue=Catalogue(presets={"mine": mine}))
        house = self

        class Supervisor:
            def __iter__(self) -> Any:
                return iter(house.engines)

            async def unload(self, name: str) -> None:
                house.engines = [one for one in house.engines if one.name != name]

            def file(self, model: str, asker: Asker) -> ModelFile:
                if model in (NANO, "nano:latest"):
                    return ModelFile(name=NANO, path=Path("/nano.gguf"))
                raise UnknownModel("no")

        self.stored = StoredModels(
            library=self.library,
            supervisor=cast(Any, Supervisor()),
            completions=cast(Any, self.live),
        )

    def load(self, name: str = "fox", *apps: str, state: EngineState = EngineState.READY) -> None:
        engine = SimpleNamespace(
            name=name, path=self.file, own_adapters=(), state=state, is_wanted=bool(apps)
        )
        self.engines.append(engine)
        self.live += [SimpleNamespace(engine=engine, app=app, adapter_paths=()) for app in apps]

    def use_as_adapter(self, *apps: str) -> None:
        paths = (str(self.file),)
        self.live += [SimpleNamespace(engine=None, app=app, adapter_paths=paths) for app in apps]

    def remove(self, model: str) -> Any:
        return asyncio.run(self.stored.remove(RemoveModel(id=1, model=model)))

    def copy(self, model: str, name: str) -> Any:
        return asyncio.run(self.stored.copy(CopyModel(id=1, model=model, name=name)))

    def save(self, name: str, model: str, **more: Any) -> Any:
        request = SavePreset(id=1, name=name, model=model, **more)
        return asyncio.run(self.stored.save_preset(request))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "store")


def test_a_model_is_removed_with_its_file(house: House) -> None:
    assert house.remove("fox") == {"name": "fox", "freed_bytes": 4}
    assert not house.file.exists()


def test_a_model_that_is_used_is_not_removed_and_it_is_said_by_whom(house: House) -> None:
    house.load("fox", "zed", "zed", "aider")

    with pytest.raises(Refused, match="fox is loaded, and used by zed, aider; unload it first"):
        house.remove("fox")
    assert house.file.exists()


@pytest.mark.parametrize("state", [EngineState.SUSPENDED, EngineState.FAILED])
def test_a_model_that_is_only_remembered_is_removed_and_forgotten(
    house: House, state: EngineState
) -> None:
    house.load(state=state)

    assert house.remove("fox")["freed_bytes"] == 4
    assert house.engines == []


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (EngineState.STARTING, "fox is being loaded; unload it first"),
        (EngineState.SUSPENDING, "fox is giving its memory back; try again in a moment"),
        (EngineState.DRAINING, "fox is being unloaded; try again in a moment"),
    ],
)
def test_a_model_that_has_a_process_stays_and_it_is_said_what_happens_to_it(
    house: House, state: EngineState, says: str
) -> None:
    house.load(state=state)

    with pytest.raises(Refused, match=says):
        house.remove("fox")
    assert house.file.exists()


def test_a_suspended_model_that_somebody_waits_for_stays(house: House) -> None:
    house.load("fox", "zed", state=EngineState.SUSPENDED)

    with pytest.raises(Refused, match="used by zed"):
        house.remove("fox")


def test_a_model_that_a_job_reads_stays(house: House) -> None:
    with opened(house.store.folder) as book:
        job, _ = book.submit(QuantizeOrder(model="fox", source=str(house.file)), owner="")

        with pytest.raises(Refused, match=f"fox is read by job {job.id}"):
            house.remove("fox")
        book.unwanted(job.id)

    assert house.remove("fox")["freed_bytes"] == 4


def test_an_adapter_that_requests_use_stays(house: House) -> None:
    house.use_as_adapter("zed", "zed", "aider")

    with pytest.raises(Refused, match="fox is in use by zed, aider; try again when that has ended"):
        house.remove("fox")
    assert house.file.exists()


def test_a_second_name_of_a_loaded_model_goes_because_its_file_stays(house: House) -> None:
    assert house.copy("fox", "reynard:latest") == {"name": "reynard", "model": "fox"}
    house.load("fox")

    assert house.remove("reynard")["freed_bytes"] == 0
    assert house.file.exists()


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        ("fix", UnknownModel, "near are fox"),
        ("nano", Refused, "it ships with umad"),
        ("nano:latest", Refused, "it ships with umad"),
        ("mine", UnknownModel, "no model is called 'mine'"),
    ],
)
def test_what_is_not_there_or_not_umads_stays(
    house: House, model: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        house.remove(model)


def test_the_model_that_ships_stays_itself_where_it_has_a_second_name(house: House) -> None:
    house.copy("nano", "other")

    with pytest.raises(Refused, match="it ships with umad"):
        house.remove("nano")
    assert house.remove("other") == {"name": "other", "freed_bytes": 0}


@pytest.mark.parametrize("name", ["fox", "nano", "mine", "a/b", "x.gguf", "", "two words"])
def test_a_name_that_is_taken_or_none_is_refused(house: House, name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        house.copy("fox", name)
    assert caught.value.field == "name"


def test_a_preset_is_saved_found_made_into_another_and_removed(house: House) -> None:
    house.save("brief", "fox", system="Be brief.", sampling={"temperature": 0.2, "stop": ("x",)})
    house.save("rude", "brief", sampling={"temperature": 1.5})

    found = SavedPresets(house.store.folder).current()
    assert found["rude"] == Preset(
        name="rude",
        model="fox",
        system="Be brief.",
        sampling={"temperature": 1.5, "stop": ("x",)},
    )
    assert house.library.catalogue.presets.keys() == {"mine", "brief", "rude"}
    assert with_saved(Catalogue(), house.store.folder).presets == found
    house.save("brief", "fox")
    assert SavedPresets(house.store.folder).current()["brief"].system == ""
    assert house.remove("brief:latest") == {"name": "brief", "freed_bytes": 0}
    assert SavedPresets(house.store.folder).current().keys() == {"rude"}
    assert "brief" not in house.library.catalogue.presets


@pytest.mark.parametrize(
    "system",
    ["Hi \N{GRINNING FACE}.", "one\u2028two\u0085three", "tab\tand \x00", "# no: 'yaml' \\U"],
)
def test_a_presets_words_are_kept_letter_for_letter(house: House, system: str) -> None:
    house.save("brief", "fox", system=system, sampling={"stop": (system,)})

    kept = SavedPresets(house.store.folder).current()["brief"]
    assert (kept.system, kept.sampling["stop"]) == (system, (system,))


def test_a_preset_that_a_person_wrote_down_stays_where_a_saved_one_of_its_name_goes(
    house: House,
) -> None:
    house.save("brief", "fox", system="saved")
    written = Preset(name="brief", model="fox", system="written")
    house.library.catalogue = Catalogue(presets={"brief": written})

    house.remove("brief")

    assert house.library.catalogue.presets == {"brief": written}


@pytest.mark.parametrize(
    ("name", "model", "error"),
    [
        ("fox", "fox", BadRequest),
        ("mine", "fox", Refused),
        ("new", "none", UnknownModel),
        ("new", "none+pirate", UnknownModel),
    ],
)
def test_a_preset_takes_nobodys_name_and_needs_a_model(
    house: House, name: str, model: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        house.save(name, model)
    assert not (house.store.folder / "presets.yaml").exists()


def test_a_preset_may_name_adapters_with_its_model(house: House) -> None:
    house.save("pirate", "fox+pirate@0.5")
    assert SavedPresets(house.store.folder).current()["pirate"].model == "fox+pirate@0.5"


def test_a_file_of_presets_that_is_damaged_has_none(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    (house.store.folder / "presets.yaml").write_text("presets: [1")

    assert SavedPresets(house.store.folder).current() == {}
    assert "saved presets cannot be read" in caplog.text


def test_a_daemon_without_a_store_changes_nothing() -> None:
    async def test() -> None:
        stored = StoredModels(
            library=Library(), supervisor=cast(Any, None), completions=cast(Any, None)
        )
        with pytest.raises(Refused, match="no store"):
            await stored.remove(RemoveModel(id=1, model="fox"))

    run(test())
