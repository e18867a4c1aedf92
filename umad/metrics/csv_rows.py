"""Writes the scorecard as lines of CSV, the total of one snapshot per line. Pure.

Columns are only ever added at the end, so that files of different versions can be joined.
"""

import csv
import io
from collections.abc import Mapping
from typing import Any

from umad.request import BACKGROUND, INTERACTIVE

CSV_COLUMNS: tuple[str, ...] = (
    "at",
    "window_s",
    "tokens_per_s_at_cap",
    "tokens_per_s",
    "latency_cap",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "max_ms",
    "solo_ms",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "sum_bmt_mb_per_token",
    "bmt_gbps",
    "bmt_budget_gbps",
    "scheduler_efficiency",
    "gpu_idle_pct",
    "copy_free_ratio",
    "residency_churn_mb_per_token",
    "rss_gb",
    "pss_gb",
    "kv_cells_used",
    "kv_cells_retained",
    "kv_cells_total",
    "prefix_hit_ratio",
    "parked",
    "preemptions",
    "cuts",
    "restarts",
    "background_share",
    "requests",
    "running",
    "failed",
    "queue_interactive",
    "queue_background",
    "queue_other",
    "p95_over_solo",
    "p99_over_solo",
    "max_over_solo",
    "guard_held",
    "over_cap_pct",
    "over_cap_alone_pct",
    "cores_lost_pct",
    "model",
    "texts_embedded",
    "texts_cached",
    "accepted_per_step",
    "speculation_gain",
    "media_encoded",
    "media_reused",
    "encode_ms",
    "cut_ms",
    "copies_per_row",
)


def csv_header() -> str:
    """The first line, with its line end."""
    return _line(CSV_COLUMNS)


def csv_row(snapshot: Mapping[str, Any], *, at: str) -> str:
    """One line, with its line end. at: the time, as the caller writes times. An unknown figure is
    empty."""
    waiting: Mapping[str, int] = snapshot["queue_depth"]
    named = (INTERACTIVE, BACKGROUND)
    flat = {
        **snapshot,
        "at": at,
        "queue_interactive": waiting.get(INTERACTIVE, 0),
        "queue_background": waiting.get(BACKGROUND, 0),
        "queue_other": sum(n for lane, n in waiting.items() if lane not in named),
    }
    return _line(tuple("" if flat[name] is None else flat[name] for name in CSV_COLUMNS))


def _line(values: tuple[Any, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()
