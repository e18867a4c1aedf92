"""Reads the fixtures of apps/, plays their steps, and holds the answers against them. Not a test.

A fixture is what an app sends and what it reads of the answer, written by hand from the app's own
source. Its parts:

    server    nano (a real daemon; the default) or scripted (says thinking, text and a call)
    expect    status, type (of the content), has (of a whole answer), stream (sse or lines);
              of a stream's events: every, some, last, joined (texts), kinds (types in their
              order), done (the end is marked), none (paths that no event has);
              keep (for later steps)
    asked     what the model was asked, where the service is scripted

A path goes through an answer by slashes: `choices/0/delta/content`; `*` is each of a list, -1 the
last. A wish is a value, or a word of `_WISHES` after a dollar. `{{name}}` stands for what was kept.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

FOLDER = Path(__file__).parent / "apps"
_MISSING = object()
_KEPT = re.compile(r"\{\{(\w+)\}\}")
_PARAMETER = re.compile(r'^(\S+)\s+((?:".*")|\S+)$')
_EXPECTS = {
    *("status", "type", "has", "stream", "every", "some", "last", "joined"),
    *("kinds", "done", "none", "keep"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of an app, and what the app needs of the answer."""

    name: str
    method: str
    path: str
    server: str = "nano"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    expect: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An app's fixture."""

    app: str
    reference: str
    steps: tuple[Step, ...]


def read_app(path: Path) -> App:
    """One fixture. A key that nobody reads is an error, because it would hold nothing."""
    given = yaml.safe_load(path.read_text())
    steps = tuple([Step(**one) for one in given.pop("steps")])
    for step in steps:
        unknown = step.expect.keys() - _EXPECTS
        assert not unknown, f"{path.name}: {step.name}: nobody reads {sorted(unknown)}"
        assert step.server == "scripted" or not step.asked, f"{path.name}: {step.name}: asked whom?"
    return App(**given, steps=steps)


def filled(value: Any, kept: Mapping[str, Any]) -> Any:
    """The value with what was kept in the places of `{{name}}`; other words in braces stay."""
    if isinstance(value, dict):
        return {name: filled(one, kept) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, kept) for one in value]
    if not isinstance(value, str):
        return value
    whole = _KEPT.fullmatch(value)
    if whole is not None and whole[1] in kept:
        return kept[whole[1]]
    return _KEPT.sub(lambda found: str(kept.get(found[1], found[0])), value)


# -- paths and wishes ------------------------------------------------------------------------------


def found_at(value: Any, path: str) -> list[Any]:
    """What stands at the path; `_MISSING` for each place that has nothing there."""
    places = [value]
    for step in path.split("/"):
        places = [one for place in places for one in _inside(place, step)]
    return places


def _inside(value: Any, step: str) -> Iterator[Any]:
    if step == "*":
        yield from value if isinstance(value, list | tuple) and value else [_MISSING]
    elif isinstance(value, dict):
        yield value.get(step, _MISSING)
    elif isinstance(value, list | tuple):
        at = int(step)
        yield value[at] if -len(value) <= at < len(value) else _MISSING
    else:
        yield getattr(value, step, _MISSING)


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_json_object(value: Any) -> bool:
    try:
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    except ValueError:
        return False


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_parameters(value: Any) -> bool:
    """As Continue takes the lines of a model's parameters apart."""
    return isinstance(value, str) and all(_PARAMETER.match(one) for one in value.splitlines())


def _numbers(version: Any) -> list[int]:
    return [int(one) for one in str(version).split(".")]


_WISHES: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str) and value != "",
    "string": lambda value: isinstance(value, str),
    "flag": lambda value: isinstance(value, bool),
    "count": lambda value: _is_whole(value) and value >= 0,
    "positive": lambda value: _is_whole(value) and value > 0,
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "numbers": lambda value: (
        isinstance(value, list) and value != [] and all(isinstance(one, float) for one in value)
    ),
    "time": _is_time,
    "json": _is_json_object,
    "ollama_parameters": _are_parameters,
}
_WISHES_ABOUT: dict[str, Callable[[Any, str], bool]] = {
    "has": lambda value, word: isinstance(value, str | list) and word in value,
    "begins": lambda value, word: isinstance(value, str) and value.lstrip().startswith(word),
    "at_least": lambda value, word: _numbers(value) >= _numbers(word),
}


def is_granted(wish: Any, value: Any) -> bool:
    """Whether the value is what an app needs there."""
    if value is _MISSING:
        return False
    if not isinstance(wish, str) or not wish.startswith("$"):
        return bool(value == wish) and isinstance(value, bool) == isinstance(wish, bool)
    name, colon, word = wish[1:].partition(":")
    return _WISHES_ABOUT[name](value, word) if colon else _WISHES[name](value)


def missed(wishes: Mapping[str, Any], value: Any) -> list[str]:
    """The wishes that the value does not grant, in words."""
    return [
        f"{path}: wanted {wish!r}, got {'nothing' if one is _MISSING else repr(one)}"
        for path, wish in wishes.items()
        for one in found_at(value, path)
        if not is_granted(wish, one)
    ]


# -- answers ---------------------------------------------------------------------------------------


def events_of(text: str, kind: str) -> tuple[list[Any], bool]:
    """The events of a stream, and whether its end is marked."""
    lines = [one for one in text.splitlines() if one and not one.startswith(":")]
    if kind == "lines":
        return [json.loads(one) for one in lines], True
    data = [one.removeprefix("data: ") for one in lines if one.startswith("data: ")]
    return [json.loads(one) for one in data if one != "[DONE]"], data[-1:] == ["[DONE]"]


def faults(expect: Mapping[str, Any], answer: httpx.Response) -> list[str]:
    """What an app would miss in an answer."""
    wanted = expect.get("status", 200)
    if answer.status_code != wanted:
        return [f"status {answer.status_code}, not {wanted}: {answer.text[:300]}"]
    told = answer.headers.get("content-type", "")
    of_type = [] if expect.get("type", "") in told else [f"content-type {told}"]
    if "stream" in expect:
        return of_type + _faults_of_stream(expect, *events_of(answer.text, expect["stream"]))
    return of_type + (missed(expect["has"], answer.json()) if "has" in expect else [])


def _faults_of_stream(expect: Mapping[str, Any], events: list[Any], is_marked: bool) -> list[str]:
    if not events:
        return ["no events"]
    found = [one for event in events for one in missed(expect.get("every", {}), event)]
    found += missed(expect.get("last", {}), events[-1])
    for wishes in expect.get("some", ()):
        if all(missed(wishes, event) for event in events):
            found.append(f"no event has {wishes}")
    for path, wish in expect.get("joined", {}).items():
        pieces = [one for event in events for one in found_at(event, path) if isinstance(one, str)]
        if not is_granted(wish, "".join(pieces)):
            found.append(f"{path}: wanted {wish!r} of {''.join(pieces)!r}")
    for path in expect.get("none", ()):
        found += [f"{path}: {event}" for event in events if found_at(event, path) != [_MISSING]]
    kinds = iter([event.get("type") for event in events])
    found += [f"no {one} in its place" for one in expect.get("kinds", ()) if one not in kinds]
    if expect.get("done") and not is_marked:
        found.append("the end is not marked by [DONE]")
    return found


def kept_of(expect: Mapping[str, Any], answer: httpx.Response) -> dict[str, Any]:
    """What later steps need of an answer without a stream."""
    keep = expect.get("keep", {})
    return {name: found_at(answer.json(), path)[0] for name, path in keep.items()}
