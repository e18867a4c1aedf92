"""What a node says of itself is checked before it is believed."""

import math
from typing import Any

import pytest

from umad.errors import BadRequest
from umad.metrics import MemoryFacts, Scorecard
from umad.router.policy import reading_of_scorecard
from umad.router.policy.gauges import Kind, reading_of_gauges
from umad.router.policy.settings import MOST_MODELS_OF_NODE

GOOD: dict[str, Any] = {
    "latency_cap": 1.3,
    "p95_over_solo": 1.1,
    "solo_ms": 20.0,
    "over_cap_pct": 1.5,
    "bmt_gbps": 40.0,
    "bmt_budget_gbps": 100.0,
    "background_share": 0.5,
    "queue_depth": {"interactive": 2, "agents": 1, "background": 30},
    "running": 3,
    "kv_cells_used": 100,
    "kv_cells_total": 400,
    "models": {"m": {"p50_ms": 20.0}, "idle": {"p50_ms": None}},
}


def test_a_scorecard_is_read() -> None:
    reading = reading_of_scorecard(GOOD, loadable={"other": 10**9}, memory_free_bytes=2 * 10**9)

    assert reading.latency_cap == 1.3
    assert reading.p95_over_solo == 1.1
    assert reading.running == 3
    assert reading.kv_used == 0.25
    assert reading.loaded == {"m", "idle"}
    assert reading.token_ms_of == {"m": 20.0}
    assert reading.loadable == {"other": 10**9}
    assert reading.memory_free_bytes == 2 * 10**9


def test_background_work_that_waits_keeps_no_newcomer_waiting() -> None:
    assert reading_of_scorecard(GOOD).waiting == 3


def test_the_scorecard_of_an_idle_daemon_is_read() -> None:
    """Most of its figures are None."""
    scorecard = Scorecard(latency_cap=1.2, budget_gbps=None)
    scorecard.accepted(1, "m", "interactive", "app", 1)
    said = scorecard.snapshot(10, {"m": MemoryFacts(rss_bytes=1, pss_bytes=1)})

    reading = reading_of_scorecard(said)

    assert reading.loaded == {"m"}
    assert reading.p95_over_solo is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency_cap", 0.9),
        ("latency_cap", "1.2"),
        ("p95_over_solo", -1.0),
        ("p95_over_solo", math.nan),
        ("over_cap_pct", 101.0),
        ("bmt_gbps", math.inf),
        ("bmt_budget_gbps", True),
        ("background_share", 1.5),
        ("running", -1),
        ("running", 1.5),
        ("running", 10**12),
        ("kv_cells_used", 500),
        ("queue_depth", [1]),
        ("queue_depth", {"interactive": -4}),
        ("queue_depth", {5: 1}),
        ("models", ["m"]),
        ("models", {"": {}}),
        ("models", {"m": 5}),
        ("models", {"m" * 300: {}}),
        ("models", {str(n): {} for n in range(MOST_MODELS_OF_NODE + 1)}),
    ],
)
def test_a_figure_that_cannot_be_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(BadRequest) as refused:
        reading_of_scorecard({**GOOD, name: value})

    assert refused.value.field is not None
    assert refused.value.field.split(".")[0] == name


@pytest.mark.parametrize("need", [-1, 1.5, "1", True, 1 << 70])
def test_a_models_need_that_cannot_be_is_refused(need: object) -> None:
    with pytest.raises(BadRequest, match=r"loadable\.x"):
        reading_of_scorecard(GOOD, loadable={"x": need})


@pytest.mark.parametrize(
    ("kind", "gauges"),
    [
        (
            Kind.VLLM,
            {
                "vllm:num_requests_waiting": 2.0,
                "vllm:num_requests_running": 5.0,
                "vllm:kv_cache_usage_perc": 0.5,
            },
        ),
        (
            Kind.SGLANG,
            {
                "sglang:num_queue_reqs": 2.0,
                "sglang:num_running_reqs": 5.0,
                "sglang:token_usage": 0.5,
            },
        ),
        (
            Kind.LLAMA_SERVER,
            {"llamacpp:requests_deferred": 2.0, "llamacpp:requests_processing": 5.0},
        ),
    ],
)
def test_the_gauges_of_other_engines_are_read(kind: Kind, gauges: dict[str, float]) -> None:
    reading = reading_of_gauges(kind, gauges, models=["m"])

    assert (reading.waiting, reading.running) == (2, 5)
    assert reading.kv_used == (0.0 if kind is Kind.LLAMA_SERVER else 0.5)
    assert reading.loaded == {"m"}


@pytest.mark.parametrize("value", [None, math.nan, -1.0, 1e12])
def test_an_engine_without_its_gauges_does_not_pass_for_an_idle_one(value: float | None) -> None:
    gauges = {"llamacpp:requests_processing": 0.0}
    if value is not None:
        gauges["llamacpp:requests_deferred"] = value

    with pytest.raises(BadRequest, match="llamacpp:requests_deferred"):
        reading_of_gauges(Kind.LLAMA_SERVER, gauges)
