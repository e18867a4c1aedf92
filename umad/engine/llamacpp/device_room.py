"""Reckons what each accelerator is to hold of a model, and refuses one that has no room there.

A model may have room in the machine's memory and its devices' together, and not on the device that
its layers go to. llama.cpp says which layer goes where when the header is opened, and what a step
works in on each device when a context is tried. What a layer weighs is in the header, and its cells
are taken for a layer's share of all.

Not: whether all of it has room in all memories together (`memory_check`). Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from umad.engine.llamacpp.devices import Device
from umad.engine.llamacpp.memory_check import mb
from umad.errors import ModelTooLarge
from umad.models.gguf import GgufHeader
from umad.models.sizes import layer_of, lies_with_input, tied_output_bytes

_MIB = 2**20
# llama-model.cpp: the number after the last layer's is the output's.
_ASSIGNED = re.compile(r"layer +\d+ assigned to device (.+), is_swa")
# llama-context.cpp: one line for each kind of memory that a step works in.
_COMPUTE = re.compile(r"(\S+) +compute buffer size = +([\d.]+) MiB")
_CPU = "CPU"
# Cells of a pool that nobody chose are left out in such steps.
_STEP_CELLS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNeed:
    """What one accelerator is to hold."""

    # As ggml names the device.
    name: str
    weights_bytes: int
    # Cells, windows and states.
    kept_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kept_bytes + self.compute_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlaces:
    """Where llama.cpp puts a model's layers."""

    headers: tuple[GgufHeader, ...]
    # The device of each layer, by its name, and at last the output's.
    devices: tuple[str, ...]
    # Places of single tensors, as `Placement.rules` has them.
    rules: tuple[tuple[str, str | None], ...] = ()

    @property
    def accelerators(self) -> tuple[str, ...]:
        """The devices besides the processor that get layers."""
        return tuple(dict.fromkeys(name for name in self.devices if name != _CPU))

    def with_layers(self, n_layers: int) -> "LayerPlaces":
        """The same with the last `n_layers` on the one accelerator, as `gpu_layers` has it."""
        (name,) = self.accelerators
        on_cpu = (_CPU,) * (len(self.devices) - n_layers)
        return LayerPlaces(
            headers=self.headers, devices=(*on_cpu, *(name,) * n_layers), rules=self.rules
        )

    def kept_share(self, name: str) -> float:
        """The share of all cells that a device has. The output has none."""
        layers = self.devices[:-1]
        return layers.count(name) / len(layers) if layers else 0.0

    def weights_bytes(self, name: str) -> int:
        """The bytes of the weights that lie on a device."""
        sizes = [
            one.size_bytes or 0
            for header in self.headers
            for one in header.tensors
            if self._place(one.name) == name
        ]
        output_bytes = tied_output_bytes(self.headers) if self.devices[-1:] == (name,) else 0
        return sum(sizes) + output_bytes

    def _place(self, tensor: str) -> str:
        for pattern, buffers in self.rules:
            if re.search(pattern, tensor):
                return buffers or _CPU
        layer = layer_of(tensor)
        if layer is not None:
            return self.devices[layer] if layer < len(self.devices) else _CPU
        return _CPU if lies_with_input(tensor) or not self.devices else self.devices[-1]


def layer_devices(lines: Iterable[str]) -> tuple[str, ...]:
    """The device of each layer and of the output, from these lines of llama.cpp's log."""
    return tuple(found[1] for line in lines if (found := _ASSIGNED.search(line)))


def compute_bytes(lines: Iterable[str]) -> dict[str, int]:
    """What a step works in, by the device that has it, from these lines of llama.cpp's log."""
    found = (_COMPUTE.search(line) for line in lines)
    return {one[1]: round(float(one[2]) * _MIB) for one in found if one}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevices:
    """What a model takes, as far as it matters which device has it."""

    places: LayerPlaces
    # What a step works in, by the device that has it.
    compute: Mapping[str, int]
    # Of all cells, windows and states.
    kept_bytes: int

    def needs(self) -> tuple[DeviceNeed, ...]:
        """What each accelerator is to hold."""
        return tuple(
            DeviceNeed(
                name=name,
                weights_bytes=self.places.weights_bytes(name),
                kept_bytes=round(self.places.kept_share(name) * self.kept_bytes),
                compute_bytes=self.compute.get(name, 0),
            )
            for name in self.places.accelerators
        )

    def have_room(self, devices: Iterable[Device]) -> bool:
        """Whether each device has the memory that it needs."""
        return not _lacking(self, devices)

    def fitting_layers(self, devices: Sequence[Device]) -> int | None:
        """The most layers for which there is room; 0 for none. None where the layers go to several
        devices, which llama.cpp shares them out to."""
        if len(self.places.accelerators) != 1:
            return None
        for n_layers in range(len(self.places.devices), 0, -1):
            if replace(self, places=self.places.with_layers(n_layers)).have_room(devices):
                return n_layers
        return 0


def cells_with_room(
    on_devices: OnDevices,
    devices: Sequence[Device],
    *,
    n_cells: int,
    cell_bytes: int,
    fewest: int,
) -> int:
    """The most cells, up to `n_cells`, for which each device has room; `fewest` where it is fewer.

    on_devices: with `n_cells`, each of `cell_bytes`.
    """

    def has_room(less: int) -> bool:
        kept_bytes = max(0, on_devices.kept_bytes - less * cell_bytes)
        return replace(on_devices, kept_bytes=kept_bytes).have_room(devices)

    if n_cells <= fewest or has_room(0):
        return n_cells
    low, high = 0, -(-(n_cells - fewest) // _STEP_CELLS)
    while low < high:
        middle = (low + high) // 2
        if has_room(middle * _STEP_CELLS):
            high = middle
        else:
            low = middle + 1
    return max(fewest, n_cells - low * _STEP_CELLS)


def check_devices(on_devices: OnDevices, devices: Sequence[Device], path: Path) -> None:
    """Raise `ModelTooLarge`, with figures, where a device has less memory than it needs."""
    for need, device in _lacking(on_devices, devices):
        n_layers = on_devices.fitting_layers(devices)
        fewer = "fewer --gpu-layers" if n_layers is None else f"--gpu-layers {n_layers}"
        raise ModelTooLarge(
            f"{path} needs {mb(need.total_bytes)} on {device.name} ({device.description}): "
            f"{mb(need.weights_bytes)} for weights, {mb(need.kept_bytes)} for cells and "
            f"{mb(need.compute_bytes)} to work in; it has {mb(device.memory_bytes)}: serve with "
            f"{fewer}, or with a smaller --ctx-size or --kv-type q8"
        )


def _lacking(
    on_devices: OnDevices, devices: Iterable[Device]
) -> tuple[tuple[DeviceNeed, Device], ...]:
    needs = {need.name: need for need in on_devices.needs()}
    # A device that does not know its memory says 0.
    return tuple(
        (needs[device.name], device)
        for device in devices
        if device.name in needs and 0 < device.memory_bytes < needs[device.name].total_bytes
    )
