"""Tells how the fleet is, as values for a file, and of one session in sentences. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from umad.router.cards import team_card, team_models, team_requests
from umad.router.haproxy.answers import Place
from umad.router.members import Member
from umad.router.policy import Fleet
from umad.router.policy.health import Health
from umad.router.seams import Heard
from umad.units import MS_PER_S, NS_PER_S


def told_of_fleet(
    fleet: Fleet,
    members: Mapping[str, Member],
    heard: Mapping[str, Heard],
    *,
    models: Mapping[str, str],
    problems: Sequence[str],
    now_ns: int,
) -> dict[str, Any]:
    """All nodes, each with what counts for its weight. The fields are stable."""
    rows = []
    for name, member in members.items():
        node, said = fleet.node(name), heard.get(name)
        headroom = node.headroom
        has_told = said is not None and (said.reading is not None or node.reading.loaded)
        rows.append(
            joining_row(member)
            | {
                "state": node.health.value,
                "draining": node.draining,
                "weight": node.weight,
                "room": round(node.room(now_ns), 3) if has_told else None,
                "narrowest": headroom.narrowest if has_told else None,
                "narrowest_room": round(headroom.least, 3) if has_told else None,
                "trust": round(node.trust, 3),
                "slow": node.is_slow,
                "answer_ms": _rounded(node.answer_ms),
                "usual_answer_ms": _rounded(node.usual_ms),
                "open_requests": node.counted,
                "scorecard_age_s": (
                    round((now_ns - node.reported_ns) / NS_PER_S, 1) if has_told else None
                ),
                "models": sorted(node.reading.loaded),
                "problem": said.problem if said is not None else "",
            }
        )
    return {"nodes": rows, "models": dict(models), "problems": list(problems)}


def told_of_nodes(heard: Mapping[str, Heard]) -> dict[str, Any]:
    """What the nodes that answer tell of themselves, added up."""
    told = {name: one for name, one in heard.items() if one.reading is not None}
    return {
        "scorecard": team_card({name: one.card for name, one in told.items() if one.card}),
        "models": team_models({name: one.models for name, one in told.items()}),
        "requests": team_requests({name: one.requests for name, one in told.items()}),
    }


def joining_row(member: Member) -> dict[str, Any]:
    """The row of a member of which nothing is known yet."""
    return {
        "name": member.name,
        "number": member.number,
        "address": f"{member.host}:{member.port}",
        "kind": member.kind.value,
        "state": Health.JOINING.value,
        "draining": member.is_draining,
        "weight": 0,
        "room": None,
        "narrowest": None,
        "narrowest_room": None,
        "trust": 1.0,
        "slow": False,
        "answer_ms": None,
        "usual_answer_ms": None,
        "open_requests": None,
        "scorecard_age_s": None,
        "models": [],
        "problem": "",
    }


def why(place: Place | None, fleet: Mapping[str, Any], *, ttl_s: int) -> str:
    """Where a session is and why, in sentences.

    place: its entry in the stick table. fleet: what `told_of_fleet` told last.
    """
    if place is None:
        return (
            "No session with that key is known. It is new, it had no turn for "
            f"{ttl_s} s, or its key is another one: the model and the API key are part of it."
        )
    node = next((one for one in fleet["nodes"] if one["number"] == place.number), None)
    if node is None:
        return "Its node has left, so its next turn is placed anew."
    idle_s = max(0, ttl_s - place.expires_ms // 1000)
    name = node["name"]
    told = [f"It is on {name}, where its last turn was {idle_s} s ago and its cells are kept."]
    if node["state"] == "down":
        told.append(f"{name} is down, so its next turn is placed anew.")
        return " ".join(told)
    now = f"{name} is {node['state']}{' and draining' if node['draining'] else ''} now"
    if node["room"] is None:
        told.append(f"{now}, and has told nothing: {node['problem'] or 'it was not asked yet'}.")
        return " ".join(told)
    told.append(
        f"{now}; it has {node['room']:.0%} of room ({node['narrowest']} leaves least, "
        f"{node['narrowest_room']:.0%}), by a scorecard that is {node['scorecard_age_s']:.0f} s "
        f"old; new sessions come with a weight of {node['weight']} of 256."
    )
    if node["trust"] < 1:
        told.append(f"It is doubted: {_why_doubted(node)}, and {node['trust']:.0%} of it counts.")
    return " ".join(told)


def _why_doubted(node: Mapping[str, Any]) -> str:
    if not node["slow"]:
        return "its answers failed or were late"
    return (
        f"its answers began after {node['answer_ms'] / MS_PER_S:.1f} s, where by its claims "
        f"{node['usual_answer_ms'] / MS_PER_S:.1f} s would be usual"
    )


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
