"""Reads and writes `lora`: the adapters of a request, as a list of {name, scale}."""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.adapters import AdapterChoice, check_adapters
from umad.errors import BadRequest
from umad.protocol.fields import nearest, quoted, read_model, read_number, wrong

_NAMES = ("name", "scale")


def read_adapters(name: str, value: Any) -> tuple[AdapterChoice, ...]:
    """An array of maps, each with a name and perhaps a scale; without one it is 1."""
    if not isinstance(value, list):
        raise wrong(name, "an array", value)
    adapters = tuple(_read_one(f"{name}[{at}]", one) for at, one in enumerate(value))
    check_adapters(adapters, field=name)
    return adapters


def _read_one(name: str, value: Any) -> AdapterChoice:
    if not isinstance(value, dict):
        raise wrong(name, "a map of name and scale", value)
    for key in value:
        if key not in _NAMES:
            raise BadRequest(f"{name} has no field {quoted(key)}{nearest(key, _NAMES)}", field=name)
    if value.get("name") is None:
        raise BadRequest(f"{name} needs the name of an adapter", field=name)
    adapter = read_model(f"{name}.name", value["name"])
    scale = value.get("scale")
    if scale is None:
        return AdapterChoice(name=adapter)
    return AdapterChoice(name=adapter, scale=float(read_number(f"{name}.scale", scale)))


def write_adapters(adapters: Sequence[AdapterChoice]) -> list[Mapping[str, Any]]:
    """The value of `lora`."""
    return [{"name": one.name, "scale": one.scale} for one in adapters]
