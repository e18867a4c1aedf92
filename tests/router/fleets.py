"""Fleets for tests: nodes that say simple things, on a clock that is a number."""

import random
from dataclasses import dataclass, field

from umad.router.policy import Asked, Fleet, Placement, Placer, PolicySettings, Reading, Unplaced
from umad.router.policy.node import Node
from umad.units import NS_PER_S

START_NS = 1_000 * NS_PER_S


def with_room(room: float, *, models: tuple[str, ...] = ("m",), running: int = 4) -> Reading:
    """The reading of a node whose narrowest part leaves so much room."""
    return Reading(kv_used=1 - room, loaded=frozenset(models), running=running)


@dataclass
class Team:
    """A fleet with its placer and its clock."""

    settings: PolicySettings = field(default_factory=PolicySettings)
    seed: int = 1
    now_ns: int = START_NS

    def __post_init__(self) -> None:
        self.fleet = Fleet(settings=self.settings, rng=random.Random(self.seed))
        self.placer = Placer(
            self.fleet,
            settings=self.settings,
            rng=random.Random(self.seed + 1),
            began_ns=self.now_ns,
        )

    def with_nodes(self, **rooms: float) -> "Team":
        """Nodes that are past their slow start, with so much room each."""
        for name in rooms:
            self.fleet.join(name, now_ns=self.now_ns)
        for _ in range(8):
            for name, room in rooms.items():
                self.fleet.reported(name, with_room(room), self.now_ns)
            self.now_ns += 5 * NS_PER_S
        self.say(**rooms)
        return self

    def say(self, **rooms: float) -> None:
        for name, room in rooms.items():
            self.fleet.reported(name, with_room(room), self.now_ns)

    def wait_s(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS_PER_S)

    def tick(self) -> None:
        self.fleet.tick(self.now_ns)

    def node(self, name: str) -> Node:
        return self.fleet.node(name)

    def ask(self, session: str | None, model: str | None = "m") -> Placement | Unplaced:
        return self.placer.place(Asked(model=model, session=session), self.now_ns)

    def place(self, session: str | None, model: str | None = "m") -> Placement:
        found = self.ask(session, model)
        assert isinstance(found, Placement), found
        return found
