"""Simulates the nodes of a fleet, second by second, for whoever chooses nodes for requests. Numpy.

What a node does is simple and the same for all contenders:

    - Up to its number of streams, tokens come as to a stream that is alone. Beyond it, all wait
      longer; beyond twice that, requests wait in line.
    - A prompt is read beside the streams at a third of its speed, and they wait 1.15 times as long.
    - What a session said before is not read again, if its node still has it: the cells of a node
      hold so many tokens, and the oldest go first. A node that fails loses all.
    - Its owner uses it now and then, for ten minutes, and takes 60 % of it. No contender is told;
      the scorecard shows it, as it shows how long a token takes with all streams that run.

A request is beyond its cap when its reader waited more than 1.2 times as long as alone in more than
5 of 100 of its seconds, or for its first token 10 s more than what is new in its prompt takes
beside streams. Text that is read again is no excuse.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.fleet_traffic import MOST_STREAMS, TOKENS_PER_S, Floats, Ints, Scenario, Traffic, sizes

CAP, BEYOND, FIRST_S = 1.2, 0.05, 10.0
PROMPT_TOKENS_PER_S, BESIDE_STREAMS, BESIDE_PROMPTS = 1500.0, 0.35, 1.15
KEPT_TOKENS = 200_000.0
OWNER_EVERY_S, OWNER_STAYS_S, OWNER_TAKES = 3600, 600, 0.6
AWAY_S = (120, 600)
CONNECT_S, WINDOW_S = 2, 30
STALE_S = 30
HOURS = 24
# The 95th percentile of a window's seconds, by rank.
_P95 = 28
# Long after the day the last sessions still have turns.
_LAST_S = 3600


class Route(Protocol):
    """Chooses nodes. Called by the simulation alone."""

    def choose(self, session: int, now_s: int) -> int:
        """The node for a session's turn; -1 where there is none."""
        ...

    def ended(self, session: int, node: int, *, late: bool) -> None:
        """A turn is over."""
        ...

    def failed(self, node: int, now_s: int) -> None:
        """A connection to a node failed."""
        ...

    def second(self, now_s: int, said: "Said | None") -> None:
        """A second passed, and some nodes may have said something."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The scorecards that came in one second; arrays have an entry for each of `nodes`."""

    nodes: Ints
    p95_over_solo: Floats
    # The median wait for a token, where that of a node with little to do is 1.
    token: Floats
    over_cap_pct: Floats
    running: Ints
    waiting: Ints
    traffic: Floats
    kv_used: Floats


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a day. Shares are of 100; cut: ended by a node that failed."""

    requests: int
    beyond_cap_pct: float
    cut_pct: float
    hit_pct: float
    moved_pct: float
    imbalance: float
    first_p50_s: float
    first_p95_s: float
    refused: int
    # Hour by hour of the day, which is as long as the traffic takes: of the requests that ended,
    # those beyond their cap, of 100.
    beyond_by_hour: tuple[float, ...]


_FIELDS = ("session", "turn", "node", "prompt", "out", "due", "asked", "first", "seconds", "late")


class World:
    """One day of one fleet."""

    def __init__(self, scenario: Scenario, traffic: Traffic) -> None:
        self.scenario, self.traffic = scenario, traffic
        self._rng: Any = np.random.default_rng(scenario.seed + 1)
        n = scenario.nodes
        self.sizes = sizes(scenario)
        self._streams = self.sizes * MOST_STREAMS
        self._reads = self.sizes * PROMPT_TOKENS_PER_S
        self._back_s, self._owner_until_s = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._lies = self._rng.random(n) < scenario.lying
        self._is_stale = self._rng.random(n) < scenario.stale
        # Tokens that were ever kept by each node; a session's cells are gone when so many more
        # came since as the node holds, or when the node failed since.
        self._kept, self._epoch = np.zeros(n), np.zeros(n, np.int64)
        sessions = scenario.sessions
        self._last_node = np.full(sessions, -1, np.int64)
        self._mark, self._its_epoch = np.zeros(sessions), np.zeros(sessions, np.int64)
        self._history = np.zeros(sessions)
        self._turn = np.zeros(sessions, np.int64)
        self._active = {name: np.zeros(0) for name in _FIELDS}
        # Of the last seconds: waits above solo, by the owner; and whole waits.
        self._ratios, self._tokens = np.ones((WINDOW_S, n)), np.ones((WINDOW_S, n))
        self._running, self._waiting = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._told: list[Said] = []
        self._due: dict[int, list[int]] = {}
        order = np.argsort(traffic.begin_s, kind="stable")
        for session in order.tolist():
            self._due.setdefault(int(traffic.begin_s[session]), []).append(session)
        self._counts = dict.fromkeys(("ended", "beyond", "cut", "hits", "later", "moved"), 0)
        self._refused = 0
        self._first_s: list[NDArray[np.float64]] = []
        self._spread: list[tuple[float, float]] = []
        self._by_hour = np.zeros((HOURS, 2))

    def run(self, route: Route) -> Outcome:
        """The whole day, and until all turns are over."""
        now_s, last_s = 0, self.scenario.day_s * 3 + _LAST_S
        while now_s < last_s and (self._due or self._active["node"].size):
            self._troubles(now_s)
            self._said_of(now_s)
            route.second(now_s, self._heard(now_s))
            self._arrivals(route, now_s)
            self._compute(now_s)
            self._ends(route, now_s)
            now_s += 1
        return self._outcome()

    # -- a second -----------------------------------------------------------------------------

    def _troubles(self, now_s: int) -> None:
        n = self.scenario.nodes
        fails = self._rng.random(n) < self.scenario.failing_an_hour / 3600
        fails &= self._back_s <= now_s
        self._back_s[fails] = now_s + self._rng.integers(*AWAY_S, int(fails.sum()))
        self._epoch[fails] += 1
        comes = self._rng.random(n) < 1 / OWNER_EVERY_S
        self._owner_until_s[comes] = now_s + OWNER_STAYS_S

    def _said_of(self, now_s: int) -> None:
        every = self.scenario.report_s
        at = np.arange(self.scenario.nodes)
        due = np.where(self._is_stale, at % STALE_S == now_s % STALE_S, at % every == now_s % every)
        due &= self._back_s <= now_s
        nodes = np.flatnonzero(due)
        window = self._ratios[:, nodes]
        honest = ~self._lies[nodes]
        room = self._room(now_s)[nodes]
        self._told.append(
            Said(
                nodes=nodes,
                p95_over_solo=np.where(honest, np.sort(window, axis=0)[_P95], 1.0),
                token=np.where(honest, np.median(self._tokens[:, nodes], axis=0), 1.0),
                over_cap_pct=np.where(honest, 100 * (window > CAP).mean(axis=0), 0.0),
                running=np.where(honest, self._running[nodes], 0),
                waiting=np.where(honest, self._waiting[nodes], 0),
                traffic=np.where(honest, np.minimum(1, self._running[nodes] / room), 0.0),
                kv_used=np.where(honest, np.minimum(1, self._running[nodes] / (2 * room)), 0.0),
            )
        )

    def _heard(self, now_s: int) -> Said | None:
        """What arrives now: at once, or of stale nodes what they said half a minute ago."""
        fresh = _part(self._told[-1], ~self._is_stale[self._told[-1].nodes])
        if len(self._told) <= STALE_S:
            return fresh
        old = self._told.pop(0)
        return _joined(fresh, _part(old, self._is_stale[old.nodes]))

    def _arrivals(self, route: Route, now_s: int) -> None:
        rows = []
        for session in self._due.pop(now_s, ()):
            waited = 0
            node = route.choose(session, now_s)
            while node >= 0 and self._back_s[node] > now_s and waited < 10 * CONNECT_S:
                waited += CONNECT_S
                route.failed(node, now_s)
                node = route.choose(session, now_s)
            if node < 0:
                self._refused += 1
                continue
            rows.append(self._begin(session, node, now_s - waited))
        if rows:
            fresh = np.array(rows, dtype=np.float64).T
            for name, column in zip(_FIELDS, fresh, strict=True):
                self._active[name] = np.concatenate((self._active[name], column))

    def _begin(self, session: int, node: int, asked_s: int) -> tuple[float, ...]:
        at = int(self.traffic.first[session] + self._turn[session])
        prompt = float(self.traffic.prompt_tokens[at])
        before = int(self._last_node[session])
        if before >= 0:
            self._counts["later"] += 1
            self._counts["moved"] += before != node
            kept = self._kept[node] - self._mark[session] <= KEPT_TOKENS * self.sizes[node]
            if before == node and kept and self._its_epoch[session] == self._epoch[node]:
                self._counts["hits"] += 1
            else:
                prompt += self._history[session]
        new_s = self.traffic.prompt_tokens[at] / (self._reads[node] * BESIDE_STREAMS)
        due_s = asked_s + FIRST_S + float(new_s)
        out = float(self.traffic.out_tokens[at])
        return (session, at, node, prompt, out, due_s, asked_s, -1, 0, 0)

    def _room(self, now_s: int) -> Floats:
        owner = np.where(self._owner_until_s > now_s, 1 - OWNER_TAKES, 1.0)
        return np.asarray(np.maximum(1.0, self._streams * owner))

    def _compute(self, now_s: int) -> None:
        n, active, room = self.scenario.nodes, self._active, self._room(now_s)
        node = active["node"].astype(np.int64)
        runs = _rank(node) < (2 * room)[node]
        reads = runs & (active["prompt"] > 0)
        writes = runs & ~reads
        reading, writing = (
            np.bincount(node[reads], minlength=n),
            np.bincount(node[writes], minlength=n),
        )
        speed = self._reads * np.where(writing > 0, BESIDE_STREAMS, 1.0)
        active["prompt"] -= np.where(reads, (speed / np.maximum(1, reading))[node], 0.0)
        solo = np.maximum(1.0, writing / self._streams)
        solo *= np.where(reading > 0, BESIDE_PROMPTS, 1.0)
        above = np.maximum(1.0, writing / room) / np.maximum(1.0, writing / self._streams)
        ratio = solo * above
        active["out"] -= np.where(writes, (TOKENS_PER_S / ratio)[node], 0.0)
        active["first"] = np.where(writes & (active["first"] < 0), now_s, active["first"])
        active["seconds"] += writes
        active["late"] += writes & (ratio > CAP)[node]
        self._ratios[now_s % WINDOW_S], self._tokens[now_s % WINDOW_S] = above, ratio
        self._running = reading + writing
        self._waiting = np.bincount(node[~runs], minlength=n)
        if now_s % 10 == 0 and node.size:
            load = (
                np.bincount(node, minlength=n)[self._back_s <= now_s]
                / self._streams[self._back_s <= now_s]
            )
            self._spread.append((float(load.std()), float(load.mean())))

    def _ends(self, route: Route, now_s: int) -> None:
        active = self._active
        node = active["node"].astype(np.int64)
        cut = self._back_s[node] > now_s
        over = (active["out"] <= 0) | cut
        if not over.any():
            return
        ended = {name: active[name][over] for name in _FIELDS}
        self._active = {name: active[name][~over] for name in _FIELDS}
        late = ended["late"] > BEYOND * np.maximum(1, ended["seconds"])
        late |= np.where(ended["first"] < 0, now_s, ended["first"]) > ended["due"]
        was_cut = cut[over]
        self._first_s.append((ended["first"] - ended["asked"])[ended["first"] >= 0])
        hour = min(HOURS - 1, HOURS * now_s // self.scenario.day_s)
        self._by_hour[hour] += (int(late.sum()), late.size)
        self._counts["ended"] += late.size
        self._counts["beyond"] += int(late.sum())
        self._counts["cut"] += int(was_cut.sum())
        rows = (ended["session"], node[over], ended["turn"], late, was_cut)
        for session, at_node, turn, is_late, is_cut in zip(*rows, strict=True):
            route.ended(int(session), int(at_node), late=bool(is_late))
            self._next(int(session), int(at_node), int(turn), cut=bool(is_cut), now_s=now_s)

    def _next(self, session: int, node: int, at: int, *, cut: bool, now_s: int) -> None:
        """A turn is over: its text is part of the session, and the next one comes after a while."""
        said = float(self.traffic.prompt_tokens[at] + self.traffic.out_tokens[at])
        self._history[session] += said
        self._kept[node] += said
        self._mark[session] = self._kept[node] - self._history[session]
        self._last_node[session] = node
        self._its_epoch[session] = self._epoch[node] - cut
        self._turn[session] += 1
        if self._turn[session] < self.traffic.turns[session]:
            due_s = now_s + int(self.traffic.think_s[at])
            self._due.setdefault(due_s, []).append(session)

    def _outcome(self) -> Outcome:
        counts = self._counts
        first_s = np.concatenate(self._first_s) if self._first_s else np.zeros(1)
        beyond, ended = self._by_hour.T
        return Outcome(
            requests=counts["ended"],
            beyond_cap_pct=_pct(counts["beyond"], counts["ended"]),
            cut_pct=_pct(counts["cut"], counts["ended"]),
            hit_pct=_pct(counts["hits"], counts["later"]),
            moved_pct=_pct(counts["moved"], counts["later"]),
            imbalance=sum(one for one, _ in self._spread)
            / max(sum(m for _, m in self._spread), 1e-9),
            first_p50_s=float(np.percentile(first_s, 50)),
            first_p95_s=float(np.percentile(first_s, 95)),
            refused=self._refused,
            beyond_by_hour=tuple((100 * beyond / np.maximum(1, ended)).tolist()),
        )


def _pct(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def _rank(node: Ints) -> Ints:
    """For each request, how many before it are at its node. They stand in the order they came."""
    order = np.argsort(node, kind="stable")
    grouped = node[order]
    begins = np.flatnonzero(np.diff(grouped, prepend=-1))
    lengths = np.diff(begins, append=node.size)
    ranks = np.empty(node.size, np.int64)
    ranks[order] = np.arange(node.size) - np.repeat(begins, lengths)
    return ranks


def _part(said: Said, which: NDArray[np.bool_]) -> Said:
    return Said(**{f.name: getattr(said, f.name)[which] for f in dataclasses.fields(said)})


def _joined(one: Said, two: Said) -> Said:
    return Said(
        **{
            f.name: np.concatenate((getattr(one, f.name), getattr(two, f.name)))
            for f in dataclasses.fields(one)
        }
    )
