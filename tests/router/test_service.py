"""The router's service, on a model of HAProxy and nodes that say what a test wants."""

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.router.model_haproxy import ModelAdmin
from tests.router.test_pools import PROXY
from umad.errors import BadConfig, ProxyFailed
from umad.router.haproxy import Pool
from umad.router.members import Member
from umad.router.policy import PolicySettings, Reading
from umad.router.pools import ALL, spare_pools
from umad.router.seams import Heard, Surroundings
from umad.router.service import RouterService
from umad.units import NS_PER_S

POOLS = (Pool(name=ALL), *(Pool(name=name) for name in spare_pools(2)))


@dataclass
class Team:
    """A service with everything around it; time is a number."""

    now: int = 1_000 * NS_PER_S
    admin: ModelAdmin = field(default_factory=ModelAdmin)
    members: list[Member] = field(default_factory=list)
    # What nodes say; an exception is what asking them raises. Absent: they do not answer.
    says: dict[str, Reading | Exception] = field(default_factory=dict)
    begun: list[list[str]] = field(default_factory=list)
    told: Mapping[str, Any] = field(default_factory=dict)
    broken: bool = False
    # Whether HAProxy can be started, and when that was tried.
    begins: bool = True
    begun_ns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = self.another()

    def another(self) -> RouterService:
        """A process that begins."""
        return RouterService(
            replace(PROXY, pools=POOLS),
            admin=self.admin,
            watch=self,
            surroundings=Surroundings(
                members=self._members,
                stamp=lambda: (tuple(self.members), self.broken),
                begin=self._begin,
                publish=self._publish,
            ),
            clock=self,
            settings=PolicySettings(),
            rng=random.Random(1),
        )

    def now_ns(self) -> int:
        return self.now

    async def ask(self, member: Member) -> Heard:
        said = self.says.get(member.name)
        if isinstance(said, Exception):
            raise said
        return Heard(
            node=member.name,
            asked_ns=self.now,
            reading=said,
            host=member.host,
            problem="" if said is not None else "no answer",
        )

    def beats(self, n: int = 1) -> None:
        """So many seconds."""

        async def beat() -> None:
            for _ in range(n):
                await self.service.beat()
                await self.service.asked_once()
                self.now += NS_PER_S

        asyncio.run(beat())

    def weights(self, pool: str = ALL) -> dict[str, int]:
        seen = self.admin.haproxy.seen()
        return {one.name: one.weight for one in seen if one.pool == pool}

    def _members(self) -> Sequence[Member]:
        if self.broken:
            raise BadConfig("members.json is no list of nodes")
        return self.members

    async def _begin(self, members: Sequence[Member]) -> None:
        self.begun.append([one.name for one in members])
        self.begun_ns.append(self.now)
        if not self.begins:
            raise ProxyFailed("the address is taken")
        self.admin.state = "there"

    def _publish(self, told: Mapping[str, Any], nodes: Mapping[str, Any] | None = None) -> None:
        self.told = told


def member(name: str, number: int) -> Member:
    return Member(name=name, number=number, host=f"10.0.0.{number}", port=443)


def idle(*models: str) -> Reading:
    return Reading(loaded=frozenset(models or ("m",)))


FULL = replace(idle(), kv_used=1.0)


@pytest.fixture
def team() -> Team:
    made = Team(members=[member("a", 1), member("b", 2)], says={"a": idle(), "b": idle()})
    made.beats(60)
    return made


def test_idle_nodes_have_weight_and_their_model_a_pool(team: Team) -> None:
    assert team.weights() == {"a": 256, "b": 256}
    assert team.admin.models == {"m": "m1"}
    assert team.weights("m1") == {"a": 256, "b": 256}


def test_nothing_is_told_where_nothing_has_changed(team: Team) -> None:
    team.admin.told.clear()

    team.beats(20)

    assert team.admin.told == []


def test_a_process_that_begins_changes_nothing_before_all_were_asked(team: Team) -> None:
    before = list(team.admin.haproxy.seen())
    team.admin.told.clear()
    team.service = team.another()

    asyncio.run(team.service.beat())

    assert team.admin.told == []
    assert team.admin.haproxy.seen() == before


def test_a_process_that_begins_leaves_what_it_does_not_know_as_it_is(team: Team) -> None:
    team.says.clear()
    team.service = team.another()

    team.beats(30)

    assert team.weights() == {"a": 256, "b": 256}
    assert team.admin.models == {"m": "m1"}


def test_a_node_that_falls_silent_gets_no_new_sessions_as_long_as_others_talk(team: Team) -> None:
    del team.says["a"]

    team.beats(90)
    one_silent = team.weights()
    del team.says["b"]
    team.beats(90)

    assert one_silent["a"] == 0
    assert one_silent["b"] > 0
    assert team.weights()["b"] > 0, "with nobody talking, HAProxy's checks decide"


def test_a_node_whose_question_fails_in_an_unexpected_way_stops_nobody_else(team: Team) -> None:
    team.members.append(member("c", 3))
    team.says["c"] = RecursionError()
    team.says["a"] = FULL

    team.beats(20)

    assert team.weights()["a"] == 0
    row = next(row for row in team.told["nodes"] if row["name"] == "c")
    assert "not understood" in row["problem"]


def test_a_list_of_members_that_is_broken_takes_nobody_out(team: Team) -> None:
    team.broken = True
    team.beats(3)
    problems = team.told["problems"]
    team.broken = False
    team.beats(3)

    assert problems == ["members.json is no list of nodes"]
    assert team.weights() == {"a": 256, "b": 256}
    assert team.told["problems"] == []


def test_a_process_that_never_read_who_belongs_to_the_team_takes_nobody_out(team: Team) -> None:
    team.broken = True
    team.service = team.another()

    team.beats(5)

    assert team.weights() == {"a": 256, "b": 256}


def test_a_haproxy_that_is_gone_is_started_and_one_that_is_slow_is_not(team: Team) -> None:
    team.admin.state = "slow"
    team.beats(5)
    while_slow = list(team.begun)
    team.admin.state = "gone"
    team.beats(3)

    assert while_slow == []
    assert team.begun == [["a", "b"]]


def test_a_haproxy_that_does_not_start_is_tried_more_and_more_seldom(team: Team) -> None:
    team.begins = False
    team.admin.state = "gone"

    team.beats(100)

    tries_s = [at_ns // NS_PER_S for at_ns in team.begun_ns]
    pauses_s = [after - before for before, after in itertools.pairwise(tries_s)]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] > 10


def test_a_node_that_its_check_finds_dead_has_no_weight_and_comes_back(team: Team) -> None:
    team.admin.down.add((ALL, "a"))
    team.beats(2)
    dead = team.weights()
    team.admin.down.clear()
    team.beats(60)

    assert (dead["a"], dead["b"]) == (0, 256)
    assert team.weights()["a"] == 256


def test_a_model_that_nobody_has_any_more_loses_its_pool_to_the_next(team: Team) -> None:
    team.says = {"a": idle("m", "other"), "b": idle("other")}
    team.beats(10)
    both = dict(team.admin.models)
    team.says = {"a": idle("other", "third"), "b": idle("other")}
    team.beats(10)

    assert both == {"m": "m1", "other": "m2"}
    assert team.admin.models == {"other": "m2", "third": "m1"}
    assert team.weights("m1").keys() == {"a"}


def test_sessions_leave_a_node_that_stays_full_some_at_a_time(team: Team) -> None:
    team.admin.places = {f"{n:064X}": 1 for n in range(100)} | {f"{n:064X}": 2 for n in (200, 201)}
    team.says["a"] = replace(FULL, running=32)

    team.beats(55)
    at_first = len(team.admin.places)
    team.beats(15)
    left = [key for key in (f"{n:064X}" for n in range(100)) if key not in team.admin.places]

    assert at_first == 102
    assert 2 <= len(left) <= 8, "a sixteenth of its streams with each scorecard"
    assert left[:2] == [f"{0:064X}", f"{1:064X}"], "those that had a turn last"
    assert list(team.admin.places.values()).count(2) == 2


def test_sessions_stay_where_nobody_else_has_their_model(team: Team) -> None:
    team.admin.places = {f"{n:064X}": 1 for n in range(100)}
    team.says["a"] = replace(FULL, running=32, loaded=frozenset({"m", "rare"}))

    team.beats(90)

    assert len(team.admin.places) == 100
