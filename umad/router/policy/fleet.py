"""Keeps the members of a fleet, and draws among those that have a model. Pure.

    join  reported  failed  drain  leave    what happens to nodes
    counted  witnessed  timed               what the router sees of them
    tick                                    what time alone changes: called every second
    draw                                    nodes for a newcomer, by weight
    weights                                 what HAProxy gets, for one model's servers

A pool is the nodes that have one model, in one `Tier`. Each node is in the pools of all its models
with one and the same weight. There is also the pool of `None`, all nodes, for requests that name no
model.
Owner: the caller's thread.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from umad.errors import BadRequest
from umad.router.policy.health import Health
from umad.router.policy.node import Node
from umad.router.policy.placement import Tier
from umad.router.policy.reading import Reading
from umad.router.policy.settings import MOST_MODELS, MOST_NODES, PolicySettings
from umad.router.policy.weighted_draw import WeightedDraw

_MOST_NUMBER = (1 << 31) - 1
# Of 256, for a node of full size; below it a node counts as full.
_LEAST_ROOM = 8
# So many others are compared with a node: enough for a median, and few for each look.
_COMPARED = 32
# Steps of the weights of full nodes: few, so that they seldom change.
_PACES = 8


@dataclass(slots=True)
class _Pool:
    """The nodes of one model and tier, by slot. by_presence: those that take newcomers, each with
    weight 1, for when nobody has any room."""

    by_room: WeightedDraw = field(default_factory=WeightedDraw)
    by_presence: WeightedDraw = field(default_factory=WeightedDraw)
    n_nodes: int = 0


class Fleet:
    """The nodes. Names are unique; numbers are given once and never again."""

    def __init__(self, *, settings: PolicySettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._by_name: dict[str, Node] = {}
        self._by_number: dict[int, Node] = {}
        # None where a node has left and nobody has taken the slot.
        self._slots: list[Node | None] = []
        self._free: list[int] = []
        self._last_number = 0
        self._pools: dict[tuple[str | None, Tier], _Pool] = {}
        # Where each node is: its models with the tier.
        self._homes: dict[int, dict[str | None, Tier]] = {}
        # Nodes that were sent a model which they had not loaded, and until when they are believed
        # to be loading it.
        self._loading: dict[int, dict[str, int]] = {}
        # The answers that the router saw of all members, and those of them that were late.
        self._answers = self._late = 0.0
        # Models of nodes that got no pool, because there are too many.
        self.passed_over = 0

    # -- members ------------------------------------------------------------------------------

    def join(self, name: str, *, now_ns: int, size: float = 1.0, number: int | None = None) -> Node:
        """Take a node in; it gets sessions once it has reported.

        size: how much it can do, where the largest of the fleet is 1.
        number: its number of before, when the router itself was restarted.
        Raises BadRequest for a name or number that is taken, and for one node too many.
        """
        if name in self._by_name:
            raise BadRequest(f"a node is already called {name}; give this one another name")
        if len(self._by_name) >= MOST_NODES:
            raise BadRequest(f"the fleet has {MOST_NODES} nodes, and takes no more")
        if not 0 < size <= 1:
            raise BadRequest(f"the size of {name} is not above 0 and at most 1", field="size")
        if number is None:
            number = self._last_number + 1
        if not 0 < number <= _MOST_NUMBER or number in self._by_number:
            raise BadRequest(f"the number {number} of {name} is taken or not a number from 1")
        self._last_number = max(self._last_number, number)
        slot = self._free.pop() if self._free else len(self._slots)
        if slot == len(self._slots):
            self._slots.append(None)
        node = Node(
            name=name,
            number=number,
            slot=slot,
            size=size,
            settings=self._settings,
            reported_ns=now_ns,
        )
        self._slots[slot] = node
        self._by_name[name] = self._by_number[number] = node
        self._homes[number] = {}
        return node

    def leave(self, name: str) -> None:
        """A node is no member any more: its sessions are placed anew at their next turn."""
        node = self.node(name)
        node.left()
        self._put(node, 0)
        self._late -= node.late
        self._answers -= node.answers
        for model in list(self._homes[node.number]):
            self._unhome(node, model)
        del self._homes[node.number], self._by_name[name], self._by_number[node.number]
        self._loading.pop(node.number, None)
        self._slots[node.slot] = None
        self._free.append(node.slot)

    def reported(self, name: str, reading: Reading, now_ns: int) -> None:
        """A node's scorecard came. now_ns: when it was asked for, by this machine's clock."""
        node = self.node(name)
        if node.reported(reading, now_ns):
            self._rehome(node, now_ns)
            self._put(node, node.settled_weight(now_ns, rises=True))

    def counted(self, open_requests: Mapping[str, int]) -> None:
        """The requests that are open at each node as HAProxy counts them, every second or so. A
        name that is no member's is passed over: it may have left meanwhile."""
        for name, count in open_requests.items():
            node = self._by_name.get(name)
            if node is not None:
                node.opened(count)

    def witnessed(self, name: str, *, late: int, of: int, now_ns: int) -> None:
        """What the router itself saw of a node: of so many requests so many were late."""
        node = self.node(name)
        others_late, others = self._late - node.late, self._answers - node.answers
        node.witnessed(late=late, of=of, usual=others_late / others if others >= 1 else 0.0)
        self._late, self._answers = others_late + node.late, others + node.answers
        self._put(node, node.settled_weight(now_ns, rises=False))

    def timed(self, name: str, took_ms: float, now_ns: int) -> None:
        """How long the latest answers of a node took to begin, as the router saw it. They are
        compared with what others took lately, as much longer as this node says that its tokens
        take: an honest slow machine is as slow as it says."""
        node = self.node(name)
        others = [
            one for one in self._by_name.values() if one is not node and one.answer_ms is not None
        ]
        if len(others) > _COMPARED:
            others = self._rng.sample(others, _COMPARED)
        expected = [(one.answer_ms or 0.0) * _longer(node, one) for one in others]
        node.timed(took_ms, median(expected) if expected else None, now_ns)
        self._put(node, node.settled_weight(now_ns, rises=False))

    def failed(self, name: str, now_ns: int) -> None:
        """A connection to a node failed, or its health check: nobody is placed there."""
        node = self.node(name)
        node.failed(now_ns)
        self._put(node, 0)

    def drain(self, name: str, now_ns: int, *, wanted: bool = True) -> None:
        """Give a node no new sessions, or again some; those that it has stay."""
        node = self.node(name)
        node.draining = wanted
        self._put(node, 0 if wanted else node.settled_weight(now_ns, rises=True))

    def tick(self, now_ns: int) -> None:
        """Lower the weights of nodes whose scorecards grow old. Every second is often enough."""
        for node in self._by_name.values():
            node.forget_times(now_ns)
            if node.health is Health.UP:
                if now_ns - node.reported_ns > self._settings.silent_ns:
                    node.fell_silent()
                self._put(node, node.settled_weight(now_ns, rises=False))

    def node(self, name: str) -> Node:
        """The member of that name. Raises BadRequest where there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise BadRequest(f"no node is called {name}", field="node") from None

    def numbered(self, number: int) -> Node | None:
        """The member with that number; None when it has left."""
        return self._by_number.get(number)

    def nodes(self) -> Iterator[Node]:
        """All members."""
        return iter(self._by_name.values())

    # -- models -------------------------------------------------------------------------------

    def tier(self, node: Node, model: str | None) -> Tier | None:
        """What serving the model means for a node; None where it cannot."""
        return self._homes[node.number].get(model)

    def knows(self, model: str | None) -> bool:
        """Whether some member has the model, loaded or not."""
        return any((model, tier) in self._pools for tier in Tier)

    def has_loaded(self, model: str | None) -> bool:
        """Whether some member that takes newcomers has the model loaded."""
        pool = self._pools.get((model, Tier.LOADED))
        return pool is not None and pool.by_presence.total > 0

    def draw(self, model: str | None, tier: Tier, *, roomy: bool) -> Node | None:
        """One of the nodes that have the model: by weight, or (not roomy) each as likely as any
        other that takes newcomers. None where there is nobody."""
        pool = self._pools.get((model, tier))
        if pool is None:
            return None
        weights = pool.by_room if roomy else pool.by_presence
        if not weights.total:
            return None
        return self._slots[weights.draw(int(self._rng.random() * weights.total))]

    def sent(self, node: Node, model: str | None, now_ns: int) -> None:
        """A session was placed. A model that is not loaded there counts as loaded from now on, or
        everybody who wants it would have another node load it."""
        node.sent(now_ns)
        if model is None or self.tier(node, model) in (None, Tier.LOADED):
            return
        until_ns = now_ns + self._settings.loading_ns
        self._loading.setdefault(node.number, {})[model] = until_ns
        self._home(node, model, Tier.LOADED)

    def weights(self, model: str | None) -> dict[str, int]:
        """The weight of each node that has the model, for HAProxy's servers.

        As in a placement, nodes that have it loaded go first. Where none of them has room, one node
        that would have to load it gets its weight: several would all load it. Not all weights are 0
        as long as anybody takes newcomers: HAProxy would refuse them, and a full node only makes
        them wait.
        """
        found: dict[str, int] = {}
        by_tier: dict[Tier, list[Node]] = {tier: [] for tier in Tier}
        for node in self._by_name.values():
            tier = self._homes[node.number].get(model)
            if tier is not None:
                found[node.name] = 0
                by_tier[tier].append(node)
        for tier, nodes in by_tier.items():
            roomy = [node for node in nodes if node.weight]
            if not any(node.weight >= _LEAST_ROOM * node.size for node in roomy):
                # A remnant of room is none: all newcomers would go after it.
                continue
            if roomy and tier is not Tier.LOADED:
                roomy = [max(roomy, key=lambda node: node.weight)]
            if roomy:
                return found | {node.name: node.weight for node in roomy}
        for nodes in by_tier.values():
            present = [node for node in nodes if node.takes_new]
            if present:
                return found | _by_pace(present)
        return found

    def _rehome(self, node: Node, now_ns: int) -> None:
        """Put a node into the pools of the models that it says it has."""
        said = node.reading
        loading = self._loading.get(node.number, {})
        for model, until_ns in list(loading.items()):
            if model in said.loaded or now_ns > until_ns or model not in said.loadable:
                del loading[model]
        tiers: dict[str | None, Tier] = {None: Tier.LOADED}
        free = said.memory_free_bytes
        for model, need in said.loadable.items():
            fits = free is None or need <= free
            tiers[model] = Tier.FITS if fits else Tier.DISPLACES
        tiers |= dict.fromkeys((*said.loaded, *loading), Tier.LOADED)
        old = self._homes[node.number]
        if tiers == old:
            return
        for gone in [one for one in old if one not in tiers]:
            self._unhome(node, gone)
        for here, tier in tiers.items():
            self._home(node, here, tier)

    def _home(self, node: Node, model: str | None, tier: Tier) -> None:
        homes = self._homes[node.number]
        if homes.get(model) is tier:
            return
        if model in homes:
            self._unhome(node, model)
        pool = self._pools.get((model, tier))
        if pool is None:
            if model is not None and len(self._pools) >= MOST_MODELS:
                self.passed_over += 1
                return
            pool = self._pools[model, tier] = _Pool()
        homes[model] = tier
        pool.n_nodes += 1
        pool.by_room.put(node.slot, node.weight)
        pool.by_presence.put(node.slot, node.present)

    def _unhome(self, node: Node, model: str | None) -> None:
        tier = self._homes[node.number].pop(model)
        pool = self._pools[model, tier]
        pool.by_room.put(node.slot, 0)
        pool.by_presence.put(node.slot, 0)
        pool.n_nodes -= 1
        if not pool.n_nodes:
            del self._pools[model, tier]

    def _put(self, node: Node, weight: int) -> None:
        """Publish a node's weight, in all pools where it is."""
        present = int(node.takes_new)
        if (node.weight, node.present) == (weight, present):
            return
        node.weight, node.present = weight, present
        for model, tier in self._homes[node.number].items():
            pool = self._pools[model, tier]
            pool.by_room.put(node.slot, weight)
            pool.by_presence.put(node.slot, present)


def _by_pace(nodes: Sequence[Node]) -> dict[str, int]:
    """Weights of nodes that are all full. One where streams take more than twice as long as at the
    best gets nobody, until the others are as slow."""
    best = max(node.pace for node in nodes)
    return {
        node.name: max(1, round(_PACES * node.size * node.pace)) if 2 * node.pace >= best else 0
        for node in nodes
    }


def _longer(node: Node, other: Node) -> float:
    """How many times as long as another one's a node's answers take, by what both claim of a model
    that both have; else by their sizes."""
    shared = [
        ms / other.claimed_ms[model]
        for model, ms in node.claimed_ms.items()
        if other.claimed_ms.get(model)
    ]
    return sum(shared) / len(shared) if shared else other.size / node.size
