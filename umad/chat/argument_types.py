"""Finds an argument's types in its tool's JSON schema, for calls that write values without quotes.

Between tags, 5 may be a number or a text, and only the schema tells which. Pure.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

# Names of JSON schema's types.
Types = frozenset[str]
TEXT: Types = frozenset({"string"})
ANY_TYPE: Types = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
# References may lead to references; deeper ones are not followed, and then any type is allowed.
_MAX_DEPTH = 16
# The templates of some families show Python's words to the model.
_PYTHONS = {"True": "true", "False": "false", "None": "null"}


def types_of_argument(schema: Mapping[str, Any], key: str) -> Types:
    """The types of the property `key` of an object with this schema; any type where the schema does
    not say.
    """
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or key not in properties:
        return ANY_TYPE
    return types_of(properties[key], schema)


def types_of(given: object, root: Mapping[str, Any], depth: int = 0) -> Types:
    """The types that the schema `given` allows; `root` is the schema that its references point
    into.
    """
    given = resolved(given, root)
    if not isinstance(given, Mapping) or depth > _MAX_DEPTH:
        return ANY_TYPE
    named = given.get("type")
    if isinstance(named, str):
        return frozenset({named}) & ANY_TYPE or ANY_TYPE
    if isinstance(named, list):
        return frozenset(map(str, named)) & ANY_TYPE or ANY_TYPE
    for several in ("anyOf", "oneOf"):
        if isinstance(given.get(several), list) and given[several]:
            return frozenset().union(*(types_of(one, root, depth + 1) for one in given[several]))
    if isinstance(given.get("allOf"), list) and given["allOf"]:
        return ANY_TYPE.intersection(*(types_of(one, root, depth + 1) for one in given["allOf"]))
    values = given["enum"] if isinstance(given.get("enum"), list) else []
    if "const" in given:
        values = [given["const"]]
    return frozenset().union(*map(_types_of_value, values)) if values else ANY_TYPE


def resolved(given: object, root: Mapping[str, Any]) -> object:
    """The schema itself, or the one that it refers to; None if that is not in `root`."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(given, Mapping) or not isinstance(given.get("$ref"), str):
            return given
        given = _at(given["$ref"], root)
    return None


def _at(reference: str, root: Mapping[str, Any]) -> object:
    found: object = root
    if not reference.startswith("#/"):
        return None
    for name in reference[2:].split("/"):
        name = name.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def _types_of_value(value: object) -> Types:
    match value:
        case None:
            return frozenset({"null"})
        case bool():
            return frozenset({"boolean"})
        case int() | float():
            whole = {"integer"} if value == int(value) else set()
            return frozenset({"number"} | whole)
        case str():
            return TEXT
        case list():
            return frozenset({"array"})
        case _:
            return frozenset({"object"})


def as_json(text: str, types: Types) -> str:
    """The JSON of a value without quotes: its meaning as one of `types`, else the text itself."""
    bare = text.strip()
    if bare in _PYTHONS and _types_of_value(json.loads(_PYTHONS[bare])) & types:
        return _PYTHONS[bare]
    try:
        value = json.loads(bare, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    # A bare text is written without quotes, so quotes in it belong to the text.
    is_meant = not isinstance(value, str) and bool(_types_of_value(value) & types)
    return bare if is_meant else json.dumps(text, ensure_ascii=False)


def _no_json(name: str) -> NoReturn:
    raise ValueError(name)
