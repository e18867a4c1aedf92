"""Reads and writes `lora`: the adapters of a request, each a name or a number with a scale."""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.adapters import AdapterChoice, check_adapters
from umad.errors import BadRequest
from umad.protocol.fields import nearest, quoted, read_count, read_model, read_number, wrong

_NAMES = ("name", "id", "scale")


def read_adapters(name: str, value: Any) -> tuple[AdapterChoice, ...]:
    """An array of maps, each with a name or an id, and perhaps a scale; without one it is 1."""
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
    adapter, number, scale = (value.get(key) for key in _NAMES)
    if (adapter is None) == (number is None):
        raise BadRequest(f"{name} needs the name of an adapter, or its id", field=name)
    return AdapterChoice(
        name="" if adapter is None else read_model(f"{name}.name", adapter),
        number=None if number is None else read_count(f"{name}.id", number),
        scale=1.0 if scale is None else float(read_number(f"{name}.scale", scale)),
    )


def write_adapters(adapters: Sequence[AdapterChoice]) -> list[Mapping[str, Any]]:
    """The value of `lora`."""
    return [
        {"name": one.name, "scale": one.scale}
        if one.number is None
        else {"id": one.number, "scale": one.scale}
        for one in adapters
    ]
