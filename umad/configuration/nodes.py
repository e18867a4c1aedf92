"""Reads YAML nodes as configuration: their place, their value, and the name nearest to a wrong one.

Not: the list of options. Every error is a `BadConfig` that begins with its place. Pure.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from umad.configuration.kinds import ValueKind
from umad.configuration.options import Option
from umad.errors import BadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One option as one source gives it."""

    option: Option
    node: yaml.Node
    # The place to name when the option is wrong.
    at: str
    # The file whose lines the node's marks count; None for a variable or flag.
    path: Path | None = None

    def place(self, node: yaml.Node) -> str:
        """The place of a part of the value."""
        return self.at if self.path is None else line_of(self.path, node)


def line_of(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:  # `slice_ms` at the top is most likely `scheduler.slice_ms`
        near = [one for one in known if one.split(".")[-1] == name.split(".")[-1]][:1]
    return f"; did you mean {near[0]!r}?" if near else "; `umad config show` lists every key"


def scalar(name: str, kind: ValueKind, node: yaml.Node, one: Given) -> Any:
    text = node.value if isinstance(node, yaml.ScalarNode) else None
    try:
        if text is None:
            raise ValueError(node.tag)
        return kind.read(text)
    except ValueError:
        got = repr(text) if text is not None else "a list or map"
        raise BadConfig(
            f"{one.place(node)}: {name} must be {kind.wants}, not {got}", field=name
        ) from None


def pairs_of(name: str, node: yaml.Node, one: Given) -> list[tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise BadConfig(f"{one.place(node)}: {name} must be a map of keys to values", field=name)
    pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
    for at, (key, _) in enumerate(pairs):
        if any(key.value == before.value for before, _ in pairs[:at]):
            raise BadConfig(f"{one.place(key)}: {name}.{key.value} is given twice", field=name)
    return pairs
