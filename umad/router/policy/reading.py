"""Checks what a node says of itself, and makes a Reading of it. Pure.

A scorecard comes from another machine: it may be of another version, broken or a lie. Each figure
has a type and a range here; a figure outside of them is refused, and its name is told. An absent
figure and `None` mean that nothing was measured. A node that says wrong things within the ranges is
found out by what the router itself sees (`Fleet.witnessed`).
Not: headroom (`umad.router.policy.headroom`), nor when it was said: only the router's own clock
counts, so a node's clock may be wrong.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from umad.errors import BadRequest
from umad.request import BACKGROUND
from umad.router.policy.settings import MOST_MODELS_OF_NODE

# Ranges that no real figure leaves: a request a nanosecond, or a day for a token.
_MOST_COUNT = 10**9
_MOST_MS = 86_400_000.0
_MOST_RATIO = 1e6
_MOST_GBPS = 1e6
_MOST_NAME_CHARS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A node at one moment. None: nothing was measured."""

    latency_cap: float = 1.2
    # The 95th percentile of the waits of interactive readers, each against its own solo; the solo
    # itself; and the share of waits beyond the cap, of a hundred.
    p95_over_solo: float | None = None
    solo_ms: float | None = None
    over_cap_pct: float | None = None
    bmt_gbps: float | None = None
    bmt_budget_gbps: float | None = None
    # Of all computed rows, those of background work.
    background_share: float = 0.0
    # Requests that wait, without those of the background lane; and those that run.
    waiting: int = 0
    running: int = 0
    # Of all KV cells, those of requests that run. Cells that are only kept give way, so they are
    # room.
    kv_used: float = 0.0
    # Models that are loaded; and of those that somebody reads, the median wait for a token.
    loaded: frozenset[str] = frozenset()
    token_ms_of: Mapping[str, float] = field(default_factory=dict)
    # Models that a request would load, and the memory that each takes.
    loadable: Mapping[str, int] = field(default_factory=dict)
    # None where it is not known: then every model that can be loaded is thought to fit.
    memory_free_bytes: int | None = None


def reading_of_scorecard(
    scorecard: Mapping[str, Any],
    *,
    loadable: Mapping[str, Any] | None = None,
    memory_free_bytes: object = None,
) -> Reading:
    """Read the object that `umad metrics --json` prints.

    loadable: the models of the node that are not loaded, with the bytes that each needs.
    Raises BadRequest with the name of the figure that is wrong.
    """
    models = _mapping(scorecard, "models")
    depths = _mapping(scorecard, "queue_depth")
    waiting = sum(
        _count(depths, lane, f"queue_depth.{_name(lane, 'queue_depth')}")
        for lane in depths
        if lane != BACKGROUND
    )
    total = _count(scorecard, "kv_cells_total")
    used = _count(scorecard, "kv_cells_used")
    if used > total:
        raise BadRequest(f"kv_cells_used is {used} of {total} cells", field="kv_cells_used")
    cap = _number(scorecard, "latency_cap", least=1.0, most=_MOST_RATIO)
    share = _number(scorecard, "background_share", most=1.0)
    free = {"memory_free_bytes": memory_free_bytes}
    return Reading(
        latency_cap=1.2 if cap is None else cap,
        p95_over_solo=_number(scorecard, "p95_over_solo", most=_MOST_RATIO),
        solo_ms=_number(scorecard, "solo_ms", most=_MOST_MS),
        over_cap_pct=_number(scorecard, "over_cap_pct", most=100.0),
        bmt_gbps=_number(scorecard, "bmt_gbps", most=_MOST_GBPS),
        bmt_budget_gbps=_number(scorecard, "bmt_budget_gbps", most=_MOST_GBPS),
        background_share=share or 0.0,
        waiting=min(waiting, _MOST_COUNT),
        running=_count(scorecard, "running"),
        kv_used=used / total if total else 0.0,
        loaded=frozenset(_names(models, "models")),
        token_ms_of=_token_times(models),
        loadable={
            name: _count(loadable or {}, name, f"loadable.{name}", most=1 << 62)
            for name in _names(loadable or {}, "loadable")
        },
        memory_free_bytes=(
            None if memory_free_bytes is None else _count(free, "memory_free_bytes", most=1 << 62)
        ),
    )


def _token_times(models: Mapping[Any, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in models:
        token_ms = _number(_mapping(models, name, f"models.{name}"), "p50_ms", most=_MOST_MS)
        if token_ms:
            found[name] = token_ms
    return found


def _mapping(said: Mapping[Any, Any], name: str, where: str | None = None) -> Mapping[Any, Any]:
    value = said.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        where = where or name
        raise BadRequest(f"{where} is not an object", field=where)
    return value


def _names(said: Mapping[Any, Any], name: str) -> list[str]:
    if len(said) > MOST_MODELS_OF_NODE:
        raise BadRequest(f"{name} lists more than {MOST_MODELS_OF_NODE} models", field=name)
    return [_name(one, name) for one in said]


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_NAME_CHARS:
        raise BadRequest(
            f"{where} has a name that is not a text of 1 to {_MOST_NAME_CHARS} characters",
            field=where,
        )
    return value


def _number(said: Mapping[str, Any], name: str, *, least: float = 0.0, most: float) -> float | None:
    value = said.get(name)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not least <= value <= most
    ):
        raise BadRequest(f"{name} is not a number from {least:g} to {most:g}", field=name)
    return float(value)


def _count(
    said: Mapping[Any, Any], name: str, where: str | None = None, *, most: int = _MOST_COUNT
) -> int:
    value = said.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        where = where or name
        raise BadRequest(f"{where} is not a whole number from 0 to {most}", field=where)
    return value
