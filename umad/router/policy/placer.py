"""Places sessions on the nodes of a fleet, remembers them, and tells why they are where they are.

    place(asked, now_ns) -> Placement | Unplaced
    why(key, now_ns) -> str

A placement costs the same whatever the number of nodes and of sessions: some searches in a hash
table, two draws, and a comparison. Pure.
Not: what a node is (`umad.router.policy.node`), nor who is in the fleet.
Owner: the caller's thread.
"""

import difflib
import random

from umad.errors import BadRequest
from umad.router.policy.fleet import Fleet
from umad.router.policy.node import Node
from umad.router.policy.placement import Candidate, Placement, Reason, Tier, Unplaced
from umad.router.policy.session_key import Asked, session_key
from umad.router.policy.session_table import Entry, SessionTable
from umad.router.policy.settings import PolicySettings
from umad.units import NS_PER_S

_MOST_BYTE = 255
# An enum makes a new iterator with some effort each time.
_TIERS = tuple(Tier)
_KEY_DIGITS = 16
# A node with the requests that are open there.
_Drawn = tuple[Node, float]


class Placer:
    """The table of sessions beside a fleet."""

    def __init__(
        self, fleet: Fleet, *, settings: PolicySettings, rng: random.Random, began_ns: int = 0
    ) -> None:
        self._fleet = fleet
        self._settings = settings
        # Seconds in the table begin a lifetime before now, so that none is ever below 0.
        self._began_s = began_ns // NS_PER_S - 1
        self.sessions = SessionTable(
            most=settings.most_sessions, ttl_s=settings.session_ttl_s, rng=rng
        )

    def place(self, asked: Asked, now_ns: int) -> Placement | Unplaced:
        """The node for a request, by its session's key."""
        return self.place_key(session_key(asked), asked.model, now_ns)

    def place_key(self, key: str | None, model: str | None, now_ns: int) -> Placement | Unplaced:
        """The same for a key that is known: of a session that HAProxy has placed."""
        if key is None:
            return self._place_anew(None, 0, model, Reason.NEW, now_ns)
        digest, now_s = _digest(key), now_ns // NS_PER_S - self._began_s
        number = self.sessions.node(digest, now_s)
        if not number:
            return self._place_anew(key, digest, model, Reason.NEW, now_ns)
        node = self._fleet.numbered(number)
        if node is None or not node.health.keeps_known:
            return self._place_anew(key, digest, model, Reason.NODE_LOST, now_ns)
        tier = self._fleet.tier(node, model)
        if tier is None or (tier is not Tier.LOADED and self._fleet.has_loaded(model)):
            return self._place_anew(key, digest, model, Reason.MODEL_LEFT, now_ns)
        if node.full_since_ns is not None:
            moved = self._move(node, key, digest, model, now_ns)
            if moved is not None:
                return moved
        self.sessions.touch(digest, now_s)
        return Placement(
            node=node.name, number=node.number, reason=Reason.KNOWN, key=key, tier=tier
        )

    def placed(self, key: str, number: int, now_ns: int) -> None:
        """HAProxy has placed a session by itself, as its table says."""
        digest, now_s = _digest(key), now_ns // NS_PER_S - self._began_s
        node = self._fleet.numbered(number)
        if node is None:
            return
        if self.sessions.node(digest, now_s) == number:
            self.sessions.touch(digest, now_s)
            return
        node.sent(now_ns)
        self.sessions.put(
            digest,
            Entry(node=number, placed_s=now_s, seen_s=now_s, reason=int(Reason.NEW)),
        )

    def forget(self, key: str) -> None:
        """Forget a session, so that its next turn is placed anew."""
        self.sessions.drop(_digest(key))

    def why(self, key: str, now_ns: int) -> str:
        """Where a session is and why, in sentences for a person."""
        now_s = now_ns // NS_PER_S - self._began_s
        entry = self.sessions.entry(_digest(key), now_s)
        if entry is None:
            return (
                "This session is not known. It is new, it had no turn for "
                f"{self._settings.session_ttl_s} s, or its key is another one: the model and the "
                "API key are part of it."
            )
        node = self._fleet.numbered(entry.node)
        if node is None:
            return "Its node has left. Its next turn is placed anew."
        said = Placement(
            node=node.name,
            number=node.number,
            reason=Reason(entry.reason),
            candidates=self._noted(node, entry),
        ).words()
        ago = f"It was placed {now_s - entry.placed_s} s ago {said}."
        return f"{ago} {self._now(node, now_ns)}"

    # -- placing ------------------------------------------------------------------------------

    def _place_anew(
        self, key: str | None, digest: int, model: str | None, reason: Reason, now_ns: int
    ) -> Placement | Unplaced:
        fleet = self._fleet
        for roomy in (True, False):
            for tier in _TIERS:
                drawn = self._draw_two(model, tier, now_ns, roomy=roomy)
                if drawn is None:
                    continue
                return self._settle(
                    drawn, key, digest, model, tier, reason, now_ns, crowded=not roomy
                )
        if key is not None:
            self.sessions.drop(digest)
        if not any(True for _ in fleet.nodes()):
            return Unplaced(why="the fleet has no nodes")
        if not fleet.knows(model):
            return Unplaced(why=self._unknown(model), retryable=False)
        return Unplaced(
            why="no node takes new sessions: all that have the model are down, silent or draining"
        )

    def _draw_two(
        self, model: str | None, tier: Tier, now_ns: int, *, roomy: bool
    ) -> tuple[_Drawn, _Drawn] | None:
        """Two nodes, the one that takes it first: that with fewer open requests for its size. They
        may be the same one.

        The weight, by which they are drawn, says how full a node was at its last scorecard, and the
        requests say it now. To compare requests for their weight would count that load twice.
        """
        first = self._fleet.draw(model, tier, roomy=roomy)
        second = self._fleet.draw(model, tier, roomy=roomy)
        if first is None or second is None:
            return None
        a, b = (first, first.open_requests(now_ns)), (second, second.open_requests(now_ns))
        return (a, b) if (a[1] + 1) * second.size <= (b[1] + 1) * first.size else (b, a)

    def _settle(
        self,
        drawn: tuple[_Drawn, _Drawn],
        key: str | None,
        digest: int,
        model: str | None,
        tier: Tier,
        reason: Reason,
        now_ns: int,
        *,
        crowded: bool,
    ) -> Placement:
        (node, count), (other, other_count) = drawn
        self._fleet.sent(node, model, now_ns)
        if key is not None:
            now_s = now_ns // NS_PER_S - self._began_s
            self.sessions.put(
                digest,
                Entry(
                    node=node.number,
                    placed_s=now_s,
                    seen_s=now_s,
                    reason=reason,
                    other=other.number if other is not node else 0,
                    open=_byte(count),
                    other_open=_byte(other_count),
                ),
            )
        candidates = [Candidate(node=node.name, open=count, size=node.size)]
        if other is not node:
            candidates.append(Candidate(node=other.name, open=other_count, size=other.size))
        return Placement(
            node=node.name,
            number=node.number,
            reason=reason,
            key=key,
            tier=tier,
            candidates=tuple(candidates),
            crowded=crowded,
        )

    def _move(
        self, node: Node, key: str, digest: int, model: str | None, now_ns: int
    ) -> Placement | None:
        """Another node for a session whose own is full; None if it stays."""
        settings = self._settings
        if node.full_since_ns is None or node.moves_left < 1:
            return None
        idle_s, there_s = self.sessions.idle_s(digest, now_ns // NS_PER_S - self._began_s)
        is_cold = idle_s > settings.cold_s
        if not is_cold and (
            now_ns - node.full_since_ns < settings.move_after_ns or there_s < settings.settle_s
        ):
            return None
        drawn = self._draw_two(model, Tier.LOADED, now_ns, roomy=True)
        if drawn is None or drawn[0][0] is node:
            return None
        if drawn[0][0].room(now_ns) - node.room(now_ns) < settings.move_gain:
            return None
        node.moves_left -= 1
        return self._settle(
            drawn, key, digest, model, Tier.LOADED, Reason.MOVED, now_ns, crowded=False
        )

    # -- telling ------------------------------------------------------------------------------

    def _unknown(self, model: str | None) -> str:
        named = sorted(
            {
                one
                for node in self._fleet.nodes()
                for one in (*node.reading.loaded, *node.reading.loadable)
            }
        )
        near = difflib.get_close_matches(str(model), named, n=1)
        hint = f"did you mean {near[0]}?" if near else "`umad ls` on a node lists its models"
        return f"no node has the model {model}; {hint}"

    def _noted(self, node: Node, entry: Entry) -> tuple[Candidate, ...]:
        chosen = Candidate(node=node.name, open=entry.open, size=node.size)
        other = self._fleet.numbered(entry.other)
        if other is None:
            return (chosen,)
        return (chosen, Candidate(node=other.name, open=entry.other_open, size=other.size))

    def _now(self, node: Node, now_ns: int) -> str:
        """How its node is now."""
        if not node.health.keeps_known:
            return f"{node.name} is {node.health.value} now, so its next turn is placed anew."
        told = [f"{node.name} is {node.health.value}{' and draining' if node.draining else ''} now"]
        headroom = node.headroom
        told.append(
            f"it has {node.room(now_ns):.0%} of room ({headroom.narrowest} leaves least, "
            f"{headroom.least:.0%}); its weight is {node.weight} of 256"
        )
        told.append(f"its scorecard is {max(0, now_ns - node.reported_ns) / NS_PER_S:.0f} s old")
        if node.trust < 1:
            told.append(f"it is doubted: its answers were late, and {node.trust:.0%} of it counts")
        return "; ".join(told) + "."


def _digest(key: str) -> int:
    """The number under which a session stands in the table."""
    try:
        return int(key[:_KEY_DIGITS], 16)
    except ValueError:
        raise BadRequest("the session's key is not 64 hexadecimal digits", field="key") from None


def _byte(value: float) -> int:
    """A figure in a column of one byte; more than it can hold is the most."""
    return min(_MOST_BYTE, round(value))
