"""Reads figures of a config.json, which anybody may have written. Pure.

A figure that is missing, of another type or out of range is refused by its name. Not: what the
fields mean (`umad.scale.hf_config`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from umad.errors import BadRequest

# Above every real model's, and small enough that products of them stay sensible.
MOST_LAYERS = 1024
_MOST = 2**31


class Fields:
    """The fields of one model in a config.json. where: how a message names the file."""

    def __init__(self, values: Mapping[str, Any], *, where: str) -> None:
        self._values = values
        self.where = where

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it stands; None where it is missing."""
        return self._values.get(name)

    def whole(self, *names: str, default: int | None = None, least: int = 0) -> int:
        """The first of these figures that is there. Raises `BadRequest` where none is and there is
        no default.
        """
        for name in names:
            value = self._values.get(name)
            if value is None:
                continue
            # A figure for each layer: they are alike wherever an engine takes one of them.
            if isinstance(value, list) and value and all(isinstance(one, int) for one in value):
                value = max(value)
            if isinstance(value, float) and math.isfinite(value) and value.is_integer():
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.wrong(name, "is no whole number")
            if not least <= value <= _MOST:
                raise self.wrong(name, f"is {value}, which is out of range")
            return value
        if default is None:
            raise self.wrong(names[0], "is missing")
        return default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A switch; anything but true and false is its default."""
        value = self._values.get(name)
        return value if isinstance(value, bool) else default

    def text(self, name: str) -> str:
        """A text; "" for anything else."""
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty for anything else."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            return ()
        return tuple(value)

    def wholes(self, name: str) -> tuple[int, ...] | None:
        """A list of whole numbers; None for anything else."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
            return None
        return tuple(value)

    def part(self, name: str) -> "Fields | None":
        """A map within the map."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            return None
        return Fields(value, where=f"{self.where}, {name}")

    def wrong(self, name: str, why: str) -> BadRequest:
        """The error of a field."""
        return BadRequest(f"{self.where}: {name} {why}", field="model")


def per_layer(values: Sequence[str], n_layers: int, fields: Fields, name: str) -> tuple[str, ...]:
    """A list that has one text for each layer. Raises `BadRequest` for another length."""
    if len(values) != n_layers:
        raise fields.wrong(name, f"has {len(values)} entries for {n_layers} layers")
    return tuple(values)
