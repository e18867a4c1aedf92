import pytest

from umad.chat.argument_types import ANY_TYPE, as_json, types_of, types_of_argument

ROOT = {
    "properties": {
        "text": {"type": "string"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "size": {"$ref": "#/$defs/Size"},
        "both": {"type": ["integer", "boolean"]},
        "loop": {"$ref": "#/$defs/Loop"},
        "gone": {"$ref": "#/$defs/Gone"},
        "fixed": {"const": 3},
        "narrowed": {"allOf": [{"type": ["string", "null"]}, {"type": "string"}]},
    },
    "$defs": {"Size": {"enum": ["s", "l", None]}, "Loop": {"$ref": "#/$defs/Loop"}},
}


@pytest.mark.parametrize(
    ("key", "types"),
    [
        ("text", {"string"}),
        ("maybe", {"string", "null"}),
        ("size", {"string", "null"}),
        ("both", {"integer", "boolean"}),
        ("loop", ANY_TYPE),
        ("gone", ANY_TYPE),
        ("fixed", {"integer", "number"}),
        ("narrowed", {"string"}),
        ("unknown", ANY_TYPE),
    ],
)
def test_a_schema_says_what_an_argument_may_be(key: str, types: set[str]) -> None:
    assert types_of_argument(ROOT, key) == types


def test_a_schema_that_says_nothing_allows_anything() -> None:
    assert types_of(True, {}) == types_of({"type": "thing"}, {}) == ANY_TYPE


@pytest.mark.parametrize(
    ("bare", "types", "json"),
    [
        ("5", {"string"}, '"5"'),
        ("5", {"integer"}, "5"),
        (" 5\n", {"string", "number"}, "5"),
        ("5.0", {"integer"}, "5.0"),
        ("5.5", {"integer"}, '"5.5"'),
        ("null", {"string", "null"}, "null"),
        ("None", {"string", "null"}, "null"),
        ("None", {"string"}, '"None"'),
        ("True", {"boolean"}, "true"),
        ('{"a": 1}', {"object"}, '{"a": 1}'),
        ('{"a": 1', {"object"}, '"{\\"a\\": 1"'),
        ("NaN", {"number"}, '"NaN"'),
        ('"quoted"', {"string", "null"}, '"\\"quoted\\""'),
        ("[" * 100_000, {"array"}, '"' + "[" * 100_000 + '"'),
    ],
)
def test_a_bare_value_means_what_its_types_allow_and_else_its_text(
    bare: str, types: set[str], json: str
) -> None:
    assert as_json(bare, frozenset(types)) == json
