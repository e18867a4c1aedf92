"""Turns rows of a window into the scorecard's fields. Pure numpy; runs at a snapshot only.

How each field is computed:
    quantiles        nearest rank: p99 of ten samples is the largest, never something in between
    solo_ms          95th percentile, over the same tokens, of what their step would have cost
                     alone: p95_ms is held against like, also when the number of streams changes
    *_over_solo      p95_ms, p99_ms and max_ms as multiples of solo_ms
    guard_held       p95 within the cap (an app's own, if it has one), p99 within 2 and the longest
                     gap within 3 times solo_ms; None without a sample of interactive work
    tokens_per_s_at_cap  tokens_per_s, or 0 while p95_ms > latency_cap * solo_ms
    ttft_*           interactive requests whose first token came in the window
    sum_bmt_mb_per_token bytes moved / tokens computed (decoded and prefilled), 10^6 bytes
    scheduler_efficiency device time of steps that were not cut / wall time while work was pending
    gpu_idle_pct     100 * (1 - device time, cut steps too / the same wall time)
    background_share background rows / all rows computed
    requests         completions that were alive at some time in the window
    restarts         since the daemon began; all else is of the window, or of now
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umad.metrics.memory import MemoryFacts

# What the guard keeps to beside the cap, in multiples of solo.
MOST_P99 = 2.0
MOST_GAP = 3.0

ARRIVAL = np.dtype(
    [
        ("at_ns", np.int64),
        ("n", np.int32),
        ("gap_ms", np.float64),
        ("ttft_ms", np.float64),
        ("solo_ms", np.float64),
        ("model", np.int32),
        ("lane", np.int32),
        ("app", np.int32),
    ]
)
STEP = np.dtype(
    [
        ("at_ns", np.int64),
        ("device_ms", np.float64),
        ("useful_ms", np.float64),
        ("bytes", np.int64),
        ("rows", np.int32),
        ("background_rows", np.int32),
        ("sampled", np.int64),
        ("copied", np.int64),
        ("prompt", np.int64),
        ("cached", np.int64),
        ("cuts", np.int64),
        ("preemptions", np.int64),
        ("model", np.int32),
    ]
)
ENDING = np.dtype(
    [
        ("at_ns", np.int64),
        ("failed", np.bool_),
        ("model", np.int32),
        ("lane", np.int32),
        ("app", np.int32),
    ]
)
# Names come from clients: past this many, newcomers are counted together.
MAX_NAMES = 1024
OTHERS = "(others)"

Rows = NDArray[Any]


class Names:
    """Small numbers for names, in order of appearance."""

    __slots__ = ("_numbers", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The name's number; the same one for ever."""
        found = self._numbers.get(name)
        if found is not None:
            return found
        if len(self.names) >= MAX_NAMES and name != OTHERS:
            return self.number(OTHERS)
        self._numbers[name] = len(self.names)
        self.names.append(name)
        return len(self.names) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What the figures are held against. app_caps: by number, of apps that have their own."""

    latency_cap: float
    app_caps: dict[int, float] = field(default_factory=dict)
    budget_gbps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Rows of one model, lane or app. live: requests of now, as rows of ENDING."""

    arrivals: Rows
    steps: Rows
    endings: Rows
    live: Rows
    interactive: int

    def of(self, column: str, number: int) -> "Slice":
        """The rows whose `column` is `number`; steps belong to models, not to lanes or apps."""

        def rows(all_rows: Rows) -> Rows:
            mine = all_rows[column] == number
            return all_rows if mine.all() else all_rows[mine]  # one model is the common case

        return replace(
            self,
            arrivals=rows(self.arrivals),
            steps=rows(self.steps) if column == "model" else self.steps,
            endings=rows(self.endings),
            live=rows(self.live),
        )

    def numbers(self, column: str) -> list[int]:
        """Which lanes or apps occur."""
        seen = [part[column] for part in (self.arrivals, self.endings, self.live)]
        return [int(one) for one in np.unique(np.concatenate(seen))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """What is a state and not a sum over the window."""

    pending_ns: int
    rss_bytes: int | None = None
    pss_bytes: int | None = None
    faulted_bytes: int | None = None
    faulted_over_tokens: int = 0
    restarts: int = 0
    cells_used: int = 0
    cells_retained: int = 0
    cells_total: int = 0
    parked: int = 0
    waiting: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def total(
        models: "Sequence[Latest]", others: Sequence[MemoryFacts], *, pending_ns: int
    ) -> "Latest":
        """All models together, with processes that serve no one model."""
        waiting: dict[str, int] = {}
        for one in models:
            for lane, n in one.waiting.items():
                waiting[lane] = waiting.get(lane, 0) + n
        return Latest(
            pending_ns=pending_ns,
            rss_bytes=_sum_known([m.rss_bytes for m in models] + [o.rss_bytes for o in others]),
            pss_bytes=_sum_known([m.pss_bytes for m in models] + [o.pss_bytes for o in others]),
            faulted_bytes=_sum_known([one.faulted_bytes for one in models]),
            faulted_over_tokens=sum(one.faulted_over_tokens for one in models),
            restarts=sum(one.restarts for one in models),
            cells_used=sum(one.cells_used for one in models),
            cells_retained=sum(one.cells_retained for one in models),
            cells_total=sum(one.cells_total for one in models),
            parked=sum(one.parked for one in models),
            waiting=waiting,
        )


def summarize(
    part: Slice,
    latest: Latest,
    caps: Caps,
    *,
    elapsed_s: float,
    lanes: Sequence[str],
    apps: Sequence[str],
) -> dict[str, Any]:
    """The scorecard's fields of a model, or of all."""
    felt = _felt(part.of("lane", part.interactive))
    tokens_per_s = int(part.arrivals["n"].sum()) / elapsed_s
    guard = _guard(felt, caps.latency_cap)
    p95 = guard["p95_over_solo"]
    over = p95 is not None and p95 > caps.latency_cap
    steps = part.steps
    rows = int(steps["rows"].sum())
    sampled, prompt = int(steps["sampled"].sum()), int(steps["prompt"].sum())
    moved = int(steps["bytes"].sum())
    pending_ms = latest.pending_ns / 1e6
    busy, useful = float(steps["device_ms"].sum()), float(steps["useful_ms"].sum())
    by_lane = {
        lanes[n]: _shared(part.of("lane", n), caps.latency_cap, elapsed_s)
        for n in part.numbers("lane")
    }
    by_app = {
        apps[n]: _shared(part.of("app", n), caps.app_caps.get(n, caps.latency_cap), elapsed_s)
        for n in part.numbers("app")
    }
    queue_depth = dict.fromkeys(by_lane, 0) | latest.waiting
    return {
        "tokens_per_s_at_cap": 0.0 if over else _rounded(tokens_per_s),
        "tokens_per_s": _rounded(tokens_per_s),
        "latency_cap": caps.latency_cap,
        **felt,
        **guard,
        "sum_bmt_mb_per_token": _ratio(moved / 1e6, rows),
        "bmt_gbps": _rounded(moved / 1e9 / elapsed_s),
        "bmt_budget_gbps": caps.budget_gbps,
        # Engines of two models overlap, so the sum of their steps may pass the wall's time.
        "scheduler_efficiency": _ratio(min(useful, pending_ms), pending_ms),
        "gpu_idle_pct": _ratio(100 * max(0.0, pending_ms - busy), pending_ms),
        "copy_free_ratio": _ratio(sampled - int(steps["copied"].sum()), sampled),
        "residency_churn_mb_per_token": (
            None
            if latest.faulted_bytes is None
            else _ratio(latest.faulted_bytes / 1e6, latest.faulted_over_tokens)
        ),
        "rss_gb": _gigabytes(latest.rss_bytes),
        "pss_gb": _gigabytes(latest.pss_bytes),
        "kv_cells_used": latest.cells_used,
        "kv_cells_retained": latest.cells_retained,
        "kv_cells_total": latest.cells_total,
        "prefix_hit_ratio": _ratio(int(steps["cached"].sum()), prompt),
        "parked": latest.parked,
        "queue_depth": queue_depth,
        "preemptions": int(steps["preemptions"].sum()),
        "cuts": int(steps["cuts"].sum()),
        "restarts": latest.restarts,
        "background_share": _ratio(int(steps["background_rows"].sum()), rows),
        "requests": part.live.size + part.endings.size,
        "running": part.live.size,
        "failed": int(part.endings["failed"].sum()),
        "lanes": by_lane,
        "apps": by_app,
    }


def _felt(part: Slice) -> dict[str, float | None]:
    """What the readers of these tokens felt."""
    gaps, ttft, solo = (part.arrivals[name] for name in ("gap_ms", "ttft_ms", "solo_ms"))
    waited = ~np.isnan(gaps)
    p50, p95, p99, longest = quantiles(gaps[waited], 0.5, 0.95, 0.99, 1.0)
    (solo_p95,) = quantiles(solo[waited], 0.95)
    ttft_p50, ttft_p95 = quantiles(ttft, 0.5, 0.95)
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": longest,
        "solo_ms": solo_p95,
        "ttft_p50_ms": ttft_p50,
        "ttft_p95_ms": ttft_p95,
    }


def _guard(felt: Mapping[str, float | None], cap: float) -> dict[str, Any]:
    """How far what was felt is from what the work would cost alone, and whether that is kept."""
    solo = felt["solo_ms"]
    ratios = [
        None if felt[name] is None or solo is None else _ratio(felt[name] or 0.0, solo)
        for name in ("p95_ms", "p99_ms", "max_ms")
    ]
    bounds = zip(ratios, (cap, MOST_P99, MOST_GAP), strict=True)
    return {
        "p95_over_solo": ratios[0],
        "p99_over_solo": ratios[1],
        "max_over_solo": ratios[2],
        "guard_held": None
        if None in ratios
        else all(ratio is not None and ratio <= bound for ratio, bound in bounds),
    }


def _shared(part: Slice, cap: float, elapsed_s: float) -> dict[str, Any]:
    """The fields of one lane or one app."""
    felt = _felt(part)
    tokens = int(part.arrivals["n"].sum())
    return {
        "requests": part.live.size + part.endings.size,
        "running": part.live.size,
        "failed": int(part.endings["failed"].sum()),
        "tokens": tokens,
        "tokens_per_s": _rounded(tokens / elapsed_s),
        **felt,
        "latency_cap": cap,
        **_guard(felt, cap),
    }


def quantiles(values: Rows, *ranks: float) -> list[float | None]:
    """Nearest rank, of the values that are known; None where none is."""
    known = np.sort(values[~np.isnan(values)])
    if not known.size:
        return [None] * len(ranks)
    # The small subtraction keeps 0.95 * 20, which is 19.000000000000004, at rank 19.
    return [_rounded(float(known[max(0, math.ceil(q * known.size - 1e-9) - 1)])) for q in ranks]


def _ratio(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _gigabytes(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else _rounded(size_bytes / 1e9)


def _sum_known(values: Sequence[int | None]) -> int | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None


def _rounded(value: float) -> float:
    return round(value, 4)
