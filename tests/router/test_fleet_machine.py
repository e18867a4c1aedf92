"""A fleet driven at random: nodes join, drain, fail, lie, come back and leave, and sessions go on.

Whatever happens, no session is placed on a node that is known to be dead, and a session changes its
node only for a reason that is told.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from tests.router.fleets import Team
from umad.router.policy import Placement, PolicySettings, Reading, Reason
from umad.router.policy.health import Health
from umad.router.policy.placement import Tier
from umad.units import NS_PER_S

NAMES = [f"n{n}" for n in range(3)]
MODELS = ["m", "rare", None]
SESSIONS = [f"s{n}" for n in range(3)]
some_node = st.sampled_from(NAMES)


class FleetMachine(RuleBasedStateMachine):
    """What the test knows for itself: who failed, who drains, and where each session is."""

    def __init__(self) -> None:
        super().__init__()
        self.team = Team(settings=PolicySettings(session_ttl_s=10**6))
        self.members: set[str] = set()
        self.draining: set[str] = set()
        # Nodes that failed and have not been heard since.
        self.dead: set[str] = set()
        self.heard: set[str] = set()
        self.where: dict[tuple[str, str | None], Placement] = {}

    @initialize(n=st.integers(0, 3))
    def begin(self, n: int) -> None:
        for name in NAMES[:n]:
            self.join(name)
            self.report(name, room=1.0, has=Tier.LOADED, waiting=0)

    @rule(name=some_node)
    def join(self, name: str) -> None:
        if name not in self.members:
            self.team.fleet.join(name, now_ns=self.team.now_ns)
            self.members.add(name)

    @rule(
        name=some_node,
        room=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
        has=st.sampled_from([*Tier, None]),
        waiting=st.integers(0, 3),
    )
    def report(self, name: str, room: float, has: Tier | None, waiting: int) -> None:
        if name not in self.members:
            return
        loadable = {} if has is None else {"rare": 10}
        free = {Tier.FITS: 10, Tier.DISPLACES: 5}.get(has) if has is not None else None
        reading = Reading(
            kv_used=1 - room,
            waiting=waiting,
            running=4,
            loaded=frozenset({"m", "rare"} if has is Tier.LOADED else {"m"}),
            loadable=loadable if has is not Tier.LOADED else {},
            memory_free_bytes=free,
        )
        self.team.fleet.reported(name, reading, self.team.now_ns)
        if self.team.node(name).health is Health.UP:
            self.dead.discard(name)
            self.heard.add(name)

    @rule(name=some_node)
    def fail(self, name: str) -> None:
        if name in self.members:
            self.team.fleet.failed(name, self.team.now_ns)
            self.dead.add(name)

    @rule(name=some_node, wanted=st.booleans())
    def drain(self, name: str, wanted: bool) -> None:
        if name in self.members:
            self.team.fleet.drain(name, self.team.now_ns, wanted=wanted)
            (self.draining.add if wanted else self.draining.discard)(name)

    @rule(name=some_node, late=st.integers(0, 20))
    def be_found_out(self, name: str, late: int) -> None:
        if name in self.members:
            self.team.fleet.witnessed(name, late=late, of=20, now_ns=self.team.now_ns)

    @rule(name=some_node)
    def leave(self, name: str) -> None:
        if name in self.members:
            self.team.fleet.leave(name)
            for known in (self.members, self.draining, self.dead, self.heard):
                known.discard(name)

    @rule(seconds=st.sampled_from([0.1, 1, 5, 20, 70, 400]))
    def wait(self, seconds: float) -> None:
        self.team.wait_s(seconds)
        self.team.tick()

    @precondition(lambda self: bool(self.members))
    @rule()
    def everybody_asks(self) -> None:
        for session in (*SESSIONS, None):
            for model in MODELS:
                self.ask(session, model)

    def ask(self, session: str | None, model: str | None) -> None:
        fleet = self.team.fleet
        takers = {
            name
            for name in self.members
            if fleet.node(name).takes_new and fleet.tier(fleet.node(name), model) is not None
        }
        before = self.where.get((session, model)) if session is not None else None

        placed = self.team.ask(session, model)

        if not isinstance(placed, Placement):
            assert not takers, "somebody would have taken it"
            if session is not None:
                self.where.pop((session, model), None)
            return
        node = self.team.node(placed.node)
        assert placed.node not in self.dead
        assert placed.node in self.heard
        assert placed.number == node.number
        assert fleet.tier(node, model) is not None
        if placed.reason is not Reason.KNOWN:
            assert placed.node in takers
            assert placed.node not in self.draining
        if session is None:
            assert placed.reason is Reason.NEW
            return
        self.check_stay(before, placed, model)
        self.where[session, model] = placed
        assert placed.node in self.team.placer.why(str(placed.key), self.team.now_ns)

    def check_stay(self, before: Placement | None, placed: Placement, model: str | None) -> None:
        """A session changes its node only for the reason that is told."""
        if before is None:
            assert placed.reason is Reason.NEW
            return
        old = self.team.fleet.numbered(before.number)
        if placed.reason is Reason.KNOWN:
            assert placed.number == before.number
        elif placed.reason is Reason.NODE_LOST:
            assert old is None or not old.health.keeps_known
        elif placed.reason is Reason.MODEL_LEFT:
            assert old is not None
            assert self.team.fleet.tier(old, model) is not Tier.LOADED or placed.node == old.name
        else:
            assert placed.reason is Reason.MOVED
            assert old is not None
            assert old.full_since_ns is not None
            assert placed.node != old.name

    @invariant()
    def weights_are_what_haproxy_takes(self) -> None:
        for model in MODELS:
            weights = self.team.fleet.weights(model)
            takers = {name for name in weights if self.team.node(name).takes_new}
            assert all(0 <= weight <= 256 for weight in weights.values())
            assert all(name in takers for name, weight in weights.items() if weight)
            assert any(weights.values()) == bool(takers)

    @invariant()
    def nobody_new_goes_where_nobody_should(self) -> None:
        for name in self.members:
            node = self.team.node(name)
            if name in self.dead or name in self.draining or name not in self.heard:
                assert node.weight == 0
            if self.team.now_ns - node.reported_ns > 90 * NS_PER_S:
                assert node.weight <= 1

    @override
    def teardown(self) -> None:
        for name in sorted(self.members):
            self.leave(name)
        assert not self.team.fleet.weights("m")


FleetMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestFleet = pytest.mark.timeout(120)(FleetMachine.TestCase)
