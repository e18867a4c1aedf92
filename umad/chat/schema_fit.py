"""Says whether a value fits a JSON schema, where a doubt counts as no.

It decides whether a block of JSON in a reply is a call (`fenced`), on the loop that serves every
client. So its work is bounded whatever the schema says, which no library promises: a schema is a
stranger's, and one of thirty lines can ask for hours. A keyword that is not known to this module
and could refuse the value is a doubt. Pure. Not: grammars of schemas (`umad.engine.constraints`).
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from umad.chat.argument_types import resolved

# Schemas looked at for one value. The arguments of the largest tools need some hundred.
MAX_STEPS = 10_000
MAX_PATTERN_CHARS = 256
MAX_MATCHED_CHARS = 1024
# A repeated group that repeats or chooses inside, or a back-reference: these can take for ever.
_SLOW = re.compile(r"\([^)]*[*+{|][^)]*\)[*+{?]|\\[1-9]|\(\?")
_REPEATS = re.compile(r"[*+{]")
_MOST_REPEATS = 3
_DOUBTS = frozenset(
    (
        "patternProperties",
        "propertyNames",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
        "unevaluatedItems",
        "$dynamicRef",
        "$recursiveRef",
    )
)


class _DoubtError(Exception):
    """It cannot be said whether the value fits."""


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether `value` is known to fit `schema`."""
    try:
        return _Fitting(schema).fits(value, schema)
    except (_DoubtError, RecursionError, TypeError, ValueError, OverflowError):
        return False


class _Fitting:
    """One comparison. root: the schema into which references point."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def fits(self, value: Any, schema: Any) -> bool:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _DoubtError
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise _DoubtError
        if not _DOUBTS.isdisjoint(schema):
            raise _DoubtError
        if "$ref" in schema:
            target = resolved({"$ref": schema["$ref"]}, self._root)
            if target is None or not self.fits(value, target):
                return False
        return (
            _is_of_type(value, schema)
            and self._is_combined(value, schema)
            and (not isinstance(value, str) or _is_text(value, schema))
            and (not _is_number(value) or _is_in_range(value, schema))
            and (not isinstance(value, list) or self._is_list(value, schema))
            and (not isinstance(value, dict) or self._is_object(value, schema))
        )

    def _is_combined(self, value: Any, schema: Mapping[str, Any]) -> bool:
        counted: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
            ("allOf", lambda found, n: found == n),
            ("anyOf", lambda found, _: found > 0),
            ("oneOf", lambda found, _: found == 1),
        )
        for name, is_enough in counted:
            if name in schema:
                found = sum([self.fits(value, one) for one in schema[name]])
                if not is_enough(found, len(schema[name])):
                    return False
        if "not" in schema and self.fits(value, schema["not"]):
            return False
        if "if" in schema:
            then = "then" if self.fits(value, schema["if"]) else "else"
            return self.fits(value, schema.get(then, True))
        return True

    def _is_list(self, value: list[Any], schema: Mapping[str, Any]) -> bool:
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        if schema.get("uniqueItems") is True:
            written = [json.dumps(one, sort_keys=True) for one in value]
            if len(set(written)) < len(written):
                return False
        first = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        if isinstance(rest, list):  # older drafts
            first, rest = rest, schema.get("additionalItems", True)
        return all(
            self.fits(one, first[at] if at < len(first) else rest) for at, one in enumerate(value)
        )

    def _is_object(self, value: dict[str, Any], schema: Mapping[str, Any]) -> bool:
        n_keys = len(value)
        if not schema.get("minProperties", 0) <= n_keys <= schema.get("maxProperties", n_keys):
            return False
        if any(name not in value for name in schema.get("required", ())):
            return False
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return all(self.fits(one, known.get(name, others)) for name, one in value.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_of_type(value: Any, schema: Mapping[str, Any]) -> bool:
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted
    if names is not None and not any(_IS[name](value) for name in names if name in _IS):
        return False
    if "const" in schema and not _is_same(value, schema["const"]):
        return False
    return "enum" not in schema or any(_is_same(value, one) for one in schema["enum"])


_IS: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == int(value),
}


def _is_same(one: Any, other: Any) -> bool:
    """Equality of JSON values: true is not 1, and 1 is 1.0."""
    if _is_number(one) and _is_number(other):
        return bool(one == other)
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_text(value: str, schema: Mapping[str, Any]) -> bool:
    n_chars = len(value)
    if not schema.get("minLength", 0) <= n_chars <= schema.get("maxLength", n_chars):
        return False
    pattern = schema.get("pattern")
    if pattern is None:
        return True
    is_quick = (
        len(pattern) <= MAX_PATTERN_CHARS
        and n_chars <= MAX_MATCHED_CHARS
        and not _SLOW.search(pattern)
        and len(_REPEATS.findall(pattern)) <= _MOST_REPEATS
    )
    if not is_quick:
        raise _DoubtError
    try:
        return re.search(pattern, value) is not None
    except re.error:
        raise _DoubtError from None


def _is_in_range(value: float, schema: Mapping[str, Any]) -> bool:
    low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(low, bool) or isinstance(high, bool):  # older drafts
        raise _DoubtError
    step = schema.get("multipleOf")
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and (low is None or value > low)
        and (high is None or value < high)
        and (step is None or value % step == 0)
    )
