"""Writes arguments as Lark grammars, in notations other than JSON: Gemma 4's, MiniMax M3's, LFM2's.

`literals` and `nested_tags` read them back. As in `tagged_grammars`, a text is held to its enum and
to nothing else; numbers are held to their whole schema; members come in the schema's order. Pure.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from umad.chat.argument_types import ANY_TYPE, resolved, types_of
from umad.chat.lark import CALLS, as_lark, json_value

# The most members and items where the schema names no number: so a weak model's call ends.
_MOST_MEMBERS = 16
_MOST_ITEMS = 64
# A schema that refers to itself, or goes deeper, allows any value from there on.
_MAX_DEPTH = 8
_ANY_TEXT = r"/(.|\n)*/"
_KEY = r'/[^<>=:,{}\[\]()"\n]{1,64}/'
_CONTAINERS = ("array", "object")
_SCALARS = ("integer", "number", "boolean", "null")
_ANY_SCALAR = {"type": ["number", "boolean", "null"]}


def python_arguments(rule: str, schema: Mapping[str, Any]) -> list[str]:
    """The lines that define `rule`: KEY=VALUE, … with values as JSON. Python's own literals differ
    from it in three words.
    """
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    lines: list[str] = []
    parts: list[tuple[str, bool]] = []
    for at, (key, given, is_required) in enumerate(_members(schema)):
        inner = given if isinstance(given, Mapping) else {}
        lines.append(f"{rule}p{at}: {json_value({**shared, **inner}, CALLS)}")
        parts.append((f"{as_lark(f'{key}=')} {rule}p{at}", is_required))
    if not parts:
        if schema.get("additionalProperties") is False:
            return [f'{rule}: ""']
        lines.append(f"{rule}v: {json_value({}, CALLS)}")
        return [*_unnamed(rule, f'{_KEY} "=" {rule}v', '", "'), *lines]
    return [*_joined(rule, parts, '", "'), *lines]


def marked_arguments(quote: str, rule: str, schema: Mapping[str, Any]) -> list[str]:
    """The lines that define `rule`: {KEY:VALUE,…} with `quote` around each text."""
    rules = _Marked(quote, rule, schema)
    rules.define(rule, schema, 0)
    return rules.lines


def nested_arguments(token: str, rule: str, schema: Mapping[str, Any]) -> list[str]:
    """The lines that define `rule`: <KEY>VALUE</KEY>…, with `token` before each tag."""
    rules = _Nested(token, rule, schema)
    return [f"{rule}: {rules.members(schema, 0)}", *rules.lines]


def _members(schema: Mapping[str, Any]) -> Iterator[tuple[str, object, bool]]:
    """Each property, its schema, and whether it is required."""
    properties = schema.get("properties")
    required = schema.get("required")
    for key, given in properties.items() if isinstance(properties, Mapping) else ():
        yield key, given, isinstance(required, list) and key in required


def _unnamed(rule: str, one: str, between: str) -> list[str]:
    """Any members."""
    return [f"{rule}: ({rule}m ({between} {rule}m){{0,{_MOST_MEMBERS - 1}}})?", f"{rule}m: {one}"]


def _joined(rule: str, parts: Sequence[tuple[str, bool]], between: str) -> list[str]:
    """Parts with `between` between those that are there. A rule has the parts from one on: f where
    it is the first that is there, and r where others stand before it.
    """
    lines = [f"{rule}: {rule}f0"]
    for at, (part, is_required) in enumerate(parts):
        follows = f"{rule}r{at + 1}"
        skipped = ("", "") if is_required else (f" | {rule}f{at + 1}", f" | {follows}")
        lines.append(f"{rule}f{at}: {part} {follows}{skipped[0]}")
        lines.append(f"{rule}r{at}: {between} {part} {follows}{skipped[1]}")
    last = len(parts)
    return [*lines, f'{rule}f{last}: ""', f'{rule}r{last}: ""']


def _choices(given: object, root: Mapping[str, Any], depth: int) -> list[tuple[str, Any]]:
    """What a schema allows, as (kind, its schema or the value itself): value, a name of a type, or
    any.
    """
    given = resolved(given, root)
    if not isinstance(given, Mapping) or depth > _MAX_DEPTH:
        return [("any", {})]
    values = [given["const"]] if "const" in given else given.get("enum")
    if isinstance(values, list) and values:
        if any(isinstance(one, dict | list) for one in values):
            return [("any", {})]
        return [("value", one) for one in values]
    for several in ("anyOf", "oneOf"):
        if isinstance(given.get(several), list) and given[several]:
            inner = [_choices(one, root, depth + 1) for one in given[several]]
            return list({repr(one): one for found in inner for one in found}.values())
    types = types_of(given, root)
    if types == ANY_TYPE or "allOf" in given:
        return [("any", {})]
    if len(types) == 1 or types == {"number", "integer"}:
        return [(max(types), given)]
    return [(kind, given if kind in _CONTAINERS else {"type": kind}) for kind in sorted(types)]


class _Marked:
    """Makes the rules of one call."""

    def __init__(self, quote: str, rule: str, root: Mapping[str, Any]) -> None:
        self._quote = quote
        self._rule = rule
        self._root = root
        self._n_rules = 0
        text = f"{rule}t"
        # A control token is no part of any text; letters are, unless the text ends with them.
        self.lines = (
            [f"{text}: {quote} {text}a {quote}", f"{text}a: {_ANY_TEXT}"]
            if quote.startswith("<")
            else [f"{text}: {quote} {text}a", f"{text}a[suffix={quote}]: {_ANY_TEXT}"]
        )
        self.lines += [
            f"{rule}v: {text} | {rule}s | {rule}o | {rule}l",
            f"{rule}s: {json_value(_ANY_SCALAR, CALLS)}",
            f'{rule}o: "{{" {rule}om "}}"',
            *_unnamed(f"{rule}om", f'{_KEY} ":" {rule}v', '","'),
            f'{rule}l: "[" ({rule}v ("," {rule}v){{0,{_MOST_ITEMS - 1}}})? "]"',
        ]

    def define(self, rule: str, schema: Mapping[str, Any], depth: int) -> None:
        """Define `rule` as an object of this schema."""
        parts = [
            (f"{as_lark(f'{key}:')} {self._value(given, depth + 1)}", is_required)
            for key, given, is_required in _members(schema)
        ]
        if parts:
            self.lines += [f'{rule}: "{{" {rule}m "}}"', *_joined(f"{rule}m", parts, '","')]
        elif schema.get("additionalProperties") is False:
            self.lines.append(f'{rule}: "{{" "}}"')
        else:
            self.lines.append(f"{rule}: {self._rule}o")

    def _value(self, given: object, depth: int) -> str:
        found = [
            self._of(kind, schema, depth) for kind, schema in _choices(given, self._root, depth)
        ]
        return f"({' | '.join(dict.fromkeys(found))})"

    def _of(self, kind: str, schema: Any, depth: int) -> str:
        if kind == "value":
            if not isinstance(schema, str):
                return as_lark(json.dumps(schema))
            words = f" {as_lark(schema)}" if schema else ""
            return f"{self._quote}{words} {self._quote}"
        if kind == "string":
            return f"{self._rule}t"
        if kind not in (*_SCALARS, *_CONTAINERS):
            return f"{self._rule}v"
        self._n_rules += 1
        rule = f"{self._rule}x{self._n_rules}"
        if kind == "object":
            self.define(rule, schema, depth)
        elif kind == "array":
            item = self._value(schema.get("items", {}), depth + 1)
            least, most = _bounds(schema)
            items = f'{item} ("," {item}){{{max(least - 1, 0)},{most - 1}}}' if most else '""'
            self.lines.append(f'{rule}: "[" {items if least else f"({items})?"} "]"')
        else:
            self.lines.append(f"{rule}: {json_value(schema, CALLS)}")
        return rule


def _bounds(schema: Mapping[str, Any]) -> tuple[int, int]:
    """The least and the most items of a list."""
    least, most = schema.get("minItems", 0), schema.get("maxItems", _MOST_ITEMS)
    least = least if isinstance(least, int) and 0 <= least <= _MOST_ITEMS else 0
    most = most if isinstance(most, int) and 0 <= most <= _MOST_ITEMS else _MOST_ITEMS
    return least, max(least, most)


class _Nested:
    """Makes the rules of one call."""

    def __init__(self, token: str, rule: str, root: Mapping[str, Any]) -> None:
        self._token = token
        self._rule = rule
        self._root = root
        self._n_rules = 0
        self.lines = [f"{rule}a: {_ANY_TEXT}"] if token.startswith("<") else []

    def members(self, schema: Mapping[str, Any], depth: int) -> str:
        """The members of an object of this schema."""
        parts = [
            part if is_required else f"({part})?"
            for key, given, is_required in _members(schema)
            for part in [self._tagged(key, given, depth + 1)]
        ]
        return " ".join(parts) or '""'

    def _tagged(self, key: str, given: object, depth: int) -> str:
        end = f"</{key}>"
        found = [
            self._of(kind, schema, end, depth)
            for kind, schema in _choices(given, self._root, depth)
        ]
        opening = f"{self._token} {as_lark(f'<{key}>')}"
        return f"{opening} ({' | '.join(dict.fromkeys(found))})"

    def _of(self, kind: str, schema: Any, end: str, depth: int) -> str:
        closing = f"{self._token} {as_lark(end)}"
        if kind == "value":
            word = schema if isinstance(schema, str) else json.dumps(schema)
            return f"{as_lark(word)} {closing}" if word else closing
        if kind == "object" and isinstance(schema.get("properties"), Mapping):
            return f"{self.members(schema, depth)} {closing}"
        if kind == "array":
            item = self._tagged("item", schema.get("items", {}), depth + 1)
            least, most = _bounds(schema)
            return f"({item}){{{least},{most}}} {closing}"
        self._n_rules += 1
        rule = f"{self._rule}x{self._n_rules}"
        if kind in _SCALARS:
            self.lines.append(f"{rule}: {json_value(schema, CALLS)} {closing}")
        elif self._token.startswith("<"):
            self.lines.append(f"{rule}: {self._rule}a {closing}")
        else:
            suffix = as_lark(json.loads(self._token) + end)
            self.lines.append(f"{rule}[suffix={suffix}]: {_ANY_TEXT}")
        return rule
