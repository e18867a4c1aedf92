"""Whether a value fits a schema; a doubt counts as no, and no schema takes for ever."""

from typing import Any

import pytest

from umad.chat.schema_fit import fits

_DOUBLED: dict[str, Any] = {
    f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}, {"$ref": f"#/$defs/d{at + 1}"}]}
    for at in range(40)
}
ROWS: dict[str, tuple[dict[str, Any], Any, bool]] = {
    "anything": ({}, {"a": 1}, True),
    "a type": ({"type": "string"}, "x", True),
    "another type": ({"type": "string"}, 5, False),
    "one of two types": ({"type": ["string", "null"]}, None, True),
    "true is no number": ({"type": "integer"}, True, False),
    "a whole float is an integer": ({"type": "integer"}, 5.0, True),
    "half is no integer": ({"type": "integer"}, 5.5, False),
    "a type that does not exist": ({"type": "date"}, "x", False),
    "one of an enum": ({"enum": ["a", 1]}, 1, True),
    "none of an enum": ({"enum": ["a", 1]}, True, False),
    "a constant": ({"const": {"a": 1}}, {"a": 1}, True),
    "something required": ({"required": ["a"]}, {}, False),
    "something unknown allowed": ({"properties": {"a": {}}}, {"b": 1}, True),
    "something unknown forbidden": ({"additionalProperties": False}, {"b": 1}, False),
    "something unknown of a type": ({"additionalProperties": {"type": "null"}}, {"b": 1}, False),
    "inside": ({"properties": {"a": {"items": {"type": "null"}}}}, {"a": [None, 1]}, False),
    "a tuple": ({"prefixItems": [{"type": "null"}], "items": False}, [None], True),
    "a tuple too long": ({"prefixItems": [{"type": "null"}], "items": False}, [None, 1], False),
    "too few": ({"minItems": 1}, [], False),
    "twice the same": ({"uniqueItems": True}, [1, 1], False),
    "too long": ({"maxLength": 2}, "abc", False),
    "a pattern": ({"pattern": "^[A-Z]{3}$"}, "OSL", True),
    "not the pattern": ({"pattern": "^[A-Z]{3}$"}, "Oslo", False),
    "a pattern that could take for ever": ({"pattern": "^(a+)+$"}, "a" * 40 + "b", False),
    "a range": ({"minimum": 1, "exclusiveMaximum": 3}, 3, False),
    "a step": ({"multipleOf": 5}, 15, True),
    "any of": ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "x", True),
    "one of and both": ({"oneOf": [{}, {"type": "string"}]}, "x", False),
    "all of": ({"allOf": [{"type": "string"}, {"maxLength": 1}]}, "xy", False),
    "not": ({"not": {"type": "string"}}, "x", False),
    "if and then": ({"if": {"type": "string"}, "then": {"maxLength": 1}}, "xy", False),
    "a reference": ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, None, True),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, None, False),
    "a reference elsewhere": ({"$ref": "https://example.org/a.json"}, None, False),
    "a reference to itself": ({"$ref": "#"}, None, False),
    "a schema that doubles forty times": (
        {"$ref": "#/$defs/d0", "$defs": {**_DOUBLED, "d40": {}}},
        None,
        False,
    ),
    "annotations": ({"format": "date", "title": "x", "examples": [1], "x-y": 1}, "x", True),
    "what is not judged here": ({"patternProperties": {"a": {}}}, {}, False),
    "no schema": ({"properties": {"a": 5}}, {"a": 1}, False),
}


@pytest.mark.parametrize("meant", ROWS)
def test_a_value_fits_a_schema_or_not(meant: str) -> None:
    schema, value, wanted = ROWS[meant]

    assert fits(value, schema) is wanted
