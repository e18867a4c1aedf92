"""Which engine and which adapters a request means, and who is told what there is."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.models.gguf_bytes import adapter, gguf
from umad.adapters import AdapterChoice
from umad.asker import MACHINE_USER, Asker
from umad.daemon.adapters import AdapterNames
from umad.daemon.names import ModelNames
from umad.daemon.supervisor import Supervisor
from umad.errors import BadRequest, UnknownModel, Unsupported
from umad.request import GenerateRequest

USER = Asker(owner="key:alice", role="user")


@dataclass
class FakeSupervisor:
    """The engines that run, by name."""

    engines: dict[str, Any] = field(default_factory=dict)

    def find(self, model: str | None, asker: Asker, *, keep_alive_s: float | None = None) -> Any:
        name = model or "nano"
        if name not in self.engines:
            raise UnknownModel(f"{name} is not loaded", field="model")
        return self.engines[name]

    def get(self, name: str) -> Any:
        return self.engines.get(name)


class House:
    """Adapters in a folder, and one model that runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pirate", "robot"):
            (folder / f"{name}.gguf").write_bytes(adapter(name, data=name.encode()))
        (folder / "a+b.gguf").write_bytes(gguf({"general.architecture": "llama"}))
        self.supervisor = FakeSupervisor()
        self.runs("nano")
        supervisor = cast("Supervisor", self.supervisor)
        self.names = AdapterNames(supervisor, ModelNames(folders=[str(folder)]))

    def runs(self, name: str, *own: Path) -> None:
        async def told() -> Mapping[str, Any]:
            return {"architecture": "llama"}

        self.supervisor.engines[name] = SimpleNamespace(name=name, own_adapters=own, told=told)

    def meant(self, model: str | None, asker: Asker = MACHINE_USER, **more: Any) -> Any:
        return self.names.meant(GenerateRequest(prompt="x", model=model, **more), asker)

    def chosen(self, model: str | None, **more: Any) -> list[tuple[str, float]]:
        return [(name, scale) for name, _, scale, _ in self.meant(model, **more).adapters]

    def listed(self, asker: Asker = MACHINE_USER) -> list[str]:
        return [row["name"] for row in asyncio.run(self.names.rows("nano", asker))]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_name_says_the_model_and_its_adapters(house: House) -> None:
    assert house.chosen("nano") == []
    assert house.chosen("nano+pirate") == [("pirate", 1.0)]
    assert house.chosen("nano+robot@-0.5+pirate") == [("robot", -0.5), ("pirate", 1.0)]
    assert house.chosen("nano+pirate@0") == []
    assert house.meant("nano+pirate").adapters[0][1] == str(house.folder / "pirate.gguf")


def test_a_model_of_exactly_that_name_goes_first(house: House) -> None:
    house.runs("nano+pirate")
    assert house.chosen("nano+pirate") == []
    assert house.meant("nano+pirate").engine.name == "nano+pirate"
    assert house.names.base("a+b", MACHINE_USER) == "a+b"
    assert house.names.base("nano+robot", MACHINE_USER) == "nano"


def test_adapters_that_belong_to_a_model_act_unless_a_request_says_otherwise(house: House) -> None:
    own = house.folder / "robot.gguf"
    house.runs("nano", own)
    assert house.chosen("nano") == [("robot.gguf", 1.0)]
    assert house.chosen("nano+pirate") == [("pirate", 1.0), ("robot.gguf", 1.0)]
    assert house.chosen("nano", lora=()) == []
    assert house.chosen("nano", lora=(AdapterChoice(name="pirate"),)) == [("pirate", 1.0)]


def test_a_user_names_an_adapter_and_never_a_file(house: House) -> None:
    path = str(house.folder / "pirate.gguf")
    lora = (AdapterChoice(name=path),)
    assert house.meant("nano", lora=lora).adapters[0][1] == path
    assert house.meant("nano+pirate", USER).adapters[0][1] == path
    with pytest.raises(BadRequest, match="no adapter is called"):
        house.meant("nano", USER, lora=lora)


def test_a_user_is_told_of_adapters_that_were_used_and_of_no_others(house: House) -> None:
    assert house.listed() == ["pirate", "robot"]
    assert house.listed(USER) == []
    house.meant("nano+robot")
    assert house.listed(USER) == ["robot"]


def test_a_slip_names_near_ones_to_an_admin_alone(house: House) -> None:
    house.listed()
    with pytest.raises(BadRequest, match="near are pirate"):
        house.meant("nano+pirat")
    with pytest.raises(BadRequest) as caught:
        house.meant("nano+pirat", USER)
    assert "near" not in caught.value.message


def test_an_adapter_makes_no_difference_to_tokens_and_none_is_used_for_vectors(
    house: House,
) -> None:
    assert house.names.engine_of("nano+nothing", USER).name == "nano"
    with pytest.raises(Unsupported):
        house.names.plain_engine("nano+pirate", USER)


def test_a_list_and_a_name_are_not_mixed(house: House) -> None:
    with pytest.raises(BadRequest, match="in both") as caught:
        house.meant("nano+pirate", lora=(AdapterChoice(name="robot"),))
    assert caught.value.field == "lora"
