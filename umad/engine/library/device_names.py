"""Reads the option `device`: the names of the accelerators that compute. Pure.

llama-server has the same names and the same word for none of them. Not: the devices that there are
(`umad.engine.llamacpp.devices`).
"""

from collections.abc import Iterable

# The processor alone.
NONE = "none"


def named_devices(text: str) -> list[str]:
    """The names, as they were written."""
    return [] if text.strip().lower() == NONE else [one.strip() for one in text.split(",")]


def strange_name(known: Iterable[str], text: str | None) -> str:
    """The first name that is none of `known`, in any letters; "" where all are known, and where the
    option is not set.
    """
    lowered = {one.lower() for one in known}
    named = [] if text is None else named_devices(text)
    return next((one for one in named if one.lower() not in lowered), "")
