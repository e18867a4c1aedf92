"""What HAProxy is told so that its pools are as they should be: on a small model of HAProxy."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.router.model_haproxy import Haproxy
from umad.router.haproxy import Front, Pool, Proxy, Tls
from umad.router.haproxy.answers import PoolServer
from umad.router.pools import (
    ALL,
    Spot,
    WantedServer,
    leaving,
    model_commands,
    pools_of_models,
    server_commands,
    settled_weights,
    spare_pools,
)

PROXY = Proxy(
    front=Front(host="127.0.0.1", port=80),
    tls=Tls(own_path="/own.pem", authority_path="/ca.pem"),
    admin_path="/admin.sock",
    models_path="/models.map",
    pools=(Pool(name=ALL), Pool(name="m1")),
    default_pool=ALL,
)
A = WantedServer(name="a", number=1, host="10.0.0.1", port=443, weight=100)


def mended(haproxy: Haproxy, *wanted: WantedServer, busy: tuple[Spot, ...] = ()) -> list[str]:
    """HAProxy after one look; the commands that it was given."""
    pools = {ALL: list(wanted), "m1": []}
    lines = server_commands(pools, haproxy.seen(), proxy=PROXY, busy=busy)
    for line in lines:
        haproxy.do(line)
    return lines


def test_a_member_is_added_once_with_its_weight_and_takes_sessions() -> None:
    haproxy = Haproxy()

    mended(haproxy, A)
    again = mended(haproxy, A)

    one = haproxy.servers[ALL, "a"]
    assert (one.number, one.host, one.port, one.weight) == (1, "10.0.0.1", 443, 100)
    assert not one.is_stopped
    assert again == []


def test_a_member_of_whom_nothing_is_known_is_left_to_haproxys_check() -> None:
    haproxy = Haproxy()

    mended(haproxy, replace(A, weight=None))
    first = haproxy.servers[ALL, "a"].weight
    mended(haproxy, replace(A, weight=70))
    mended(haproxy, replace(A, weight=None))

    assert first == 1
    assert haproxy.servers[ALL, "a"].weight == 70, "what is not known is left as it is"


def test_a_member_that_moves_keeps_its_server() -> None:
    haproxy = Haproxy()
    mended(haproxy, A)

    lines = mended(haproxy, replace(A, host="fd00::7", port=444))

    assert lines == ["set server all/a addr fd00::7 port 444"]


def test_somebody_who_leaves_drains_until_nothing_runs_there_and_loses_its_sessions() -> None:
    haproxy = Haproxy()
    mended(haproxy, A)

    mended(haproxy, busy=((ALL, "a"),))
    while_busy = haproxy.servers[ALL, "a"]
    mended(haproxy)

    assert while_busy.is_draining
    assert not while_busy.is_stopped
    assert haproxy.removed == [(ALL, "a")]
    assert set(haproxy.unpinned) == {1}


def test_somebody_who_leaves_for_too_long_is_cut() -> None:
    haproxy = Haproxy()
    mended(haproxy, A)
    mended(haproxy, busy=((ALL, "a"),))
    spots = {(ALL, "a")}

    for line in server_commands({ALL: []}, haproxy.seen(), proxy=PROXY, busy=spots, overdue=spots):
        haproxy.do(line)

    assert haproxy.removed == [(ALL, "a")]


def test_a_request_that_began_since_haproxy_was_asked_is_not_cut() -> None:
    haproxy = Haproxy()
    mended(haproxy, A)

    mended(haproxy)

    assert not haproxy.servers[ALL, "a"].is_stopped


def test_a_node_that_only_lost_a_model_keeps_its_sessions_of_others() -> None:
    haproxy = Haproxy()
    for line in server_commands({ALL: [A], "m1": [A]}, haproxy.seen(), proxy=PROXY):
        haproxy.do(line)

    for _ in range(2):
        mended(haproxy, A)

    assert haproxy.removed == [("m1", "a")]
    assert haproxy.unpinned == []


def test_another_machine_of_the_same_name_comes_after_the_old_one_has_left() -> None:
    haproxy = Haproxy()
    mended(haproxy, A)

    mended(haproxy, replace(A, number=2), busy=((ALL, "a"),))
    still = haproxy.servers[ALL, "a"].number
    mended(haproxy, replace(A, number=2))
    mended(haproxy, replace(A, number=2))

    assert still == 1
    assert haproxy.servers[ALL, "a"].number == 2


def test_what_somebody_changed_by_hand_is_mended() -> None:
    haproxy = Haproxy()
    mended(haproxy, A)
    haproxy.do("set server all/a state maint")
    haproxy.do("set server all/a weight 3")

    mended(haproxy, A)

    assert (haproxy.servers[ALL, "a"].is_stopped, haproxy.servers[ALL, "a"].weight) == (False, 100)


def test_the_server_that_only_carries_files_is_nobodys() -> None:
    files = PoolServer(
        pool="sessions",
        name="files",
        number=1,
        host="127.0.0.1",
        port=1,
        weight=1,
        is_draining=False,
        is_stopped=True,
    )

    assert server_commands({ALL: []}, [files], proxy=PROXY) == []
    assert leaving({ALL: []}, [files]) == set()


MEMBERS = st.dictionaries(
    st.sampled_from("abc"),
    st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(0, 256)), st.booleans()),
    max_size=3,
)


def _team(members: dict[str, tuple[int, int | None, bool]]) -> list[WantedServer]:
    """Members with numbers of their own."""
    made: list[WantedServer] = []
    for name, (first, weight, is_draining) in members.items():
        taken = {one.number for one in made}
        number = next(n for n in (first, *range(1, 9)) if n not in taken)
        made.append(replace(A, name=name, number=number, weight=weight, is_draining=is_draining))
    return made


@given(steps=st.lists(st.tuples(MEMBERS, st.sets(st.sampled_from("abc"))), min_size=1, max_size=8))
@settings(max_examples=150)
def test_whatever_is_wanted_comes_about_and_nothing_busy_is_taken_out(
    steps: list[tuple[dict[str, tuple[int, int | None, bool]], set[str]]],
) -> None:
    haproxy, wanted = Haproxy(), list[WantedServer]()
    for members, busy in steps:
        wanted = _team(members)
        haproxy.removed.clear()
        mended(haproxy, *wanted, busy=tuple((ALL, name) for name in busy))
        assert not [spot for spot in haproxy.removed if spot[1] in busy]

    for _ in range(4):
        mended(haproxy, *wanted)

    assert mended(haproxy, *wanted) == []
    found = {one.name: (one.number, one.is_draining) for one in haproxy.seen()}
    assert found == {one.name: (one.number, one.is_draining) for one in wanted}


# -- models ----------------------------------------------------------------------------------------


def test_a_model_keeps_its_pool_and_a_new_one_gets_a_free_one() -> None:
    pools = spare_pools(3)

    assert pools_of_models(["new", "old"], {"old": "m2", "gone": "m1"}, pools) == {
        "old": "m2",
        "new": "m1",
    }


def test_models_beyond_the_pools_and_names_that_no_map_can_hold_go_to_all_nodes() -> None:
    found = pools_of_models(["a", "b", "c", "with blank", "#x"], {}, spare_pools(2))

    assert found == {"a": "m1", "b": "m2"}


def test_two_models_in_one_pool_by_hand_are_parted() -> None:
    found = pools_of_models(["a", "b"], {"a": "m1", "b": "m1"}, spare_pools(2))

    assert found == {"a": "m1", "b": "m2"}


ADDED_CHANGED_GONE = (
    "add map /models.map a m1",
    "set map /models.map b m2",
    "del map /models.map c",
)


def test_the_map_is_mended_and_what_nobody_has_is_taken_out() -> None:
    lines = model_commands({"a": "m1", "b": "m2"}, {"b": "m1", "c": "m2"}, proxy=PROXY)

    assert lines == [
        "add map /models.map a m1",
        "set map /models.map b m2",
        "del map /models.map c",
    ]
    assert model_commands({"a": "m1"}, {"a": "m1"}, proxy=PROXY) == []


@pytest.mark.parametrize(
    ("weights", "pushed"),
    [
        ({"a": 0, "b": 3}, {"a": 0, "b": 3}),
        ({"a": 0, "b": 0}, {"a": None, "b": None}),
        ({}, {}),
    ],
)
def test_a_pool_in_which_nobody_takes_newcomers_keeps_its_weights(
    weights: dict[str, int], pushed: dict[str, int | None]
) -> None:
    """Else HAProxy would refuse all new sessions where one process can ask nobody."""
    assert settled_weights(weights) == pushed
