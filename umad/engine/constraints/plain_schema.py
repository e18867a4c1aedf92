"""Rewrites a JSON schema for the compiler, without changing which JSON texts fit it. Pure.

Keywords that have no effect are left out. Others are said in words that the compiler knows. A
rewritten schema never takes a text that the schema refuses. What cannot be rewritten stays, and the
compiler refuses it by its name. Paths of properties and definitions stay as they are.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from umad.engine.constraints.schema_formats import is_compiled, pattern_of, without_lookahead

# Say something to people or programs, and nothing about which texts fit.
_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "example", "examples", "$comment", "deprecated"),
        *("readOnly", "writeOnly", "contentEncoding", "contentMediaType", "contentSchema"),
    )
)
# Hold values, not schemas; null is one of them.
_VALUES = frozenset(("const", "enum"))
_MAPS = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"))
_LISTS = frozenset(("anyOf", "allOf", "oneOf", "prefixItems"))
_SCHEMAS = frozenset(
    (
        *("items", "additionalItems", "additionalProperties", "not", "if", "then", "else"),
        *("contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_KNOWN_DRAFTS = "json-schema.org"
_LOCAL = "#/"
_COMBINED = frozenset(("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"))
_MOST_NAMES = 1000


def plain_schema(schema: Any) -> Any:
    """The schema in the compiler's words. Raises `RecursionError` where it is nested too deep."""
    return _Rewriting(schema).plain(schema)


class _Rewriting:
    """Rewrites the parts of one schema."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def plain(self, schema: Any) -> Any:
        if not isinstance(schema, dict):
            return schema
        out: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _ANNOTATIONS or (value is None and key not in _VALUES):
                continue
            if key in _MAPS and isinstance(value, dict):
                out[key] = {name: self.plain(one) for name, one in value.items()}
            elif key in _LISTS and isinstance(value, list):
                out[key] = [self.plain(one) for one in value]
            elif key in _SCHEMAS:
                inner = [self.plain(one) for one in value] if isinstance(value, list) else None
                out[key] = self.plain(value) if inner is None else inner
            else:
                out[key] = value
        _drop_what_says_nothing(out)
        _say_texts(out)
        self._say_names(out)
        self._say_one_of(out)
        return out

    def _say_names(self, out: dict[str, Any]) -> None:
        """`propertyNames` as `patternProperties`, where no property has a name of its own."""
        names = self.plain(self._resolved(out.get("propertyNames")))
        if not isinstance(names, dict):
            return
        if not names.keys() - {"type"} and names.get("type", "string") == "string":
            del out["propertyNames"]
            return
        pattern = _name_pattern(names)
        others = out.get("additionalProperties", True)
        if pattern is None or out.get("properties") or out.get("patternProperties"):
            return
        del out["propertyNames"]
        out["patternProperties"] = {pattern: others}
        out["additionalProperties"] = False

    def _say_one_of(self, out: dict[str, Any]) -> None:
        """`oneOf` as `anyOf`, where no text fits two of its alternatives."""
        either = out.get("oneOf")
        if not isinstance(either, list) or "anyOf" in out:
            return
        tag = out.get("discriminator")
        tag = tag.get("propertyName") if isinstance(tag, dict) else None
        known = [self._resolved(one) for one in either]
        if isinstance(tag, str) and _tells_apart(known, tag, needed=False):
            # A text without its tag would fit several alternatives, so the tag is asked for.
            either = [_with_required(one, tag) for one in either]
        elif not self._exclude_each_other(known):
            return
        del out["oneOf"]
        out["anyOf"] = either

    def _exclude_each_other(self, schemas: list[Any]) -> bool:
        types = [_types(one) for one in schemas]
        if all(types) and sum(map(len, types)) == len(frozenset[str]().union(*types)):
            return True
        first = schemas[0] if schemas and isinstance(schemas[0], dict) else {}
        properties = first.get("properties")
        names = properties if isinstance(properties, dict) else ()
        return any(_tells_apart(schemas, name, needed=True) for name in names)

    def _resolved(self, schema: Any) -> Any:
        """What a schema's own reference leads to, if it is nothing but a reference."""
        for _ in range(8):
            if not isinstance(schema, dict) or schema.keys() - _ANNOTATIONS != {"$ref"}:
                return schema
            schema = self._at(schema["$ref"])
        return schema

    def _at(self, reference: Any) -> Any:
        found = self._root
        if not isinstance(reference, str) or not reference.startswith(_LOCAL):
            return None
        for step in reference.removeprefix(_LOCAL).split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def _drop_what_says_nothing(out: dict[str, Any]) -> None:
    if out.get("uniqueItems") is False or _at_most_one(out):
        out.pop("uniqueItems", None)
    if "contains" not in out:
        out.pop("minContains", None)
        out.pop("maxContains", None)
    if "if" not in out or not out.keys() & {"then", "else"}:
        for key in ("if", "then", "else"):
            out.pop(key, None)
    for key in ("unevaluatedItems", "unevaluatedProperties"):
        if out.get(key) in (True, {}):
            del out[key]
    if out.get("unevaluatedProperties") is False and not out.keys() & _COMBINED:
        del out["unevaluatedProperties"]
        out.setdefault("additionalProperties", False)
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        if isinstance(out.get(key), dict) and not any(out[key].values()):
            del out[key]
    if out.get("not") is False:
        del out["not"]
    if out.get("propertyNames") in (True, {}):
        del out["propertyNames"]
    if "$schema" in out and _KNOWN_DRAFTS not in str(out["$schema"]):
        del out["$schema"]


def _at_most_one(out: Mapping[str, Any]) -> bool:
    most = out.get("maxItems")
    return isinstance(most, int | float) and most <= 1


def _say_texts(out: dict[str, Any]) -> None:
    """Formats as patterns, and pydantic's patterns without lookaheads."""
    pattern = out.get("pattern")
    if isinstance(pattern, str):
        out["pattern"] = without_lookahead(pattern)
    name = out.get("format")
    if name is None or (isinstance(name, str) and is_compiled(name)):
        return
    del out["format"]
    wanted = pattern_of(name) if isinstance(name, str) else None
    if wanted is None:
        return
    if "pattern" not in out:
        out["pattern"] = wanted
    else:
        others = out.get("allOf")
        out["allOf"] = [*(others if isinstance(others, list) else ()), {"pattern": wanted}]


def _name_pattern(names: Mapping[str, Any]) -> str | None:
    """A pattern of the names that a schema of names takes."""
    keys = names.keys() - {"type"}
    if keys == {"pattern"} and isinstance(names["pattern"], str):
        return names["pattern"]
    if keys == {"format"}:
        return pattern_of(names["format"])
    if keys and keys <= {"minLength", "maxLength"}:
        return rf"^[\s\S]{{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$"
    values = names.get("enum", [names.get("const")])
    if keys in ({"enum"}, {"const"}) and isinstance(values, list) and len(values) <= _MOST_NAMES:
        texts = [re.escape(one) for one in values if isinstance(one, str)]
        return f"^(?:{'|'.join(texts)})$" if texts else None
    return None


def _with_required(schema: Any, name: str) -> Any:
    others = [one for one in _required(schema) if one != name]
    return {**schema, "type": "object", "required": [*others, name]}


def _required(schema: Mapping[str, Any]) -> list[Any]:
    required = schema.get("required")
    return required if isinstance(required, list) else []


def _tells_apart(schemas: Iterable[Any], name: str, *, needed: bool) -> bool:
    """Whether the property has other constants in each schema. needed: it has to be there."""
    seen: set[tuple[type, Any]] = set()
    for schema in schemas:
        if not isinstance(schema, dict):
            return False
        properties = schema.get("properties")
        tag = properties.get(name) if isinstance(properties, dict) else None
        if not isinstance(tag, dict) or (needed and name not in _required(schema)):
            return False
        if needed and schema.get("type") != "object":
            return False
        values = [tag["const"]] if "const" in tag else tag.get("enum")
        if not isinstance(values, list):
            return False
        own = {(type(one), one) for one in values if isinstance(one, str | int)}
        if len(own) != len(values) or own & seen:
            return False
        seen |= own
    return bool(seen)


def _types(schema: Any) -> frozenset[str]:
    """The types that a schema names; none where it names none. A number is an integer, too."""
    named = schema.get("type") if isinstance(schema, dict) else None
    types = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    found = frozenset([one for one in types if isinstance(one, str)])
    return found | {"integer"} if "number" in found else found
