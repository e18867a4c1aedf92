"""Turns rows of a window into the scorecard's fields. Pure numpy; runs at a snapshot only.

Each field is computed as follows:
    quantiles        nearest rank: p99 of ten samples is the largest, never something in between
    solo_ms          95th percentile, over the same tokens, of the wait that each would have had
                     without background work: the device's and the host's part, and newcomers'
                     slices, which are interactive work
    *_over_solo      quantiles, and the largest, of each gap divided by its own solo
    over_cap_pct     gaps longer than the cap allows (an app's own, if it has one), of a hundred
    over_cap_alone_pct  the same for gaps whose step carried no background work: the delays that
                     the machine itself causes
    gaps_over_cap    how many those are
    slowed_by        how many of them coincided with what (`umad.metrics.slowness`): one may count
                     for several, and `nothing` counts those that coincided with nothing known
    longest_gaps_ms  the longest gap of each second of the window, the oldest first; 0 for none
    guard_held       at most 5 of a hundred gaps are beyond the cap, 1 is beyond 2 and none beyond 3
                     times its own solo. Where solo is less than `SLACK_OF_MS`, the time above solo
                     is counted in multiples of `SLACK_OF_MS`. None without a sample of
                     interactive work
    tokens_per_s_at_cap  tokens_per_s, or 0 while over_cap_pct is above 5
    ttft_*           interactive requests whose first token came in the window
    sum_bmt_mb_per_token bytes moved / tokens computed (decoded and prefilled), 10^6 bytes
    scheduler_efficiency device time of steps that were not cut / wall time while work was pending
    gpu_idle_pct     100 * (1 - device time, cut steps too / the same wall time)
    cores_lost_pct   100 * time in which an engine's threads were ready and others had the cores,
                     for each thread of a decode / the same wall time (Linux; 0 elsewhere). The
                     guard controls what umad runs, but not other programs
    copy_free_ratio  tokens that were drawn from the library's own row of logits / all drawn
    copies_per_row   how often a row of logits was copied before a token was drawn from it, those
                     copies of the library from the device to its output included
    background_share background rows / all rows computed
    accepted_per_step  guesses of next tokens that held / steps that had guesses
    speculation_gain how many times faster the latest such steps were than plain ones would have
                     been, with the time of the draft model in it; of several models, the lowest
    cut_ms           how long an arrival waits for the step that it cuts, as the engine has learnt
                     it since its start; of several models, the longest
    texts_embedded   texts of requests to embed or to rank that ended in the window
    texts_cached     those of them whose vectors were kept from before, or that stood twice in one
                     request, so that nothing was computed
    media_encoded    images, tiles of images, and windows of sounds that were made into rows
    media_reused     those of prompts that were not, because their rows or their cells were at hand
    encode_ms        time of the encoder's turns / media_encoded
    requests         completions that were alive at some time in the window
    restarts         since the daemon began; all other figures are of the window, or of this moment
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from umad.metrics.latest import Latest
from umad.metrics.rows import Rows, Slice
from umad.metrics.slowness import counted, longest_by_second
from umad.step import CARRIED_OTHER_WORK

# The limits that the guard keeps: the share of gaps that may be beyond the cap, beyond MOST_P99
# times solo, and the multiple of solo that no gap may exceed.
BEYOND_CAP = 0.05
MOST_P99, BEYOND_P99 = 2.0, 0.01
MOST_GAP = 3.0
# A shorter step is judged with the slack of a step that takes so long: 1 ms at a cap of 1.2. The
# cap alone would leave a step of 1.5 ms only 0.3 ms for everything else that a machine does. Waking
# a process takes longer, and nobody sees a token that is 0.3 ms late. Steps of 5 ms and more, as in
# every useful model, are judged by their multiples alone. The slack is for the machine's noise: the
# background work that a step carries is bounded by its cap, however short the step is.
SLACK_OF_MS = 5.0
_EXACT_MS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The limits that the figures are compared with."""

    latency_cap: float
    # The caps of apps that have their own, by the app's number.
    app_caps: dict[int, float] = field(default_factory=dict)
    budget_gbps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Felt:
    """What the readers of a slice felt."""

    interactive: Mapping[str, Any]
    # With the counts of each.
    lanes: Mapping[str, Mapping[str, Any]]
    apps: Mapping[str, Mapping[str, Any]]


def feel(
    part: Slice,
    caps: Caps,
    *,
    elapsed_s: float,
    lanes: Sequence[str],
    apps: Sequence[str],
    now_ns: int,
    window_ns: int,
) -> Felt:
    """Compute the fields of all lanes and apps in a slice.

    lanes, apps: the names that belong to the numbers of the rows.
    """

    def readers(of: Slice, cap: float) -> dict[str, Any]:
        longest = longest_by_second(of.arrivals, now_ns=now_ns, window_ns=window_ns)
        return {**_waited(of), **_guard(of, cap), "longest_gaps_ms": longest}

    by_lane: dict[str, Mapping[str, Any]] = {}
    interactive: Mapping[str, Any] | None = None
    for number in part.numbers("lane"):
        of = part.of("lane", number)
        read = readers(of, caps.latency_cap)
        if number == part.interactive:
            interactive = read
        by_lane[lanes[number]] = _shared(of, read, caps.latency_cap, elapsed_s)
    by_app: dict[str, Mapping[str, Any]] = {}
    for number in part.numbers("app"):
        of, cap = part.of("app", number), caps.app_caps.get(number, caps.latency_cap)
        by_app[apps[number]] = _shared(of, readers(of, cap), cap, elapsed_s)
    if interactive is None:
        interactive = readers(part.of("lane", part.interactive), caps.latency_cap)
    return Felt(interactive=interactive, lanes=by_lane, apps=by_app)


def summarize(
    part: Slice, latest: Latest, caps: Caps, felt: Felt, *, elapsed_s: float
) -> dict[str, Any]:
    """Compute the scorecard's fields of one model, or of all models. felt: of the same slice."""
    tokens_per_s = int(part.arrivals["n"].sum()) / elapsed_s
    beyond_pct = felt.interactive["over_cap_pct"]
    over = beyond_pct is not None and beyond_pct > 100 * BEYOND_CAP
    steps = part.steps
    rows = int(steps["rows"].sum())
    sampled, prompt = int(steps["sampled"].sum()), int(steps["prompt"].sum())
    moved = int(steps["bytes"].sum())
    encoded = int(steps["media_encoded"].sum())
    pending_ms = latest.pending_ns / 1e6
    busy, useful = float(steps["device_ms"].sum()), float(steps["useful_ms"].sum())
    queue_depth = dict.fromkeys(felt.lanes, 0) | latest.waiting
    return {
        "tokens_per_s_at_cap": 0.0 if over else _rounded(tokens_per_s),
        "tokens_per_s": _rounded(tokens_per_s),
        "latency_cap": caps.latency_cap,
        **felt.interactive,
        "sum_bmt_mb_per_token": _ratio(moved / 1e6, rows),
        "bmt_gbps": _rounded(moved / 1e9 / elapsed_s),
        "bmt_budget_gbps": caps.budget_gbps,
        # The engines of two models run at once, so the sum of their steps may exceed the wall time.
        "scheduler_efficiency": _ratio(min(useful, pending_ms), pending_ms),
        "gpu_idle_pct": _ratio(100 * max(0.0, pending_ms - busy), pending_ms),
        "cores_lost_pct": _ratio(100 * float(steps["coreless_ms"].sum()), pending_ms),
        "copy_free_ratio": _ratio(sampled - int(steps["copied"].sum()), sampled),
        "copies_per_row": _ratio(int(steps["row_copies"].sum()), sampled),
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
        "kv_utilization": _ratio(latest.cells_used, latest.cells_total) or 0.0,
        "prefix_hit_ratio": _ratio(int(steps["cached"].sum()), prompt),
        "parked": latest.parked,
        "queue_depth": queue_depth,
        "queued": sum(queue_depth.values()),
        "preemptions": int(steps["preemptions"].sum()),
        "cuts": int(steps["cuts"].sum()),
        "cut_ms": _rounded(latest.cut_ms) or None,
        "restarts": latest.restarts,
        "accepted_per_step": _ratio(
            int(steps["guesses_held"].sum()), int(steps["guess_steps"].sum())
        ),
        "speculation_gain": _rounded(latest.speculation_gain) or None,
        "background_share": _ratio(int(steps["background_rows"].sum()), rows),
        "requests": part.live.size + part.endings.size,
        "running": part.live.size,
        "failed": int(part.endings["failed"].sum()),
        "texts_embedded": int(part.endings["texts"].sum()),
        "texts_cached": int(part.endings["texts_cached"].sum()),
        "media_encoded": encoded,
        "media_reused": int(steps["media_reused"].sum()),
        "encode_ms": _ratio(float(steps["encode_us"].sum()) / 1000, encoded),
        "lanes": felt.lanes,
        "apps": felt.apps,
    }


def _waited(part: Slice) -> dict[str, float | None]:
    """Compute how long the readers of these tokens waited."""
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


def _guard(part: Slice, cap: float) -> dict[str, Any]:
    """Compare each gap with its solo time, and tell whether the guard's limits held."""
    gaps, solo = part.arrivals["gap_ms"], part.arrivals["solo_ms"]
    known = ~(np.isnan(gaps) | np.isnan(solo))
    gaps, solo = gaps[known], solo[known]
    alone = (part.arrivals["carried"][known] & CARRIED_OTHER_WORK) == 0
    p95, p99, most = quantiles(gaps / solo, 0.95, 0.99, 1.0)
    slack_ms = np.maximum(solo, SLACK_OF_MS)

    excess = gaps - solo

    def late(multiple: float) -> Rows:
        found: Rows = excess > (multiple - 1) * slack_ms + _EXACT_MS
        return found

    def share(of: Rows) -> float:
        return float(of.mean()) if of.size else 0.0

    beyond = late(cap)
    return {
        "p95_over_solo": p95,
        "p99_over_solo": p99,
        "max_over_solo": most,
        "over_cap_pct": _rounded(100 * share(beyond)) if gaps.size else None,
        "gaps_over_cap": int(np.count_nonzero(beyond)),
        "slowed_by": counted(part.causes[known][beyond]),
        "over_cap_alone_pct": _rounded(100 * share(beyond[alone])) if alone.any() else None,
        "guard_held": share(beyond) <= BEYOND_CAP
        and share(late(MOST_P99)) <= BEYOND_P99
        and not late(MOST_GAP).any()
        if gaps.size
        else None,
    }


def _shared(part: Slice, read: Mapping[str, Any], cap: float, elapsed_s: float) -> dict[str, Any]:
    """The fields of one lane or one app. read: those of its readers."""
    tokens = int(part.arrivals["n"].sum())
    return {
        "requests": part.live.size + part.endings.size,
        "running": part.live.size,
        "failed": int(part.endings["failed"].sum()),
        "tokens": tokens,
        "tokens_per_s": _rounded(tokens / elapsed_s),
        "latency_cap": cap,
        **read,
    }


def quantiles(values: Rows, *ranks: float) -> list[float | None]:
    """Return the nearest-rank quantiles of the known values; None for each where none is known."""
    known = np.sort(values[~np.isnan(values)])
    if not known.size:
        return [None] * len(ranks)
    # The small subtraction keeps 0.95 * 20, which is 19.000000000000004, at rank 19.
    return [_rounded(float(known[max(0, math.ceil(q * known.size - 1e-9) - 1)])) for q in ranks]


def _ratio(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _gigabytes(size_bytes: int | None) -> float | None:
    return None if size_bytes is None else _rounded(size_bytes / 1e9)


def _rounded(value: float) -> float:
    return round(value, 4)
