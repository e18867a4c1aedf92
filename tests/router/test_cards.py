"""What the nodes of a team say of themselves is added up, and nothing that one says breaks it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umad.gateway.bodies.scorecard import ScorecardAnswer
from umad.gateway.dialects.metrics import _numbers
from umad.router.cards import MOST_NAMES, team_card, team_models, team_requests

ONE: dict[str, Any] = {
    "window_s": 30.0,
    "requests": 4,
    "running": 1,
    "tokens_per_s": 30.0,
    "p95_ms": 12.0,
    "latency_cap": 1.2,
    "guard_held": True,
    "kv_cells_used": 100,
    "kv_cells_total": 1000,
    "queue_depth": {"interactive": 2, "background": 1},
    "prefix_hit_ratio": 0.9,
    "apps": {"zed": {"requests": 3, "tokens": 90, "p95_ms": 12.0}},
    "models": {"nano": {"requests": 4, "tokens_per_s": 30.0}},
}
TWO: dict[str, Any] = {
    **ONE,
    "requests": 6,
    "p95_ms": 40.0,
    "guard_held": False,
    "kv_cells_used": 900,
    "queue_depth": {"interactive": 5},
    "prefix_hit_ratio": None,
    "apps": {"zed": {"requests": 1, "tokens": 10, "p95_ms": 40.0}, "cli": {"requests": 5}},
}


def test_an_apps_work_is_added_up_over_all_nodes() -> None:
    card = team_card({"mini": ONE, "studio": TWO})

    zed = card["apps"]["zed"]
    assert (zed["requests"], zed["tokens"], zed["p95_ms"]) == (4, 100, 40.0)
    assert card["apps"]["cli"]["requests"] == 5
    assert (card["requests"], card["running"], card["tokens_per_s"]) == (10, 2, 60.0)
    assert card["queue_depth"] == {"interactive": 7, "background": 1}
    assert card["kv_utilization"] == 0.5
    assert card["guard_held"] is False
    assert card["prefix_hit_ratio"] == 0.9
    assert card["nodes"]["studio"]["p95_ms"] == 40.0


def test_prometheus_gets_each_node_by_its_name() -> None:
    told = {
        (name, *labels.items()): value
        for name, labels, value in _numbers(team_card({"mini": ONE, "studio": TWO}))
    }

    assert told[("node_requests", ("node", "mini"))] == 4
    assert told[("node_requests", ("node", "studio"))] == 6
    assert told[("app_tokens", ("app", "zed"))] == 100
    assert told[("queue_depth", ("lane", "interactive"))] == 7


def test_a_team_without_nodes_has_a_scorecard_too() -> None:
    card = team_card({})

    assert ScorecardAnswer.model_validate(card).window_s > 0
    assert (card["requests"], card["nodes"]) == (0, {})


def test_a_model_of_two_nodes_is_listed_once_and_as_it_is_loaded() -> None:
    rows = team_models(
        {
            "mini": [{"name": "nano", "state": "starting"}, {"name": "big", "state": "ready"}],
            "studio": [{"name": "nano", "state": "ready", "ctx": 8}, {"state": "no name"}, "?"],
            "vllm": None,
        }
    )

    assert rows == [
        {"name": "nano", "state": "ready", "ctx": 8, "nodes": ["mini", "studio"]},
        {"name": "big", "state": "ready", "nodes": ["mini"]},
    ]


def test_requests_of_all_nodes_have_their_nodes_names() -> None:
    (row,) = team_requests({"mini": [{"request": "r1", "app": "zed"}], "off": None})

    assert (row["request"], row["node"], row["app"]) == ("mini/r1", "mini", "zed")


def test_a_node_that_makes_up_names_fills_no_memory() -> None:
    apps = {f"app {number}": {"requests": 1} for number in range(5000)}

    card = team_card({"liar": {"apps": apps, "queue_depth": dict.fromkeys(apps, 1)}})

    assert len(card["apps"]) <= MOST_NAMES
    assert len(card["queue_depth"]) <= MOST_NAMES
    assert sum(row["requests"] for row in card["apps"].values()) == 5000
    assert sum(card["queue_depth"].values()) == 5000


@pytest.mark.parametrize("figure", [10**400, -(10**400), float("inf"), float("nan"), 1e300])
def test_a_figure_that_nobody_can_have_counts_as_none(figure: float) -> None:
    card = team_card({"mini": ONE, "liar": {"requests": figure, "p95_ms": figure}})

    assert (card["requests"], card["p95_ms"]) == (4, 12.0)


def test_a_negative_pace_breaks_no_mean() -> None:
    liar = {"tokens_per_s": -1.0, "prefix_hit_ratio": 0.5}

    assert team_card({"liar": liar})["prefix_hit_ratio"] == 0.5


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ONE, "zed", "tokens", "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), st.dictionaries(st.sampled_from(list(ONE)), _JSON)))
def test_whatever_nodes_say_is_added_up(cards: dict[str, dict[str, Any]]) -> None:
    assert json.loads(json.dumps(team_card(cards), allow_nan=True))["nodes"].keys() == cards.keys()
    team_models({key: list(cards.values()) for key in cards})
    team_requests({key: list(cards.values()) for key in cards})
