"""Adds up what the nodes of a team say of themselves: one scorecard, models, requests. Pure.

For `umad top --router`, for Prometheus, and for the gateway in front of the team.

    counts, rates and sums      added up
    waits                       the longest of any node: one cannot make quantiles of quantiles
    shares                      the mean over nodes, by the tokens that each has made
    nodes                       each node's own figures, by its name

What a node says is its own affair until it is added up: only numbers are taken, and so many names.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

# As a node itself counts further names together.
MOST_NAMES: Final = 1024
OTHERS: Final = "(others)"
MOST_REQUESTS: Final = 1000
_MOST_MODELS: Final = 1024
# A figure beyond it is none. No sum of figures within it leaves what a float can hold.
_MOST: Final = 1e18
_ADDED: Final = (
    *("requests", "running", "failed", "tokens", "tokens_per_s", "tokens_per_s_at_cap"),
    *("bmt_gbps", "bmt_budget_gbps", "kv_cells_used", "kv_cells_retained", "kv_cells_total"),
    *("parked", "preemptions", "cuts", "restarts", "gaps_over_cap", "rss_gb", "pss_gb"),
    *("texts_embedded", "texts_cached", "models_suspended", "memory_freed_gb"),
    *("media_encoded", "media_reused"),
    *("queued", "memory_headroom_gb"),
)
_COUNTS: Final = (
    *("requests", "running", "failed", "queued", "parked", "preemptions", "cuts", "restarts"),
    *("kv_cells_used", "kv_cells_retained", "kv_cells_total", "gaps_over_cap"),
    *("texts_embedded", "texts_cached", "models_suspended", "media_encoded", "media_reused"),
)
_LONGEST: Final = (
    *("p50_ms", "p95_ms", "p99_ms", "max_ms", "solo_ms", "ttft_p50_ms", "ttft_p95_ms"),
    *("p95_over_solo", "p99_over_solo", "max_over_solo", "over_cap_pct", "over_cap_alone_pct"),
    *("latency_cap", "encode_ms", "cut_ms"),
)
_MEAN: Final = (
    *("sum_bmt_mb_per_token", "scheduler_efficiency", "gpu_idle_pct", "cores_lost_pct"),
    *("copy_free_ratio", "prefix_hit_ratio", "background_share", "accepted_per_step"),
    *("residency_churn_mb_per_token", "speculation_gain", "copies_per_row"),
)
_OF_NODE: Final = (*_ADDED, *_LONGEST, *_MEAN, "kv_utilization")


def team_card(cards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One scorecard of all nodes that have one, by their names."""
    rows = list(cards.values())
    card = _section(rows)
    models = {
        name: _section(of) for name, of in _by_name(row.get("models") for row in rows).items()
    }
    for name, section in models.items():
        section["model"] = name
    card["models"], card["model"] = models, ", ".join(models)
    card["window_s"] = max((_number(row, "window_s") or 0.0 for row in rows), default=0.0) or 30.0
    card["nodes"] = {
        name: {field: value for field in _OF_NODE if (value := _number(row, field)) is not None}
        for name, row in cards.items()
    }
    return card


def team_models(rows: Mapping[str, object]) -> list[dict[str, Any]]:
    """The models of all nodes, each once, with the names of the nodes that have it. Of several
    rows the one of a loaded model counts.
    """
    found: dict[str, dict[str, Any]] = {}
    for node, listed in rows.items():
        for row in _maps(listed)[:_MOST_MODELS]:
            name = row.get("name")
            if not isinstance(name, str) or len(found) >= _MOST_MODELS:
                continue
            known = found.get(name)
            nodes = [*(known["nodes"] if known is not None else ()), node]
            if known is None or (known.get("state") != "ready" and row.get("state") == "ready"):
                found[name] = {**row, "nodes": nodes}
            else:
                known["nodes"] = nodes
    return list(found.values())


def team_requests(rows: Mapping[str, object]) -> list[dict[str, Any]]:
    """The live requests of all nodes, each with its node. A request's id is its node's own."""
    found = [
        {**row, "node": node, "request": f"{node}/{row.get('request')}"}
        for node, listed in rows.items()
        for row in _maps(listed)
    ]
    return found[:MOST_REQUESTS]


def _section(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all models, or of one."""
    card = _added_up(rows)
    card["queue_depth"] = _sums(row.get("queue_depth") for row in rows)
    total = card["kv_cells_total"]
    card["kv_utilization"] = round(card["kv_cells_used"] / total, 4) if total else 0.0
    held = [row.get("guard_held") for row in rows]
    card["guard_held"] = False if False in held else (True if True in held else None)
    card["slowed_by"] = _sums(row.get("slowed_by") for row in rows)
    card["longest_gaps_ms"] = []
    for part in ("lanes", "apps"):
        named = _by_name(row.get(part) for row in rows)
        card[part] = {name: _added_up(of) for name, of in named.items()}
    return card


def _added_up(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field in _ADDED:
        values = [value for row in rows if (value := _number(row, field)) is not None]
        made[field] = _short(sum(values)) if values else None
    for field in _LONGEST:
        values = [value for row in rows if (value := _number(row, field)) is not None]
        made[field] = max(values, default=None)
    for field in _MEAN:
        pairs = [
            (value, 1.0 + max(0.0, _number(row, "tokens_per_s") or 0.0))
            for row in rows
            if (value := _number(row, field)) is not None
        ]
        weight = sum(one for _, one in pairs)
        made[field] = _short(sum(value * one for value, one in pairs) / weight) if pairs else None
    # None means that it is not known; a count that nobody has told is none.
    return made | {field: 0 for field in _COUNTS if made[field] is None}


def _by_name(parts: Iterable[object]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of lanes, apps or models of one name, over all nodes."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        for name, row in part.items():
            if isinstance(name, str) and isinstance(row, Mapping):
                known = name in by_name or len(by_name) < MOST_NAMES - 1
                by_name.setdefault(name if known else OTHERS, []).append(row)
    return by_name


def _sums(maps: Iterable[object]) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in maps:
        if not isinstance(one, Mapping):
            continue
        for name in one:
            value = _number(one, name)
            if isinstance(name, str) and value is not None:
                known = name in found or len(found) < MOST_NAMES - 1
                under = name if known else OTHERS
                found[under] = found.get(under, 0) + value
    return found


def _maps(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _number(row: Mapping[str, Any], field: str) -> float | None:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared, because an integer of JSON may be too large for a float.
    return value if -_MOST <= value <= _MOST else None


def _short(value: float) -> float:
    return round(value, 4) if isinstance(value, float) else value
