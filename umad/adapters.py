"""Describes the LoRA adapters that a request asks for: `base+adapter@scale`, or a list with scales.

An adapter changes a model's answers without changing the model. A name of several parts means the
model with all of these adapters at once: `nano+pirate`, `nano+pirate@0.5+formal`. The adapters of
one request together are its *set*. The order does not matter, and an adapter of scale 0 is none.
Not: which file an adapter is (`umad.daemon.adapters`), nor what is in it (`umad.models.adapters`).
Values only. Pure.
"""

import math
from dataclasses import dataclass

from umad.errors import BadRequest

# llama.cpp computes two more products for every weight of every adapter, and nobody mixes more.
MOST_ADAPTERS = 8
# A scale multiplies what the adapter was trained to do. Beyond this the answers are noise, and the
# sums leave the range of half precision.
MOST_SCALE = 100.0
_BETWEEN = "+"
_SCALE = "@"
_QUOTED_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterChoice:
    """One adapter that a request asks for, by its name or by its number."""

    name: str = ""
    # As the daemon lists it (`adapters`); None where it is named.
    number: int | None = None
    # Multiplies what the adapter does; 1 is as it was trained, 0 is without it.
    scale: float = 1.0

    @property
    def said(self) -> str:
        """The adapter as a request wrote it, for errors."""
        return repr(self.name[:_QUOTED_CHARS]) if self.number is None else f"number {self.number}"


def split_name(model: str) -> tuple[str, tuple[AdapterChoice, ...]]:
    """The name of the model in `base+adapter@scale`, and its adapters; none in a plain name.

    Raises `BadRequest` for a part that is empty, or a scale that is out of range.
    """
    base, *parts = model.split(_BETWEEN)
    if not parts:
        return model, ()
    if not base or not all(parts):
        raise BadRequest(
            f"{model[:_QUOTED_CHARS]!r} names no model; it is written base+adapter, or "
            "base+adapter@scale",
            field="model",
        )
    chosen = tuple(_choice(part) for part in parts)
    check_adapters(chosen, field="model")
    return base, chosen


def written(name: str, scale: float) -> str:
    """An adapter as it stands behind the `+` of a model's name."""
    return name if scale == 1 else f"{name}{_SCALE}{scale:g}"


def parted(model: str) -> tuple[str, str]:
    """The name of the model in `base+adapter`, and the rest of the text with its `+`, as it is
    written. Nothing is checked.
    """
    base, plus, rest = model.partition(_BETWEEN)
    return (base, plus + rest) if base and rest else (model, "")


def check_adapters(adapters: tuple[AdapterChoice, ...], *, field: str) -> None:
    """Raise `BadRequest` for too many adapters, one named twice, or a scale out of range."""
    if len(adapters) > MOST_ADAPTERS:
        raise BadRequest(
            f"{field}: {len(adapters)} adapters are asked for, at most {MOST_ADAPTERS} may be",
            field=field,
        )
    seen: set[str] = set()
    for one in adapters:
        if bool(one.name) == (one.number is not None):
            raise BadRequest(f"{field}: an adapter has a name or a number (id)", field=field)
        said = one.said
        if said in seen:
            raise BadRequest(f"{field}: the adapter {said} is named twice", field=field)
        seen.add(said)
        if not math.isfinite(one.scale) or abs(one.scale) > MOST_SCALE:
            raise BadRequest(
                f"{field}: the scale of {said} must be a number from "
                f"-{MOST_SCALE:g} to {MOST_SCALE:g}",
                field=field,
            )


def _choice(part: str) -> AdapterChoice:
    """The adapter of one part of a name. What stands behind the last `@` is its scale if it is a
    number: names of models may have an `@` of their own (`pirate@lm-studio`).
    """
    name, _, scale = part.rpartition(_SCALE)
    if name:
        try:
            return AdapterChoice(name=name, scale=float(scale))
        except ValueError:
            pass
    return AdapterChoice(name=part)
