"""A simulated day, small: the policy keeps its promises where proxies by themselves do not."""

from functools import cache

import numpy as np
import pytest

from bench.fleet import CONTENDERS, ROWS, Day, by_hour, comparison, day
from bench.fleet_traffic import Scenario, traffic
from bench.fleet_world import Outcome

SMALL = Scenario(nodes=20, sessions=400, load=0.55, crowds=2, crowd=0.02)


@cache
def outcome(name: str) -> Outcome:
    return day(name, SMALL).outcome


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_request_ends(name: str) -> None:
    found = outcome(name)
    turns = int(traffic(SMALL).turns.sum())

    assert found.requests == turns
    assert found.refused == 0


@pytest.mark.parametrize("name", ["umad", "umad weights"])
def test_sessions_find_their_cells_again(name: str) -> None:
    assert outcome(name).hit_pct > 90
    assert outcome("round robin").hit_pct < 30
    assert outcome("least connections").hit_pct < 30


def test_no_more_requests_are_beyond_their_cap_than_by_a_hash() -> None:
    assert outcome("umad").beyond_cap_pct <= outcome("prefix hash").beyond_cap_pct


def test_the_same_seed_gives_the_same_day() -> None:
    assert day("round robin", SMALL).outcome == outcome("round robin")


def test_most_sessions_come_by_day() -> None:
    scenario = Scenario(nodes=50, sessions=20_000, crowds=0)
    begin_s = traffic(scenario).begin_s

    by_quarter = np.bincount(4 * begin_s // scenario.day_s, minlength=4)

    assert by_quarter[1] + by_quarter[2] > 1.5 * (by_quarter[0] + by_quarter[3])


def test_the_table_has_every_figure_of_every_contender() -> None:
    days = {name: [Day(outcome=outcome(name))] for name in CONTENDERS}

    assert list(comparison(days, SMALL).samples) == list(ROWS)
    assert len(by_hour(days).samples) == 24
