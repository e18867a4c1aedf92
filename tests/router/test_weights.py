"""The weights that HAProxy gets."""

import pytest

from tests.router.fleets import Team, with_room
from umad.errors import BadRequest
from umad.router.policy import PolicySettings, Reading
from umad.router.policy.weighted_draw import WeightedDraw


def test_weights_follow_the_room() -> None:
    team = Team().with_nodes(idle=1.0, half=0.5, full=0.0)

    assert team.fleet.weights("m") == {"idle": 256, "half": 128, "full": 0}


def test_a_smaller_machine_gets_less() -> None:
    team = Team().with_nodes(big=1.0)
    team.fleet.join("small", now_ns=team.now_ns, size=0.25)
    for _ in range(8):
        team.wait_s(5)
        team.say(big=1.0, small=1.0)

    assert team.fleet.weights("m") == {"big": 256, "small": 64}


def test_a_weight_falls_at_once_and_rises_slowly() -> None:
    team = Team().with_nodes(a=1.0)

    team.say(a=0.1)
    fallen = team.node("a").weight
    team.say(a=1.0)

    assert fallen == 26
    assert team.node("a").weight == 26 + 64


def test_small_changes_are_kept_back() -> None:
    team = Team().with_nodes(a=0.5)

    team.say(a=0.48)
    team.say(a=0.53)

    assert team.node("a").weight == 128


def test_a_node_at_its_cap_is_not_opened_and_closed_with_each_scorecard() -> None:
    team = Team().with_nodes(a=0.5, b=0.5)
    team.say(a=0.0)

    seen = set()
    for room in (0.02, 0.0, 0.05, 0.0, 0.04):
        team.say(a=room)
        seen.add(team.node("a").weight)

    assert seen == {0}


def test_an_old_scorecard_counts_less_and_less() -> None:
    team = Team().with_nodes(a=1.0)

    told = []
    for seconds in (9, 11, 20, 10):
        team.wait_s(seconds)
        team.tick()
        told.append(team.node("a").weight)

    assert told[0] == 256
    assert told[1] == pytest.approx(128, abs=2)
    assert told[1] > told[2] > told[3]


def test_a_node_that_falls_silent_gets_nobody_new_and_keeps_what_it_has() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    sessions = {name: team.place(name).node for name in map(str, range(20))}
    for _ in range(13):
        team.wait_s(5)
        team.say(b=1.0)
        team.tick()

    assert team.fleet.weights("m")["a"] == 0
    assert {team.place(f"new {n}").node for n in range(20)} == {"b"}
    assert {name: team.place(name).node for name in sessions} == sessions


def test_a_node_that_comes_back_begins_slowly() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    team.fleet.failed("a", team.now_ns)

    told = []
    for _ in range(12):
        team.wait_s(5)
        team.say(a=1.0, b=1.0)
        told.append(team.node("a").weight)

    assert told[0] == 32
    assert told == sorted(told)
    assert told[-1] == 256


def test_a_node_that_fails_again_and_again_is_left_out_longer() -> None:
    team = Team().with_nodes(a=1.0)

    absent = []
    for _ in range(4):
        team.fleet.failed("a", team.now_ns)
        seconds = 0
        while not team.node("a").takes_new:
            team.wait_s(1)
            seconds += 1
            team.say(a=1.0)
        absent.append(seconds)

    assert absent == [5, 10, 20, 40]


def test_one_failure_that_many_requests_saw_is_one() -> None:
    team = Team().with_nodes(a=1.0)

    for _ in range(50):
        team.fleet.failed("a", team.now_ns)

    assert team.node("a").failures == 1


def test_a_node_that_is_away_for_long_is_back_soon_after_it_is_alive() -> None:
    """Each check of a dead node is no further failure."""
    team = Team().with_nodes(a=1.0)

    for _ in range(300):
        team.wait_s(2)
        team.fleet.failed("a", team.now_ns)
    team.wait_s(5)
    team.say(a=1.0)

    assert team.node("a").takes_new


def test_one_node_of_those_that_would_have_to_load_a_model_gets_its_newcomers() -> None:
    team = Team().with_nodes(a=1.0, b=1.0, c=1.0)
    for name in "abc":
        said = Reading(loaded=frozenset({"m"}), loadable={"rare": 10**9})
        team.fleet.reported(name, said, team.now_ns)

    assert sorted(team.fleet.weights("rare").values()) == [0, 0, 256]


def test_where_everybody_is_full_nobody_is_refused() -> None:
    team = Team().with_nodes(a=0.0, b=0.0)

    weights = team.fleet.weights("m")
    assert weights["a"] == weights["b"] > 0


def say_ms(team: Team, **token_ms: float) -> None:
    """Every node is beyond its cap, and its streams wait so long for a token."""
    for name, ms in token_ms.items():
        reading = Reading(
            over_cap_pct=50.0, running=4, loaded=frozenset({"m"}), token_ms_of={"m": ms}
        )
        team.fleet.reported(name, reading, team.now_ns)


def test_of_full_nodes_one_whose_streams_crawl_gets_nobody() -> None:
    team = Team().with_nodes(a=0.5, b=0.5, c=0.5)
    for name in "abc":
        reading = Reading(running=1, loaded=frozenset({"m"}), token_ms_of={"m": 50.0})
        team.fleet.reported(name, reading, team.now_ns)

    say_ms(team, a=400.0, b=60.0, c=80.0)
    uneven = team.fleet.weights("m")
    say_ms(team, a=400.0, b=420.0, c=380.0)
    even = team.fleet.weights("m")

    assert uneven["a"] == 0
    assert uneven["b"] > uneven["c"] > 0
    assert min(even.values()) > 0


def test_a_remnant_of_room_draws_no_crowd() -> None:
    team = Team().with_nodes(a=0.5, b=0.5, c=0.5)

    team.say(a=0.02, b=0.0, c=0.0)
    weights = team.fleet.weights("m")

    assert weights["a"] == weights["b"] == weights["c"] > 0


def test_a_node_that_lies_about_its_room_is_found_out() -> None:
    """It says that it is idle, and every second request that the router sends it is late."""
    team = Team().with_nodes(liar=1.0, honest=0.5)

    for _ in range(6):
        team.wait_s(5)
        team.say(liar=1.0, honest=0.5)
        team.fleet.witnessed("liar", late=10, of=20, now_ns=team.now_ns)
        team.fleet.witnessed("honest", late=0, of=20, now_ns=team.now_ns)

    weights = team.fleet.weights("m")
    assert weights["liar"] <= 16 < weights["honest"]


def test_doubt_passes_when_answers_are_in_time_again() -> None:
    team = Team().with_nodes(a=1.0)
    for _ in range(3):
        team.fleet.witnessed("a", late=10, of=20, now_ns=team.now_ns)

    for _ in range(30):
        team.wait_s(5)
        team.fleet.witnessed("a", late=0, of=20, now_ns=team.now_ns)
        team.say(a=1.0)

    assert team.fleet.weights("m")["a"] > 256 * 7 / 8, "the last eighth is kept back"


def test_a_few_late_answers_are_chance() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)

    for _ in range(3):
        team.fleet.witnessed("a", late=2, of=2, now_ns=team.now_ns)
        team.fleet.witnessed("b", late=2, of=20, now_ns=team.now_ns)

    assert team.node("a").trust == 1.0


def test_nobody_is_doubted_for_what_all_of_a_fleet_have() -> None:
    """In a crowd everybody is late, and those that say so least have the most room."""
    team = Team().with_nodes(a=1.0, b=0.5, c=0.5)

    for _ in range(20):
        team.fleet.witnessed("a", late=7, of=20, now_ns=team.now_ns)
        team.fleet.witnessed("b", late=6, of=20, now_ns=team.now_ns)
        team.fleet.witnessed("c", late=5, of=20, now_ns=team.now_ns)

    assert {name: team.node(name).trust for name in "abc"} == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_what_was_seen_of_a_node_leaves_with_it() -> None:
    team = Team().with_nodes(late=1.0, a=1.0, b=1.0)
    team.fleet.witnessed("late", late=500, of=500, now_ns=team.now_ns)
    team.fleet.leave("late")

    for _ in range(3):
        team.fleet.witnessed("b", late=0, of=20, now_ns=team.now_ns)
        team.fleet.witnessed("a", late=10, of=20, now_ns=team.now_ns)

    assert team.node("a").trust < 1


def test_a_scorecard_that_comes_late_does_not_count() -> None:
    team = Team().with_nodes(a=1.0)
    team.say(a=0.1)

    team.fleet.reported("a", with_room(1.0), team.now_ns - 10**9)

    assert team.node("a").headroom.least == pytest.approx(0.1)


def test_a_name_or_a_number_twice_is_refused() -> None:
    team = Team().with_nodes(a=1.0)

    with pytest.raises(BadRequest, match="already called a"):
        team.fleet.join("a", now_ns=team.now_ns)
    with pytest.raises(BadRequest, match="the number 1"):
        team.fleet.join("b", now_ns=team.now_ns, number=1)


def test_a_number_is_never_given_again() -> None:
    """Pins in HAProxy's table outlive a node, and must not lead to another one."""
    team = Team(settings=PolicySettings()).with_nodes(a=1.0)
    team.fleet.leave("a")

    assert team.fleet.join("a", now_ns=team.now_ns).number == 2


def test_a_draw_is_as_likely_as_the_weight() -> None:
    draw = WeightedDraw()
    for slot, weight in enumerate((3, 0, 5, 0, 0, 2, 1)):
        draw.put(slot, weight)
    draw.put(5, 7)
    draw.put(0, 0)

    counts = [0] * 8
    for at in range(draw.total):
        counts[draw.draw(at)] += 1

    assert counts == [0, 0, 5, 0, 0, 7, 1, 0]
