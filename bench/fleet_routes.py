"""Chooses nodes for the simulated fleet: the policy's own code, and what proxies do without it.

    umad              each new session placed by the policy, and pinned
    umad weights      HAProxy places: `random(2)` by the policy's weights, with its stick table
    round robin       each request to the next node, by the nodes' sizes
    least connections each request to where the fewest run for its size
    sticky least      the first request of a session to where the fewest run, the others after it
    prefix hash       a consistent hash of the session, by the nodes' sizes

All of them are told at once when a connection fails, and leave the node out until its health check
finds it alive, as HAProxy does. The sizes of the nodes are what a good administrator would write
into the configuration, so no contender is handicapped by not knowing them.
"""

import heapq
import random
import time
from typing import Any

import numpy as np
from typing_extensions import override

from bench.fleet_traffic import Floats
from bench.fleet_world import CAP, Route, Said
from umad.router.policy import Fleet, Placement, Placer, PolicySettings, Reading
from umad.router.policy.weighted_draw import WeightedDraw
from umad.units import NS_PER_S

MODEL = "m"
# The clock of the policy begins somewhere above 0.
_START_S = 10_000
_POINTS = 64
_SOLO_MS = 33.0


def _now_ns(now_s: int) -> int:
    return (_START_S + now_s) * NS_PER_S


def key_of(session: int) -> str:
    """A key as good as random, for numbers one after another (splitmix64)."""
    x = (session + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return f"{x ^ (x >> 31):016X}"


class _Proxy(Route):
    """What all proxies know: who is down, and what runs where."""

    def __init__(self, sizes: Floats) -> None:
        self._sizes = sizes
        self._down_until = np.zeros(sizes.size, np.int64)
        self._served = [0] * sizes.size
        self._now_s = 0

    def _is_up(self, node: int) -> bool:
        return bool(self._down_until[node] <= self._now_s)

    @override
    def ended(self, session: int, node: int, *, late: bool) -> None:
        self._served[node] -= 1

    @override
    def failed(self, node: int, now_s: int) -> None:
        self._served[node] -= 1
        # Nodes that fail are away for minutes; a check that comes too soon finds that out again.
        self._down_until[node] = now_s + 30

    @override
    def second(self, now_s: int, said: Said | None) -> None:
        self._now_s = now_s

    def _take(self, node: int) -> int:
        if node >= 0:
            self._served[node] += 1
        return node


class RoundRobin(_Proxy):
    """In turn, by size: HAProxy's `roundrobin` with weights."""

    def __init__(self, sizes: Floats) -> None:
        super().__init__(sizes)
        self._line = [(1 / size, node) for node, size in enumerate(sizes.tolist())]
        heapq.heapify(self._line)

    @override
    def choose(self, session: int, now_s: int) -> int:
        for _ in range(self._sizes.size):
            turn, node = heapq.heappop(self._line)
            heapq.heappush(self._line, (turn + 1 / float(self._sizes[node]), node))
            if self._is_up(node):
                return self._take(node)
        return -1


class LeastConnections(_Proxy):
    """To where the fewest run, by size."""

    def __init__(self, sizes: Floats) -> None:
        super().__init__(sizes)
        self._line = [(0.0, node) for node in range(sizes.size)]

    @override
    def choose(self, session: int, now_s: int) -> int:
        aside, found = [], -1
        while self._line:
            load, node = heapq.heappop(self._line)
            if load != self._load(node):
                continue  # an entry of before
            aside.append((load, node))
            if self._is_up(node):
                found = node
                break
        for entry in aside:
            heapq.heappush(self._line, entry)
        self._take(found)
        if found >= 0:
            heapq.heappush(self._line, (self._load(found), found))
        return found

    @override
    def ended(self, session: int, node: int, *, late: bool) -> None:
        super().ended(session, node, late=late)
        heapq.heappush(self._line, (self._load(node), node))

    @override
    def failed(self, node: int, now_s: int) -> None:
        super().failed(node, now_s)
        heapq.heappush(self._line, (self._load(node), node))

    def _load(self, node: int) -> float:
        return self._served[node] / float(self._sizes[node])


class StickyLeast(LeastConnections):
    """A session's first request to where the fewest run, and the others after it: HAProxy's
    `leastconn` with a stick table, the best that it does by itself."""

    def __init__(self, sizes: Floats) -> None:
        super().__init__(sizes)
        self._stick: dict[int, int] = {}

    @override
    def choose(self, session: int, now_s: int) -> int:
        node = self._stick.get(session, -1)
        if node >= 0 and self._is_up(node):
            self._take(node)
            heapq.heappush(self._line, (self._load(node), node))
            return node
        self._stick[session] = found = super().choose(session, now_s)
        return found


class PrefixHash(_Proxy):
    """A ring on which each node has points by its size; the next point's node that is up."""

    def __init__(self, sizes: Floats) -> None:
        super().__init__(sizes)
        rng: Any = np.random.default_rng(3)
        owners = np.repeat(np.arange(sizes.size), np.maximum(1, (_POINTS * sizes).astype(int)))
        points = rng.integers(0, 1 << 63, owners.size)
        order = np.argsort(points)
        self._points, self._owners = points[order], owners[order]

    @override
    def choose(self, session: int, now_s: int) -> int:
        at = int(np.searchsorted(self._points, int(key_of(session), 16) >> 1))
        for step in range(self._owners.size):
            node = int(self._owners[(at + step) % self._owners.size])
            if self._is_up(node):
                return self._take(node)
        return -1


class _Fleet(_Proxy):
    """The policy's fleet beside the proxy: it is told the scorecards, and what the proxy sees."""

    def __init__(self, sizes: Floats, settings: PolicySettings | None = None) -> None:
        super().__init__(sizes)
        self.settings = settings or PolicySettings()
        rng = random.Random(5)
        self.fleet = Fleet(settings=self.settings, rng=rng)
        self.placer = Placer(self.fleet, settings=self.settings, rng=rng, began_ns=_now_ns(0))
        self._names = [f"n{node}" for node in range(sizes.size)]
        self._by_name = {name: node for node, name in enumerate(self._names)}
        for name, size in zip(self._names, sizes.tolist(), strict=True):
            self.fleet.join(name, now_ns=_now_ns(0), size=size)
            self.fleet.reported(name, Reading(loaded=frozenset({MODEL})), _now_ns(0))
        self._loaded = frozenset({MODEL})
        self._seen = [[0, 0] for _ in self._names]

    @override
    def ended(self, session: int, node: int, *, late: bool) -> None:
        super().ended(session, node, late=late)
        self._seen[node][0] += late
        self._seen[node][1] += 1

    @override
    def failed(self, node: int, now_s: int) -> None:
        super().failed(node, now_s)
        self.fleet.failed(self._names[node], _now_ns(now_s))

    @override
    def second(self, now_s: int, said: Said | None) -> None:
        super().second(now_s, said)
        self.fleet.counted(dict(zip(self._names, self._served, strict=True)))
        if said is not None:
            self._hear(said, _now_ns(now_s))
        self.fleet.tick(_now_ns(now_s))

    def _hear(self, said: Said, now_ns: int) -> None:
        columns = (
            said.nodes,
            said.p95_over_solo,
            said.token,
            said.over_cap_pct,
            said.running,
            said.waiting,
            said.traffic,
            said.kv_used,
        )
        for node, p95, token, beyond, running, waiting, moved, kv in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            late, of = self._seen[node]
            self._seen[node] = [0, 0]
            self.fleet.witnessed(
                self._names[node],
                late=late,
                of=of,
                now_ns=now_ns,
            )
            reading = Reading(
                latency_cap=CAP,
                p95_over_solo=p95,
                solo_ms=_SOLO_MS,
                token_ms_of={MODEL: _SOLO_MS * token} if running else {},
                over_cap_pct=beyond,
                bmt_gbps=moved,
                bmt_budget_gbps=1.0,
                running=running,
                waiting=waiting,
                kv_used=kv,
                loaded=self._loaded,
            )
            self.fleet.reported(self._names[node], reading, now_ns)


class Policy(_Fleet):
    """Every session placed by `Placer`; the time that it takes is counted."""

    def __init__(self, sizes: Floats, settings: PolicySettings | None = None) -> None:
        super().__init__(sizes, settings)
        self.placements = 0
        self.placing_ns = 0

    @override
    def choose(self, session: int, now_s: int) -> int:
        key, now_ns = key_of(session), _now_ns(now_s)
        began_ns = time.thread_time_ns()
        placed = self.placer.place_key(key, MODEL, now_ns)
        self.placing_ns += time.thread_time_ns() - began_ns
        self.placements += 1
        if not isinstance(placed, Placement):
            return -1
        return self._take(self._by_name[placed.node])


class Weights(_Fleet):
    """HAProxy by itself, with the weights that were pushed: what happens without any pin."""

    def __init__(self, sizes: Floats, settings: PolicySettings | None = None) -> None:
        super().__init__(sizes, settings)
        self._rng = random.Random(7)
        self._draw = WeightedDraw()
        self._stick: dict[int, int] = {}
        self.pushes = 0

    @override
    def second(self, now_s: int, said: Said | None) -> None:
        super().second(now_s, said)
        for name, weight in self.fleet.weights(MODEL).items():
            node = self._by_name[name]
            if self._draw.weight(node) != weight:
                self._draw.put(node, weight)
                self.pushes += 1

    @override
    def failed(self, node: int, now_s: int) -> None:
        super().failed(node, now_s)
        self._draw.put(node, 0)

    @override
    def choose(self, session: int, now_s: int) -> int:
        node = self._stick.get(session, -1)
        if node >= 0 and self._is_up(node):
            return self._take(node)
        if not self._draw.total:
            return -1
        one, other = (self._draw.draw(int(self._rng.random() * self._draw.total)) for _ in "12")
        node = min(one, other, key=lambda n: self._served[n] / max(1, self._draw.weight(n)))
        self._stick[session] = node
        return self._take(node)
