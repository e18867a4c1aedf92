"""Chooses sessions that leave a node which has been at its cap for a while. Pure.

HAProxy does not ask where a session should go. So the sessions of a full node are looked at in its
stick table, and some of them are forgotten there: their next turn is placed as a new one, by
weight, and the full node has none. `umad.router.policy` says when that is worth it: their new node
reads all of them again.
"""

from collections.abc import Iterable, Sequence

from umad.router.haproxy.answers import Place
from umad.router.policy import Fleet, PolicySettings
from umad.router.policy.node import Node
from umad.router.policy.placement import Tier


def crowded_nodes(fleet: Fleet, settings: PolicySettings, now_ns: int) -> list[Node]:
    """Nodes some of whose sessions would be better off elsewhere."""
    nodes = list(fleet.nodes())
    best = max((one.room(now_ns) for one in nodes if one.takes_new and one.weight), default=0.0)
    return [
        one
        for one in nodes
        if one.full_since_ns is not None
        and now_ns - one.full_since_ns >= settings.move_after_ns
        and one.moves_left >= 1
        and best - one.room(now_ns) >= settings.move_gain
        and _is_replaceable(fleet, one)
    ]


def leaving_sessions(node: Node, places: Iterable[Place]) -> Sequence[str]:
    """The keys of the sessions that go: as many as the node may lose with one scorecard, and those
    that had a turn last, because they come back soonest. One that is never back relieves nobody.
    HAProxy forgets no session that has a request just now."""
    own = [one for one in places if one.number == node.number and not one.is_in_use]
    own.sort(key=lambda place: place.expires_ms, reverse=True)
    return [place.key for place in own[: node.moves_left]]


def _is_replaceable(fleet: Fleet, node: Node) -> bool:
    """Whether each model that it has loaded is loaded elsewhere too. The stick table does not say
    which model a session is of, and one whose model nobody else has would find no better place."""
    others = [one for one in fleet.nodes() if one is not node and one.takes_new and one.weight]
    return all(
        any(fleet.tier(one, model) is Tier.LOADED for one in others)
        for model in node.reading.loaded
    )
