"""What each accelerator is to hold of nano, beside figures of its file, and models without room."""

from dataclasses import replace
from pathlib import Path

import pytest

from umad import nano
from umad.engine.llamacpp.device_room import (
    LayerPlaces,
    OnDevices,
    cells_with_room,
    check_devices,
    compute_bytes,
    layer_devices,
)
from umad.engine.llamacpp.devices import Device
from umad.errors import ModelTooLarge
from umad.models.files import whole_headers

HEADERS = whole_headers(nano.path())
TENSORS = {one.name: one.size_bytes or 0 for one in HEADERS[0].tensors}
N_LAYERS = 6
KEPT, WORK = 6_000_000, 1_000_000
# As llama.cpp wrote them for nano with three of its seven layers on a device.
LOG = """
load_tensors: layer   0 assigned to device CPU, is_swa = 0
load_tensors: layer   1 assigned to device CPU, is_swa = 0
load_tensors: layer   2 assigned to device CPU, is_swa = 0
load_tensors: layer   3 assigned to device CPU, is_swa = 0
load_tensors: layer   4 assigned to device Vulkan0, is_swa = 0
load_tensors: layer   5 assigned to device Vulkan0, is_swa = 0
load_tensors: layer   6 assigned to device Vulkan0, is_swa = 0
llama_context: Vulkan_Host  output buffer size =     0.06 MiB
sched_reserve:    Vulkan0 compute buffer size =     3.50 MiB
sched_reserve: Vulkan_Host compute buffer size =     1.01 MiB
""".splitlines()


def on(*devices: str, rules: tuple[tuple[str, str | None], ...] = ()) -> OnDevices:
    places = LayerPlaces(headers=HEADERS, devices=devices, rules=rules)
    return OnDevices(places=places, compute={"Vulkan0": WORK}, kept_bytes=KEPT)


def gpu(memory_bytes: int, name: str = "Vulkan0") -> Device:
    return Device(
        name=name, description="Radeon", kind="gpu", backend="Vulkan", memory_bytes=memory_bytes
    )


def layer_bytes(*layers: int) -> int:
    return sum(TENSORS[name] for at in layers for name in TENSORS if name.startswith(f"blk.{at}."))


def output_bytes() -> int:
    of_output = [name for name in TENSORS if name.startswith("output")]
    tied = TENSORS["token_embd.weight"] if "output.weight" not in TENSORS else 0
    return sum(TENSORS[name] for name in of_output) + tied


def test_the_log_says_which_layer_goes_where_and_what_a_step_works_in() -> None:
    assert layer_devices(LOG) == ("CPU",) * 4 + ("Vulkan0",) * 3
    assert compute_bytes(LOG) == {"Vulkan0": 3_670_016, "Vulkan_Host": 1_059_062}


def test_a_device_holds_its_layers_their_share_of_the_cells_and_the_output() -> None:
    (need,) = on(*layer_devices(LOG)).needs()

    assert need.name == "Vulkan0"
    assert need.weights_bytes == layer_bytes(4, 5) + output_bytes()
    assert need.kept_bytes == KEPT // 3
    assert need.compute_bytes == WORK


def test_tensors_that_the_options_place_elsewhere_are_not_on_the_device() -> None:
    every = ("Vulkan0",) * (N_LAYERS + 1)
    (whole,) = on(*every).needs()
    (part,) = on(*every, rules=((r"blk\.[01]\..*", None), ("output_norm", "Vulkan1"))).needs()

    moved = layer_bytes(0, 1) + TENSORS["output_norm.weight"]
    assert whole.weights_bytes - part.weights_bytes == moved


def test_a_model_without_room_on_its_device_is_refused_with_figures_and_layers_that_fit() -> None:
    model = on(*("Vulkan0",) * (N_LAYERS + 1))
    (need,) = model.needs()
    short = gpu(need.total_bytes - 1)

    check_devices(model, [gpu(need.total_bytes)], Path("m.gguf"))
    with pytest.raises(ModelTooLarge) as refused:
        check_devices(model, [short], Path("m.gguf"))

    line = refused.value.message
    assert line.startswith("m.gguf needs 13 MB on Vulkan0 (Radeon): ")
    assert "6 MB for cells and 1 MB to work in; it has" in line
    assert "--gpu-layers 6," in line
    fewer = replace(model, places=model.places.with_layers(6))
    assert fewer.have_room([short])


def test_where_not_even_one_layer_fits_the_processor_is_named() -> None:
    model = on(*("Vulkan0",) * (N_LAYERS + 1))

    assert model.fitting_layers([gpu(WORK - 1)]) == 0


def test_each_of_several_devices_is_held_against_its_own_memory() -> None:
    model = on(*("Vulkan0",) * 3, *("Vulkan1",) * 4)
    first, second = (need.total_bytes for need in model.needs())

    check_devices(model, [gpu(first), gpu(second, "Vulkan1")], Path("m.gguf"))
    with pytest.raises(ModelTooLarge, match=r"on Vulkan1 .*serve with fewer --gpu-layers"):
        check_devices(model, [gpu(10 * first), gpu(second - 1, "Vulkan1")], Path("m.gguf"))


def test_a_device_that_does_not_know_its_memory_refuses_nothing() -> None:
    check_devices(on(*("Vulkan0",) * (N_LAYERS + 1)), [gpu(0)], Path("m.gguf"))


def test_a_pool_that_nobody_chose_is_as_large_as_the_device_has_room_for() -> None:
    n_cells, cell_bytes = 65_536, 3072
    model = replace(on(*("Vulkan0",) * (N_LAYERS + 1)), kept_bytes=n_cells * cell_bytes)
    (need,) = model.needs()
    fixed = need.total_bytes - need.kept_bytes

    def cells(memory_bytes: int) -> int:
        return cells_with_room(
            model, [gpu(memory_bytes)], n_cells=n_cells, cell_bytes=cell_bytes, fewest=4096
        )

    assert cells(need.total_bytes) == n_cells
    assert cells(fixed + 20_000 * cell_bytes) == 19 * 1024
    assert cells(1) == 4096, "which is then refused with figures"
