"""From samples to tables of the mixed-load benchmark."""

from dataclasses import replace

import pytest

from bench.latency import Felt
from bench.mixed import (
    ALONE,
    BESIDE,
    BUSY,
    IDLE,
    NOBODY_ELSE,
    Measured,
    comparisons,
    guard_line,
)
from bench.table import Spread


def felt(p99_ms: float) -> Felt:
    return Felt(
        p50_ms=10,
        p95_ms=20,
        p99_ms=p99_ms,
        longest_ms=40,
        first_token_p50_ms=50,
        first_token_p95_ms=60,
        tokens_per_s=70,
    )


def test_what_background_work_costs_is_a_ratio_within_a_repetition() -> None:
    measured = Measured(
        felt={
            "umad": {ALONE: [felt(20), felt(40)], BESIDE: [felt(24), felt(44)]},
            "peer": {ALONE: [felt(20), felt(40)], BESIDE: [felt(960), felt(880)]},
        },
        background={BESIDE: {"umad": [], "peer": []}, NOBODY_ELSE: {"umad": [], "peer": []}},
        idle={"umad": [], "peer": []},
        arrivals={"umad": {IDLE: [], BUSY: []}, "peer": {IDLE: [], BUSY: []}},
    )

    umad, peer, alone, beside = comparisons(measured, title="tiny", names=["umad", "peer"])

    assert umad.ratio("wait p99, ms", BESIDE) == Spread(median=1.15, low=1.1, high=1.2)
    assert peer.ratio("wait p99, ms", BESIDE) == Spread(median=35, low=22, high=48)
    assert alone.ratio("wait p99, ms", "umad") == Spread(median=1, low=1, high=1)
    assert beside.ratio("wait p50, ms", "umad") == Spread(median=1, low=1, high=1)


def test_a_peer_whose_long_prompts_got_nowhere_has_no_ratio() -> None:
    measured = Measured(
        felt={"umad": {ALONE: [], BESIDE: []}, "peer": {ALONE: [], BESIDE: []}},
        background={
            BESIDE: {"umad": [25.0], "peer": [0.0]},
            NOBODY_ELSE: {"umad": [90.0], "peer": [100.0]},
        },
        idle={"umad": [0.5], "peer": [0.2]},
        arrivals={"umad": {IDLE: [], BUSY: []}, "peer": {IDLE: [], BUSY: []}},
    )

    background, left = comparisons(measured, title="tiny", names=["umad", "peer"])

    assert background.ratio(BESIDE, "umad") is None
    assert background.ratio(NOBODY_ELSE, "umad") == Spread(median=0.9, low=0.9, high=0.9)
    taken = left.samples["background's of it, %"]
    assert taken == {"umad": [pytest.approx(55.6, rel=0.01)], "peer": [0.0]}


def test_the_guards_promise_is_a_line_of_the_worst_repetition() -> None:
    calm, slow = felt(20), replace(felt(20), p95_ms=23, longest_ms=25)
    measured = Measured(
        felt={"umad": {ALONE: [calm, calm], BESIDE: [calm, slow]}},
        background={},
        idle={},
        arrivals={},
    )

    line = guard_line(measured, "umad")

    assert line == "umad: p95 at most 1.15 of alone, longest wait 4.0 steps"
    assert guard_line(measured, "nobody") == ""
