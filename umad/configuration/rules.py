"""Reads lanes, the rules of apps, and those of how long models stay from YAML nodes.

    qos:  {background: {priority: 1, floor: 0.02}}
    apps: {code: interactive, zed: {latency_cap: 1.1}, /opt/index/*: {lane: background}}
    keep_alive: 30m, or {nano: -1, "*": 30m}

Pure; every error names its place.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from umad.config import AppRule, LaneSettings, Settings
from umad.configuration.kinds import CAP, FLOOR, KEEP_ALIVE, LANE, PRIORITY
from umad.configuration.model_options import KEEP
from umad.configuration.nodes import Given, hint, pairs_of, scalar
from umad.errors import BadConfig

_ALL_MODELS = "*"
_RULE = {"lane": LANE, "latency_cap": CAP}


def read_lanes(one: Given) -> dict[str, LaneSettings]:
    """The default lanes, changed by the source; a floor that is not stated stays the same."""
    lanes = dict(Settings().qos)
    for key, value in pairs_of("qos", one.node, one):
        lane: str = scalar("a lane", LANE, key, one)
        stated: dict[str, Any] = {}
        for inner, number in pairs_of(f"qos.{lane}", value, one):
            if inner.value not in ("priority", "floor"):
                near = hint(str(inner.value), ["priority", "floor"])
                raise BadConfig(
                    f"{one.place(inner)}: unknown key 'qos.{lane}.{inner.value}'{near}",
                    field=f"qos.{lane}",
                )
            kind = PRIORITY if inner.value == "priority" else FLOOR
            stated[inner.value] = scalar(f"qos.{lane}.{inner.value}", kind, number, one)
        if "priority" not in stated:
            raise BadConfig(
                f"{one.place(key)}: lane {lane!r} has no priority; give it one, "
                f"such as {{priority: 5}}",
                field=f"qos.{lane}.priority",
            )
        before = lanes.get(lane)
        lanes[lane] = LaneSettings(**({"floor": before.floor if before else 0.0} | stated))
    return lanes


def read_app_rules(one: Given) -> tuple[AppRule, ...]:
    """The rules in the order of the file; the first rule that fits an app decides."""
    rules = []
    for key, value in pairs_of("apps", one.node, one):
        name = f"apps.{key.value}"
        if isinstance(value, yaml.ScalarNode):
            rules.append(AppRule(app=str(key.value), lane=scalar(name, LANE, value, one)))
            continue
        stated: dict[str, Any] = {}
        for inner, node in pairs_of(name, value, one):
            if inner.value not in _RULE:
                near = hint(str(inner.value), list(_RULE))
                raise BadConfig(
                    f"{one.place(inner)}: unknown key '{name}.{inner.value}'{near}", field=name
                )
            stated[inner.value] = scalar(f"{name}.{inner.value}", _RULE[inner.value], node, one)
        if not stated:
            raise BadConfig(
                f"{one.place(key)}: {name} says nothing; give it a lane or a latency_cap",
                field=name,
            )
        rules.append(AppRule(app=str(key.value), **stated))
    return tuple(rules)


def read_keep_alive(one: Given) -> tuple[tuple[str, float], ...]:
    """How long models stay, by patterns of their names in the order of the source. A map that says
    nothing of all models leaves those to the default.
    """
    if not isinstance(one.node, yaml.MappingNode):
        return ((_ALL_MODELS, scalar("keep_alive", KEEP.kind, one.node, one)),)
    rules = [
        (str(key.value), scalar(f"keep_alive.{key.value}", KEEP_ALIVE, value, one))
        for key, value in pairs_of("keep_alive", one.node, one)
    ]
    if not any(pattern == _ALL_MODELS for pattern, _ in rules):
        rules += Settings().keep_alive
    return tuple(rules)


def check_app_lanes(one: Given, rules: tuple[AppRule, ...], lanes: Mapping[str, object]) -> None:
    """Raise `BadConfig` at the line of the first rule whose lane is not in `lanes`."""
    for rule, (key, _) in zip(rules, pairs_of("apps", one.node, one), strict=True):
        if rule.lane is not None and rule.lane not in lanes:
            near = hint(rule.lane, list(lanes))
            raise BadConfig(
                f"{one.place(key)}: app {rule.app!r} has no lane {rule.lane!r}; there are "
                f"{', '.join(sorted(lanes))}{near if near.startswith('; did') else ''}",
                field="apps",
            )
