"""Nodes whose answers begin later than they claim, by HAProxy's running figures."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.router.fleets import Team, with_room
from umad.router.policy import AnswerTimes
from umad.router.policy.answer_times import LOOK, WINDOW


class Averages:
    """A server's figures as HAProxy keeps them (`swrate_add_dynamic`)."""

    def __init__(self) -> None:
        self.answers = self._sum = 0

    def add(self, took_ms: int, times: int = 1) -> "Averages":
        for _ in range(times):
            self.answers += 1
            window = min(self.answers, WINDOW)
            self._sum += took_ms - (self._sum + window - 1) // window * (self.answers > WINDOW)
        return self

    def told(self) -> tuple[int, float]:
        window = min(self.answers, WINDOW) or 1
        return self.answers, (self._sum + window - 1) // window


@pytest.mark.parametrize("before", [1, 100, WINDOW - 5, 3000])
def test_the_mean_is_of_the_latest_answers_alone_however_many_were_before(before: int) -> None:
    figures, times = Averages().add(200, before), AnswerTimes()
    times.seen({"all": figures.told()})

    few = times.seen({"all": figures.add(3000, LOOK - 1).told()})
    found = times.seen({"all": figures.add(3000).told()})

    assert few is None
    assert found == pytest.approx(3000, rel=0.05)


def test_answers_of_all_pools_count() -> None:
    times = AnswerTimes()
    times.seen({"all": (0, 0)})

    assert times.seen({"all": (12, 100), "m1": (4, 900)}) == pytest.approx(300)


def test_a_haproxy_that_was_started_again_begins_anew() -> None:
    times = AnswerTimes()
    times.seen({"all": (5000, 9000)})

    assert times.seen({"all": (40, 10)}) is None
    assert times.seen({"all": (80, 10)}) == pytest.approx(10)


@given(st.lists(st.integers(0, 60_000), min_size=2 * LOOK, max_size=200))
def test_no_figures_make_a_time_that_no_answer_took(took: list[int]) -> None:
    figures, times = Averages(), AnswerTimes()
    for one in took:
        found = times.seen({"all": figures.add(one).told()})

        # HAProxy rounds up, for each of the answers so far.
        assert found is None or 0 <= found <= max(took) + len(took) / LOOK


# -- what follows --------------------------------------------------------------------------------


def look(team: Team, **took_ms: float) -> None:
    """A scorecard of each, and a look at how long they take."""
    team.wait_s(5)
    for name in took_ms:
        node = team.node(name)
        team.fleet.reported(name, node.reading, team.now_ns)
    for name, ms in took_ms.items():
        team.fleet.timed(name, ms, team.now_ns)
        team.fleet.witnessed(name, late=0, of=20, now_ns=team.now_ns)


def test_a_slow_node_that_claims_room_and_fails_nothing_gets_less() -> None:
    team = Team().with_nodes(liar=1.0, a=0.5, b=0.5)

    for _ in range(8):
        look(team, a=600, b=800, liar=9000)

    weights = team.fleet.weights("m")
    assert team.node("liar").is_slow
    assert weights["liar"] <= 16 < weights["a"]
    assert team.node("a").trust == team.node("b").trust == 1.0


def test_one_slow_look_is_chance() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    look(team, b=500, a=500)

    for _ in range(4):
        look(team, b=500, a=9000)
        look(team, b=500, a=500)

    assert team.node("a").trust == 1.0


def test_a_node_that_is_slow_by_moments_or_in_a_fleet_that_is_quick_is_not_doubted() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)

    for _ in range(6):
        look(team, b=20, a=900)

    assert team.node("a").trust == 1.0, "less than a second later: prompts differ so much"


def test_an_honest_slow_machine_is_as_slow_as_it_says() -> None:
    team = Team().with_nodes(small=1.0, large=1.0)
    for name, token_ms in {"small": 80.0, "large": 10.0}.items():
        said = replace(with_room(1.0), token_ms_of={"m": token_ms})
        team.fleet.reported(name, said, team.now_ns)

    for _ in range(6):
        look(team, large=1000, small=7000)

    assert team.node("small").trust == 1.0
    assert team.node("small").usual_ms == 8000
    for _ in range(6):
        look(team, large=1000, small=60_000)
    assert team.node("small").trust < 1 / 4


def test_a_full_node_is_believed() -> None:
    team = Team().with_nodes(full=0.1, a=1.0)

    for _ in range(6):
        look(team, a=500, full=9000)

    assert team.node("full").trust == 1.0


def test_nobody_is_compared_with_himself() -> None:
    team = Team().with_nodes(alone=1.0)

    for _ in range(6):
        look(team, alone=60_000)

    assert team.node("alone").trust == 1.0


def test_between_slow_and_quick_nothing_changes_and_doubt_passes_slowly() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    for _ in range(3):
        look(team, b=500, a=9000)
    doubted = team.node("a").trust

    look(team, b=500, a=1600)
    still = team.node("a").is_slow
    look(team, b=500, a=700)
    after_one = team.node("a").trust
    for _ in range(20):
        look(team, b=500, a=700)

    assert doubted < 1 / 2
    assert still
    assert doubted <= after_one < 1 / 2
    assert team.node("a").trust == 1.0


def test_a_slow_node_that_gets_nobody_is_tried_again_after_a_while() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    for _ in range(6):
        look(team, b=500, a=9000)
    was_slow = team.node("a").is_slow

    team.wait_s(team.settings.forgiven_ns / 1e9 + 1)
    team.tick()

    assert was_slow
    assert not team.node("a").is_slow
    assert team.node("a").answer_ms is None
