"""Adapters that requests name: read and checked once, kept in memory while they are used."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from tests.engine.served_loop import FakeRunner, Served, arrival
from tests.models.gguf_bytes import gguf
from umad.engine.adapters.adapter_set import AdapterSet
from umad.engine.adapters.invocation import invoked_at
from umad.engine.adapters.reading import AdapterReader
from umad.engine.llamacpp.adapter_calls import AdapterCalls
from umad.engine.llamacpp.adapters import LlamaAdapters
from umad.engine.mail.step_mail import Arrival
from umad.errors import BadRequest, QueueFull, Unsupported
from umad.models.gguf import read_header

WEIGHT = "blk.0.attn_q.weight"
ROOM_BYTES = 2000


def adapter_file(path: Path, mark: bytes = b"", *, width: int = 64, **says: object) -> Path:
    """An adapter of 768 bytes. mark: stands in its last weights, so that its digest is its own."""
    metadata = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        **says,
    }
    tensors = [
        (f"{WEIGHT}.lora_a", (width, 4), 1, 8 * width),
        (f"{WEIGHT}.lora_b", (4, 32), 1, 256),
    ]
    data = gguf(metadata, tensors)
    path.write_bytes(data[: len(data) - len(mark)] + mark)
    return path


@dataclass
class FakeCalls:
    """llama.cpp's side: handles are paths, and what is on the context is remembered."""

    loaded: list[Path] = field(default_factory=list)
    on: list[tuple[Path, float]] = field(default_factory=list)
    refuses: bool = False

    def load(self, path: Path) -> Path:
        if self.refuses:
            raise OSError("it has a bad day")
        self.loaded.append(path)
        return path

    def put_on(self, adapters: Sequence[tuple[Any, float]]) -> None:
        assert all(handle in self.loaded for handle, _ in adapters)
        self.on = list(adapters)

    def free(self, handle: Path) -> None:
        assert handle not in [one for one, _ in self.on], "freed while it is used"
        self.loaded.remove(handle)


@dataclass
class House:
    """A reader and a shelf for one model."""

    folder: Path
    calls: FakeCalls = field(default_factory=FakeCalls)

    def __post_init__(self) -> None:
        path = self.folder / "model.gguf"
        path.write_bytes(gguf({"general.architecture": "llama"}, [(WEIGHT, (64, 32), 0, 8192)]))
        calls = cast("AdapterCalls", self.calls)
        self.shelf = LlamaAdapters(calls, read_header(path), capacity_bytes=ROOM_BYTES)
        self.reader = AdapterReader(self.shelf)

    def file(self, name: str, **more: Any) -> Path:
        return adapter_file(self.folder / f"{name}.gguf", name.encode(), **more)

    def set_of(self, *asked: tuple[str, float]) -> AdapterSet:
        found = self.reader.set_of(
            [(name, str(self.folder / f"{name}.gguf"), scale, "lora") for name, scale in asked]
        )
        assert found is not None
        return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    for name in ("one", "two", "three"):
        house.file(name)
    return house


# -- reading ---------------------------------------------------------------------------------------


def test_the_same_adapters_in_another_order_are_the_same_set(house: House) -> None:
    there = house.set_of(("one", 1.0), ("two", 0.5))
    back = house.set_of(("two", 0.5), ("one", 1.0))
    assert there.key == back.key


def test_another_scale_is_another_set(house: House) -> None:
    keys = {house.set_of(("one", scale)).key for scale in (1.0, 0.5, 0.5000001, -1.0)}
    assert len(keys) == 4


def test_a_copy_of_a_file_is_the_same_adapter_and_a_changed_file_is_another(house: House) -> None:
    before = house.set_of(("one", 1.0)).key
    (house.folder / "copy.gguf").write_bytes((house.folder / "one.gguf").read_bytes())
    copied = house.set_of(("copy", 1.0)).key
    adapter_file(house.folder / "one.gguf", b"trained again")
    assert copied == before
    assert house.set_of(("one", 1.0)).key != before


def test_a_scale_of_0_is_no_adapter(house: House) -> None:
    assert house.reader.set_of([("one", str(house.folder / "one.gguf"), 0.0, "lora")]) is None
    assert house.reader.set_of([]) is None


def test_one_file_under_two_names_is_refused(house: House) -> None:
    (house.folder / "copy.gguf").write_bytes((house.folder / "one.gguf").read_bytes())
    with pytest.raises(BadRequest, match="'one' and 'copy' are the same file"):
        house.set_of(("one", 1.0), ("copy", 1.0))


def test_an_adapter_that_does_not_fit_is_refused_without_its_place(house: House) -> None:
    house.file("wide", width=128)
    with pytest.raises(BadRequest, match=r"'wide' cannot be used: .*other sides") as caught:
        house.set_of(("wide", 1.0))
    assert caught.value.field == "lora"
    assert str(house.folder) not in caught.value.message


def test_a_file_that_is_gone_or_is_none_is_refused_without_its_place(house: House) -> None:
    (house.folder / "text.gguf").write_text("hello, I am no adapter")
    for name, words in (
        ("gone", "cannot be read"),
        ("text", "not a GGUF"),
        ("model", "no adapter"),
    ):
        with pytest.raises(BadRequest, match=words) as caught:
            house.set_of((name, 1.0))
        assert str(house.folder) not in caught.value.message


def test_adapters_that_have_no_room_at_all_are_refused(house: House) -> None:
    with pytest.raises(BadRequest, match="adapter_bytes"):
        house.set_of(("one", 1.0), ("two", 1.0), ("three", 1.0))


def test_a_model_without_adapters_says_so() -> None:
    with pytest.raises(Unsupported, match="without adapters"):
        AdapterReader(None).set_of([("one", "/one.gguf", 1.0, "model")])


# -- invocations -----------------------------------------------------------------------------------


def activated(house: House) -> AdapterSet:
    house.file("checks", **{"adapter.alora.invocation_tokens": [7, 8]})
    return house.set_of(("checks", 1.0))


def prompt(*tokens: int) -> "np.ndarray[Any, np.dtype[np.int32]]":
    return np.array(tokens, dtype=np.int32)


def test_an_activated_adapter_acts_from_the_last_invocation_on(house: House) -> None:
    adapters = activated(house)
    assert invoked_at(adapters, prompt(1, 7, 8, 2, 7, 8, 3)) == 4
    assert invoked_at(adapters, prompt(1, 7, 7, 8)) == 2
    assert invoked_at(adapters, prompt(7, 8)) == 0


def test_an_activated_adapter_that_is_not_invoked_is_refused(house: House) -> None:
    adapters = activated(house)
    for tokens in ((1, 2, 3), (7,), (8, 7)):
        with pytest.raises(BadRequest, match="does not hold what invokes the adapter 'checks'"):
            invoked_at(adapters, prompt(*tokens))


def test_other_adapters_act_on_all_of_a_prompt(house: House) -> None:
    assert invoked_at(house.set_of(("one", 1.0)), prompt(7, 8)) == 0
    assert invoked_at(None, prompt(7, 8)) == 0


def test_an_activated_adapter_is_used_alone(house: House) -> None:
    activated(house)
    with pytest.raises(BadRequest, match="used alone"):
        house.set_of(("one", 1.0), ("checks", 1.0))


# -- memory ----------------------------------------------------------------------------------------


def test_an_adapter_is_read_once_and_stays_for_the_next_request(house: House) -> None:
    adapters = house.set_of(("one", 1.0))
    house.shelf.take(1, adapters)
    house.shelf.take(2, adapters)
    house.shelf.leave(1)
    house.shelf.leave(2)
    house.shelf.take(3, adapters)
    assert house.calls.loaded == [house.folder / "one.gguf"]


def test_a_step_has_the_scales_of_its_set(house: House) -> None:
    adapters = house.set_of(("one", 0.25), ("two", -1.0))
    house.shelf.take(1, adapters)
    house.shelf.apply(adapters.key)
    scales = {path.stem: scale for path, scale in house.calls.on}
    assert scales == {"one": 0.25, "two": -1.0}
    house.shelf.apply("")
    assert house.calls.on == []


def test_the_adapter_used_longest_ago_makes_room_even_if_the_context_has_it_still(
    house: House,
) -> None:
    for rid, name in enumerate(("one", "two"), start=1):
        adapters = house.set_of((name, 1.0))
        house.shelf.take(rid, adapters)
        house.shelf.apply(adapters.key)
        house.shelf.leave(rid)
    one = house.set_of(("one", 1.0))
    house.shelf.take(3, one)
    house.shelf.apply(one.key)
    house.shelf.leave(3)

    house.shelf.take(4, house.set_of(("three", 1.0)))
    house.shelf.take(5, house.set_of(("two", 1.0)))

    assert {path.stem for path in house.calls.loaded} == {"two", "three"}
    assert house.calls.on == []
    assert house.shelf.used_bytes <= ROOM_BYTES


def test_a_set_that_was_freed_meanwhile_is_put_on_again_before_its_next_step(house: House) -> None:
    one = house.set_of(("one", 1.0))
    house.shelf.take(1, one)
    house.shelf.apply(one.key)
    house.shelf.leave(1)
    house.shelf.take(2, house.set_of(("two", 1.0), ("three", 1.0)))
    house.shelf.leave(2)

    house.shelf.take(3, one)

    assert house.shelf.on != one.key, "no step would put it on"
    house.shelf.apply(one.key)
    assert [path.stem for path, _ in house.calls.on] == ["one"]


def test_a_machine_that_is_short_of_memory_gets_back_what_nobody_uses(house: House) -> None:
    for rid, name in enumerate(("one", "two"), start=1):
        house.shelf.take(rid, house.set_of((name, 1.0)))
    house.shelf.leave(1)
    house.shelf.spare()
    assert {path.stem for path in house.calls.loaded} == {"two"}


def test_adapters_of_running_requests_are_never_freed(house: House) -> None:
    for rid, name in enumerate(("one", "two"), start=1):
        house.shelf.take(rid, house.set_of((name, 1.0)))
    with pytest.raises(QueueFull, match="adapter_bytes"):
        house.shelf.take(3, house.set_of(("three", 1.0)))
    assert {path.stem for path in house.calls.loaded} == {"one", "two"}
    house.shelf.leave(3)
    house.shelf.leave(1)
    house.shelf.take(4, house.set_of(("three", 1.0)))
    assert {path.stem for path in house.calls.loaded} == {"two", "three"}


def test_what_llama_cpp_refuses_is_said_and_held_by_nobody(house: House) -> None:
    house.calls.refuses = True
    with pytest.raises(BadRequest, match=r"llama.cpp refuses it \(it has a bad day"):
        house.shelf.take(1, house.set_of(("one", 1.0)))
    assert house.shelf.used_bytes == 0
    house.shelf.leave(1)


def test_a_file_that_is_replaced_between_the_look_and_the_load_is_not_used(house: House) -> None:
    adapters = house.set_of(("one", 1.0))
    other = adapter_file(house.folder / "other.gguf", b"other")
    os.replace(other, house.folder / "one.gguf")
    with pytest.raises(BadRequest, match="ask again"):
        house.shelf.take(1, adapters)
    assert house.calls.loaded == []


# -- the loop --------------------------------------------------------------------------------------


def under(house: House, rid: int, name: str, **more: Any) -> Arrival:
    """A request that asks for an adapter."""
    adapters = house.set_of((name, 1.0))
    plain = arrival(rid, **more)
    admission = replace(plain.admission, adapters=adapters.key)
    return replace(plain, admission=admission, adapters=adapters)


def test_a_request_holds_its_adapters_from_its_arrival_to_its_end(house: House) -> None:
    runner = FakeRunner()
    served = Served(
        runner, under(house, 1, "one"), arrival(2), under(house, 3, "two"), adapters=house.shelf
    )
    keys = {house.set_of((name, 1.0)).key for name in ("one", "two")}

    assert {plan.adapters for plan in runner.plans} == {"", *keys}
    assert [len(served.ids(rid)) for rid in (1, 2, 3)] == [6, 6, 6]
    house.shelf.spare()
    assert house.shelf.used_bytes == 0, "somebody holds adapters though nobody is left"


def test_an_adapter_that_cannot_be_had_refuses_its_request_and_no_other(house: House) -> None:
    waiting = [under(house, rid, name) for rid, name in ((1, "one"), (2, "two"), (3, "three"))]

    served = Served(FakeRunner(), *waiting, adapters=house.shelf)

    (rejected,) = served.rejected(3)
    assert rejected.code == "queue_full"
    assert "adapter_bytes" in rejected.message
    assert [len(served.ids(rid)) for rid in (1, 2)] == [6, 6]
