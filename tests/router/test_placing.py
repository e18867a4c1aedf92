"""Where sessions go, and why."""

import sys
from collections import Counter
from types import FrameType

import pytest

from tests.router.fleets import Team, with_room
from umad.router.policy import Asked, PolicySettings, Reading, Reason, Unplaced, session_key
from umad.router.policy.placement import Tier


def key(session: str, model: str = "m") -> str:
    made = session_key(Asked(model=model, session=session))
    assert made is not None
    return made


def test_sessions_stay_where_their_cells_are() -> None:
    team = Team().with_nodes(a=1.0, b=1.0, c=1.0)
    first = {str(n): team.place(str(n)).node for n in range(200)}

    team.say(a=0.1, b=0.9, c=0.4)
    again = {name: team.place(name) for name in first}

    assert {name: one.node for name, one in again.items()} == first
    assert {one.reason for one in again.values()} == {Reason.KNOWN}
    assert len(set(first.values())) == 3


def test_newcomers_go_where_room_is() -> None:
    team = Team().with_nodes(idle=1.0, full=0.0, busy=0.25)

    counts = Counter(team.place(None).node for _ in range(30))

    assert counts["full"] == 0
    assert counts["idle"] > counts["busy"]


def test_a_crowd_between_two_scorecards_does_not_go_to_one_node() -> None:
    """One node looks idle until its next scorecard. With nothing remembered of what was sent there,
    every fifth would go to it: all that draw it."""
    rooms = {f"n{n}": 0.5 for n in range(10)}
    team = Team().with_nodes(**rooms)
    for name, room in rooms.items():
        running = 0 if name == "n0" else 8
        team.fleet.reported(name, with_room(room, running=running), team.now_ns)

    counts = Counter(team.place(None).node for _ in range(1000))

    assert counts["n0"] < 140
    assert min(counts.values()) > 60


def test_requests_that_came_by_another_way_count_too() -> None:
    """A node's own users take of it, and the router sees them in the scorecard only."""
    team = Team().with_nodes(a=0.5, b=0.5)
    team.fleet.counted({"a": 0, "b": 4, "a node that has left": 3})
    for name, running in (("a", 9), ("b", 4)):
        team.fleet.reported(name, with_room(0.5, running=running), team.now_ns)

    counts = Counter(team.place(None).node for _ in range(4))

    assert counts["b"] > counts["a"]


def test_the_routers_own_count_is_fresher_than_the_scorecard() -> None:
    team = Team().with_nodes(a=0.5, b=0.5)
    team.fleet.counted({"a": 20, "b": 6})
    for name, running in (("a", 20), ("b", 6)):
        team.fleet.reported(name, with_room(0.5, running=running), team.now_ns)

    team.fleet.counted({"a": 0, "b": 6})

    counts = Counter(team.place(None).node for _ in range(4))
    assert counts["a"] > counts["b"]


def test_of_two_nodes_the_one_with_fewer_requests_for_its_size_takes_a_session() -> None:
    """How full they were at their last scorecard decides who is drawn, and counts no second time:
    the requests that are open now are fresher."""
    team = Team().with_nodes(full=0.25, idle=1.0)
    team.fleet.join("small", now_ns=team.now_ns, size=0.25)
    for _ in range(8):
        team.wait_s(5)
        team.say(full=0.25, idle=1.0, small=1.0)
    team.fleet.counted({"full": 0, "idle": 2, "small": 0})

    placed = [team.place(None) for _ in range(100)]

    pairs = [one.candidates for one in placed if len(one.candidates) == 2]
    assert len({chosen.node for chosen, _ in pairs}) == 3
    for chosen, other in pairs:
        assert (chosen.open + 1) / chosen.size <= (other.open + 1) / other.size


def test_a_newcomer_counts_threefold_while_its_prompt_is_read() -> None:
    team = Team().with_nodes(a=1.0)
    team.fleet.counted({"a": 0})
    team.fleet.reported("a", with_room(1.0, running=0), team.now_ns)

    team.place(None)
    at_once = team.node("a").open_requests(team.now_ns)
    team.fleet.counted({"a": 1})
    counted = team.node("a").open_requests(team.now_ns)
    team.wait_s(5)
    later = team.node("a").open_requests(team.now_ns)
    team.wait_s(60)

    assert (at_once, counted, later) == (3, 3, 2)
    assert team.node("a").open_requests(team.now_ns) == 1


def test_a_request_of_no_session_leaves_nothing_behind() -> None:
    team = Team().with_nodes(a=1.0)

    placed = team.place(None)

    assert not placed.is_pin
    assert len(team.placer.sessions) == 0


def test_a_session_goes_on_elsewhere_when_its_node_fails() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    first = team.place("s").node
    other = "b" if first == "a" else "a"

    team.fleet.failed(first, team.now_ns)
    moved = team.place("s")

    assert (moved.node, moved.reason) == (other, Reason.NODE_LOST)
    assert moved.is_pin


def test_a_session_does_not_go_back_when_its_node_does() -> None:
    """Its cells are at the new one by now."""
    team = Team().with_nodes(a=1.0, b=1.0)
    first = team.place("s").node
    team.fleet.failed(first, team.now_ns)
    second = team.place("s").node
    for _ in range(12):
        team.wait_s(5)
        team.say(a=1.0, b=1.0)

    assert team.place("s").node == second


def test_a_node_that_drains_keeps_its_sessions_and_gets_no_others() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    first = {str(n): team.place(str(n)).node for n in range(40)}

    team.fleet.drain("a", team.now_ns)

    assert {name: team.place(name).node for name in first} == first
    assert {team.place(f"new {n}").node for n in range(20)} == {"b"}


def test_a_node_that_fails_while_it_drains_still_drains_when_it_is_back() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    team.fleet.drain("a", team.now_ns)
    team.fleet.failed("a", team.now_ns)
    for _ in range(12):
        team.wait_s(5)
        team.say(a=1.0, b=1.0)

    assert {team.place(None).node for _ in range(20)} == {"b"}
    team.fleet.drain("a", team.now_ns, wanted=False)
    assert "a" in {team.place(None).node for _ in range(20)}


def test_a_session_leaves_a_node_that_stays_at_its_cap() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    names = [str(n) for n in range(200)]
    first = {name: team.place(name).node for name in names}
    stuck = [name for name in names if first[name] == "a"]
    team.wait_s(70)
    team.say(a=0.0, b=1.0)

    at_once = [team.place(name).node for name in stuck]
    team.wait_s(61)
    team.say(a=0.0, b=1.0)
    later = [team.place(name) for name in stuck]

    moved = [one for one in later if one.reason is Reason.MOVED]
    assert set(at_once) == {"a"}, "a full moment moves nobody"
    assert len(moved) == 1, "a sixteenth of its four streams with one scorecard, but at least one"
    assert {one.node for one in moved} == {"b"}


def test_a_session_stays_at_a_full_node_when_others_are_nearly_as_full() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    first = {str(n): team.place(str(n)).node for n in range(20)}
    for _ in range(20):
        team.wait_s(5)
        team.say(a=0.0, b=0.2)

    assert {name: team.place(name).node for name in first} == first


def test_a_model_is_served_where_it_is_loaded() -> None:
    team = Team().with_nodes(a=1.0, b=0.5)
    team.fleet.reported("b", with_room(0.5, models=("m", "rare")), team.now_ns)

    assert {team.place(None, "rare").node for _ in range(10)} == {"b"}


def test_a_model_that_nobody_has_loaded_goes_where_it_fits() -> None:
    team = Team().with_nodes(small=1.0, big=0.5)
    for name, free_bytes in (("small", 10**9), ("big", 10**10)):
        reading = Reading(
            loaded=frozenset({"m"}),
            loadable={"rare": 8 * 10**9},
            memory_free_bytes=free_bytes,
        )
        team.fleet.reported(name, reading, team.now_ns)

    placed = team.place("s", "rare")

    assert (placed.node, placed.tier) == ("big", Tier.FITS)


def test_a_crowd_that_wants_one_model_has_it_loaded_once() -> None:
    rooms = {f"n{n}": 1.0 for n in range(8)}
    team = Team().with_nodes(**rooms)
    reading = Reading(loaded=frozenset({"m"}), loadable={"rare": 10**9})
    for name in rooms:
        team.fleet.reported(name, reading, team.now_ns)

    nodes = {team.place(f"s{n}", "rare").node for n in range(50)}
    team.wait_s(5)
    for name in rooms:  # the load takes longer than this
        team.fleet.reported(name, reading, team.now_ns)
    nodes |= {team.place(f"t{n}", "rare").node for n in range(50)}

    assert len(nodes) == 1


def test_a_session_whose_node_gave_its_model_up_goes_where_it_is_loaded() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)
    first = team.place("s").node
    other = "b" if first == "a" else "a"

    team.fleet.reported(first, Reading(loadable={"m": 10**9}), team.now_ns)
    placed = team.place("s")

    assert (placed.node, placed.reason) == (other, Reason.MODEL_LEFT)


def test_a_model_that_nobody_has_is_refused_with_a_near_name() -> None:
    team = Team().with_nodes(a=1.0)
    team.fleet.reported("a", with_room(1.0, models=("qwen3:8b",)), team.now_ns)

    refused = team.ask("s", "qwen3:9b")

    assert isinstance(refused, Unplaced)
    assert "did you mean qwen3:8b?" in refused.why
    assert not refused.retryable


def test_with_no_node_left_a_request_is_told_so() -> None:
    team = Team().with_nodes(a=1.0)
    team.place("s")
    team.fleet.failed("a", team.now_ns)

    refused = team.ask("s")

    assert isinstance(refused, Unplaced)
    assert "down, silent or draining" in refused.why
    assert refused.retryable


def test_where_nobody_has_room_the_crowd_is_spread() -> None:
    team = Team().with_nodes(a=0.0, b=0.0, c=0.0)

    placed = [team.place(None) for _ in range(60)]

    counts = Counter(one.node for one in placed)
    assert all(one.crowded for one in placed)
    assert max(counts.values()) - min(counts.values()) <= 12


def test_every_placement_is_told_in_words() -> None:
    team = Team().with_nodes(a=1.0, b=0.5)
    placed = team.place("s")
    team.wait_s(30)
    team.say(a=1.0, b=0.5)
    team.place("s")

    told = team.placer.why(key("s"), team.now_ns)

    assert f"30 s ago on {placed.node}, because it is new" in told
    assert f"{placed.node} is up now" in told
    assert placed.words().startswith(f"on {placed.node}, because it is new; its model is loaded")


def test_what_is_told_names_a_node_that_fails_and_a_session_that_is_unknown() -> None:
    team = Team().with_nodes(a=1.0)
    team.place("s")

    team.fleet.failed("a", team.now_ns)
    down = team.placer.why(key("s"), team.now_ns)
    team.fleet.leave("a")
    gone = team.placer.why(key("s"), team.now_ns)

    assert "a is down now, so its next turn is placed anew" in down
    assert "has left" in gone
    assert "is not known" in team.placer.why(key("t"), team.now_ns)


def test_a_session_that_haproxy_placed_is_known_from_then_on() -> None:
    team = Team().with_nodes(a=1.0, b=1.0)

    team.placer.placed(key("s"), team.node("b").number, team.now_ns)

    assert team.place("s").node == "b"
    assert "on b" in team.placer.why(key("s"), team.now_ns)


def test_a_session_is_forgotten_after_its_time() -> None:
    team = Team().with_nodes(a=1.0)
    team.place("s")

    team.wait_s(3601)
    team.say(a=1.0)

    assert team.place("s").reason is Reason.NEW


def calls_of_a_placement(n_nodes: int) -> int:
    """Functions of Python that one placement calls. Unlike a time, the same on every machine."""
    team = Team().with_nodes(**{f"n{n}": 0.5 for n in range(n_nodes)})
    wanted = key("s")
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        team.placer.place_key(wanted, "m", team.now_ns)
    finally:
        sys.setprofile(None)
    return calls


def test_a_placement_costs_the_same_among_a_thousand_nodes_as_among_ten() -> None:
    few, many = calls_of_a_placement(10), calls_of_a_placement(1000)

    assert many <= few + 4
    assert many < 100


@pytest.mark.parametrize("most", [50, 1000])
def test_a_full_table_forgets_sessions_and_places_all(most: int) -> None:
    team = Team(settings=PolicySettings(most_sessions=most)).with_nodes(a=1.0, b=1.0)

    for n in range(3 * most):
        team.place(str(n))

    assert len(team.placer.sessions) == most
    assert team.placer.sessions.forgotten == 2 * most
