"""Writes an option with its value as a line of a configuration file that reads back to the same.

    shown_line(option, settings)  ->  scheduler.slice_ms: 250

A value is written by its kind, as `umad config example` writes it, and quoted where YAML would read
another text. Not: reading (`sources`), nor the file with all explanations (`sample`). Pure.
"""

from collections.abc import Iterable
from typing import Any

import yaml

from umad.config import Settings
from umad.configuration.options import ALIASES, APPS, KEEP, LISTS, MODEL, QOS, Option

_NULL = "null"


def shown_line(option: Option, settings: Settings) -> str:
    """The option's whole name and its value. `null` stands for what is unset."""
    return f"{option.name}: {_value(option, settings)}"


def _value(option: Option, settings: Settings) -> str:
    value: Any = settings
    for name in option.target:
        value = getattr(value, name)
    if option is QOS:
        lanes = settings.qos.items()
        return _map((name, f"{{priority: {o.priority}, floor: {o.floor!r}}}") for name, o in lanes)
    if option is APPS:
        return _map((rule.app, _rule(rule.lane, rule.latency_cap)) for rule in settings.apps)
    if option is ALIASES:
        return _map((pattern, _scalar(model)) for pattern, model in settings.http.aliases)
    if option is KEEP:
        times = [(pattern, option.kind.write(seconds)) for pattern, seconds in value]
        is_one = [pattern for pattern, _ in times] == ["*"]
        return _scalar(times[0][1]) if is_one else _map((p, _scalar(time)) for p, time in times)
    if option is MODEL or option in LISTS:
        return "[" + ", ".join(_scalar(one) for one in value) + "]"
    if value is None and option.kind.write is str:
        return _NULL
    return _scalar(option.kind.write(value))


def _rule(lane: str | None, latency_cap: float | None) -> str:
    parts = [] if lane is None else [f"lane: {_scalar(lane)}"]
    if latency_cap is not None:
        parts.append(f"latency_cap: {latency_cap!r}")
    return "{" + ", ".join(parts) + "}"


def _map(pairs: Iterable[tuple[str, str]]) -> str:
    # The order is kept: the first rule or alias that fits decides.
    return "{" + ", ".join(f"{_scalar(key)}: {value}" for key, value in pairs) + "}"


def _scalar(text: str) -> str:
    """The text as it is where YAML gives it back, in a list and behind a name, else in quotes."""
    if _is_plain(text):
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True)
    return quoted.removesuffix("\n")


def _is_plain(text: str) -> bool:
    """Whether YAML's own reading of the text, be it as a number or a switch, has the same text."""
    try:
        found = yaml.safe_load(f"[{text}]")
        # A "-" is a text in a list, and behind a name the beginning of one.
        named = yaml.safe_load(f"name: {text}")
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    if not isinstance(named, dict) or [*named.values()] != found:
        return False
    if not isinstance(found, list) or len(found) != 1 or found[0] is None:
        return False
    (one,) = found
    if isinstance(one, str):
        return one == text
    # "off" and "0x10" are read as other words, which a program may write in the place of these.
    return isinstance(one, int | float) and yaml.safe_dump(one).splitlines()[0] == text
