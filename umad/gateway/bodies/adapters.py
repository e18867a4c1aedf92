"""Describes `lora`: the LoRA adapters of a request, each a name or llama-server's number."""

from collections.abc import Sequence

from umad.adapters import AdapterChoice
from umad.gateway.bodies.base import Body
from umad.gateway.bodies.values import Number, Whole


class AdapterBody(Body):
    """One adapter. Without a scale it acts as it was trained."""

    id: Whole | None = None
    name: str | None = None
    scale: Number | None = None


def choices(given: Sequence[AdapterBody] | None) -> tuple[AdapterChoice, ...] | None:
    """The adapters of a body; None where it says nothing of any. One with a scale of 0 is none:
    llama-server's clients send every adapter there is.
    """
    if given is None:
        return None
    chosen = [
        AdapterChoice(
            name=one.name or "",
            number=one.id if one.name is None else None,
            scale=1.0 if one.scale is None else float(one.scale),
        )
        for one in given
        if one.scale != 0
    ]
    return tuple(chosen)
