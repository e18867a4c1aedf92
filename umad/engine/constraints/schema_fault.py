"""Finds the place of a fault in a JSON schema, where the compiler only names the fault. Pure."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Flaw = Callable[[Any], str]

# Each look compiles a part of the schema.
MAX_LOOKS = 300
_SHARED = ("$defs", "definitions")
_MAPS = ("properties", "patternProperties", *_SHARED)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")


def fault_path(schema: Any, reason: str, flaw_of: Flaw, *, max_looks: int = MAX_LOOKS) -> str:
    """Dotted path of the smallest part that fails for the same `reason`; "" for the whole."""
    shared = (
        {key: schema[key] for key in _SHARED if key in schema}
        if isinstance(schema, Mapping)
        else {}
    )
    looks = max_looks
    path: list[str] = []
    part = schema
    while True:
        for step, inner in _parts(part):
            looks -= 1
            if looks < 0:
                return ".".join(path)
            alone = {**shared, **inner} if isinstance(inner, Mapping) else inner
            # A shared part is compiled without the shared parts, or its fault would show in every
            # other.
            if step.partition(".")[0] in _SHARED:
                alone = inner
            if flaw_of(alone) == reason:
                path.append(step)
                part = inner
                break
        else:
            return ".".join(path)


def _parts(schema: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(schema, Mapping):
        return
    for key in _MAPS:
        inner = schema.get(key)
        if isinstance(inner, Mapping):
            yield from ((f"{key}.{name}", one) for name, one in inner.items())
    for key in _LISTS:
        inner = schema.get(key)
        if isinstance(inner, list):
            yield from ((f"{key}[{at}]", one) for at, one in enumerate(inner))
    for key in _SINGLE:
        if isinstance(schema.get(key), Mapping):
            yield key, schema[key]
