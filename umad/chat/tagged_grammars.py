"""Writes arguments between tags as a Lark grammar; `tagged` reads them back as an object.

The grammar holds a text to its enum and to nothing else (not to its pattern or length). It holds
every other value to its whole schema. Arguments come in the schema's order. Pure.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from umad.chat.argument_types import TEXT, Types, resolved, types_of
from umad.chat.lark import CALLS, as_lark, json_value

# The most arguments of an object whose schema names no properties: so a weak model's call ends.
_MOST_UNNAMED = 16
_ANY_TEXT = r"/(.|\n)*/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentTags:
    """Lark of what stands before a key, after it, at the end of a value (one literal or control
    token) and behind that. after: may depend on the types that the value may have.
    """

    before: str
    after: str | Callable[[Types], str]
    end: str
    behind: str

    def behind_key(self, types: Types) -> str:
        """What stands after the key of a value of these types."""
        return self.after if isinstance(self.after, str) else self.after(types)


def tagged_arguments(tags: ArgumentTags, rule: str, schema: Mapping[str, Any]) -> list[str]:
    """The lines that define `rule`: all arguments of a tool with this schema."""
    text = f"{rule}text"
    # A control token is no part of any text; letters are, unless the text ends with them.
    lines = (
        [f"{text}: {rule}any {tags.end}", f"{rule}any: {_ANY_TEXT}"]
        if tags.end.startswith("<")
        else [f"{text}[suffix={tags.end}]: {_ANY_TEXT}"]
    )
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        most = 0 if schema.get("additionalProperties") is False else _MOST_UNNAMED
        key = r'/[^<>"\n]{1,64}/'
        one = f"{tags.before} {key} {tags.behind_key(TEXT)} {text} {tags.behind}"
        return [f"{rule}: ({one}){{0,{most}}}" if most else f'{rule}: ""', *lines]
    required = schema.get("required")
    parts: list[str] = []
    for at, (key, given) in enumerate(properties.items()):
        value = f"{rule}p{at}"
        lines.append(f"{value}: {_value(given, schema, tags, text)}")
        after = tags.behind_key(types_of(given, schema))
        part = f"{tags.before} {as_lark(key)} {after} {value} {tags.behind}"
        is_required = isinstance(required, list) and key in required
        parts.append(part if is_required else f"({part})?")
    return [f"{rule}: {' '.join(parts)}", *lines]


def _value(given: object, root: Mapping[str, Any], tags: ArgumentTags, text: str) -> str:
    """One value with its end."""
    given = resolved(given, root)
    if "string" not in types_of(given, root):
        assert isinstance(given, Mapping)  # a schema that is not a mapping allows a text
        shared = {name: root[name] for name in ("$defs", "definitions") if name in root}
        return f"{json_value({**shared, **given}, CALLS)} {tags.end}"
    values = given.get("enum") if isinstance(given, Mapping) else None
    if isinstance(given, Mapping) and "const" in given:
        values = [given["const"]]
    if not isinstance(values, list) or not values:
        return text
    words = [one if isinstance(one, str) else json.dumps(one) for one in values]
    return f"({' | '.join(map(as_lark, words))}) {tags.end}"
