"""Which texts fit a schema once it is rewritten, tried on the compiler itself, byte by byte."""

import datetime
import json
import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from pydantic import TypeAdapter

from umad.chat.lark import COMPACT
from umad.engine.constraints.plain_schema import plain_schema
from umad.engine.constraints.schema_formats import pattern_of, without_lookahead

TOKENIZER = LLTokenizer("byte")


def flaw(schema: Any) -> str:
    """What the compiler says against the rewritten schema."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(plain_schema(schema)), defaults=cast(Any, COMPACT)
        )
    except ValueError as error:
        return str(error)
    return str(LLMatcher.validate_grammar(grammar, TOKENIZER))


def fits(schema: Any, value: Any) -> bool:
    """Whether the compact JSON of a value may be written under the rewritten schema."""
    grammar = LLMatcher.grammar_from_json_schema(
        json.dumps(plain_schema(schema)), defaults=cast(Any, COMPACT)
    )
    matcher = LLMatcher(TOKENIZER, grammar, log_level=0)
    text = json.dumps(value, separators=(",", ":")).encode()
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()


@pytest.mark.parametrize(
    "keyword",
    [
        {"title": "T"},
        {"description": "d"},
        {"default": "x"},
        {"examples": ["a"]},
        {"example": "a"},
        {"$comment": "c"},
        {"deprecated": True},
        {"readOnly": True},
        {"writeOnly": True},
        {"contentEncoding": "base64"},
        {"contentMediaType": "text/html"},
        {"contentSchema": {"not": {}}},
        {"$id": "https://example.com/a"},
        {"$schema": "https://example.com/own-draft"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"x-order": 3},
        {"nonsense": [1]},
        {"uniqueItems": False},
        {"minContains": 2},
        {"if": {"type": "string"}},
        {"then": {"type": "integer"}},
        {"else": False},
        {"not": False},
        {"propertyNames": True},
        {"propertyNames": {"type": "string"}},
        {"unevaluatedProperties": True},
        {"unevaluatedItems": {}},
        {"dependentRequired": {}},
        {"dependentSchemas": {}},
        {"dependencies": {"a": []}},
        {"pattern": None, "format": None, "items": None, "properties": None},
        {"format": "int32"},
        {"format": "password"},
        {"format": "binary"},
        {"format": "path"},
        {"format": "uri-reference"},
        {"format": "json-pointer"},
        {"format": "regex"},
        {"format": "whatever"},
    ],
    ids=str,
)
@pytest.mark.parametrize("inside", ["root", "property", "item", "definition", "alternative"])
def test_what_has_no_effect_on_a_text_is_left_out(keyword: dict[str, Any], inside: str) -> None:
    part = {"type": "string", **keyword}
    schemas: dict[str, tuple[Any, Any, Any]] = {
        "root": (part, "a", 1),
        "property": ({"type": "object", "properties": {"d": part}}, {"d": "a"}, {"d": 1}),
        "item": ({"type": "array", "items": part}, ["a"], [1]),
        "definition": ({"$ref": "#/$defs/d", "$defs": {"d": part}}, "a", 1),
        "alternative": ({"anyOf": [part, {"type": "null"}]}, "a", 1),
    }
    schema, good, bad = schemas[inside]

    assert fits(schema, good)
    assert not fits(schema, bad)


def test_properties_may_have_the_names_of_keywords() -> None:
    names = ["title", "format", "default", "uniqueItems", "not", "oneOf", "const", "$comment"]
    schema = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in names},
        "required": names,
    }

    assert fits(schema, dict.fromkeys(names, 1))
    assert not fits(schema, {})
    assert not fits(schema, dict.fromkeys(names, "a"))


def test_constants_keep_what_looks_like_a_keyword() -> None:
    value = {"title": None, "format": "x", "uniqueItems": False}

    assert fits({"const": value}, value)
    assert fits({"enum": [None, value]}, value)
    assert not fits({"const": value}, {})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2020-02-29", "2021-02-29"),
        ("date", "0001-01-01", "0000-01-01"),
        ("date", "2020-12-31", "2020-13-01"),
        ("time", "23:59:59Z", "23:59:60Z"),
        ("time", "12:00:00.5+01:00", "12:00:00"),
        ("date-time", "2020-01-01T00:00:00Z", "2020-01-01 00:00:00"),
        ("duration", "P1DT12H", "P"),
        ("duration", "P3W", "PT"),
        ("email", "a.b@example.org", "a@b"),
        ("hostname", "example.org", "-a"),
        ("ipv4", "1.2.3.4", "256.1.1.1"),
        ("ipv6", "::1", "1::2::3"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("uri", "https://example.org/a", "no uri"),
        ("ipvanyaddress", "10.0.0.1", "10.0.0"),
        ("ipv4network", "10.0.0.0/8", "10.0.0.0/33"),
        ("base64", "YWI=", "YWI"),
    ],
)
def test_known_formats_are_enforced(name: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": name, "minLength": 1}

    assert fits(schema, good)
    assert not fits(schema, bad)


def test_a_format_holds_beside_a_pattern() -> None:
    schema = {"type": "string", "format": "date", "pattern": "^2020"}

    assert fits(schema, "2020-02-29")
    assert not fits(schema, "2021-02-28")
    assert not fits(schema, "2020")


@given(st.dates())
def test_every_day_is_a_date(day: datetime.date) -> None:
    assert re.fullmatch(str(pattern_of("date")), day.isoformat())


@given(st.from_regex(str(pattern_of("date-time")), fullmatch=True, alphabet="0123456789-:TZ+."))
def test_every_time_that_may_be_written_can_be_read(text: str) -> None:
    TypeAdapter(datetime.datetime).validate_json(json.dumps(text))


@given(st.from_regex(str(pattern_of("duration")), fullmatch=True, alphabet="0123456789PTYMWDHS"))
def test_every_duration_that_may_be_written_can_be_read(text: str) -> None:
    TypeAdapter(datetime.timedelta).validate_json(json.dumps(text))


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", ["1", "-0.5", "12.75"], ["", "-", ".", "1e5"]),
        (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d{0,2}0*$", ["1", "1.25"], ["1.255", "x"]),
        (
            r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,4}|(?=[\d.]{1,7}0*$)\d{0,4}\.\d{0,2}0*$)",
            ["1234.56", "-7"],
            ["12345", "1.234"],
        ),
        (
            r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,3}|(?=[\d.]{1,4}0*$)\d*\.\d*0*$)",
            ["123", "1.25", "12.5"],
            ["1234", "12.34"],
        ),
    ],
)
def test_pydantics_patterns_of_decimals_are_enforced(
    pattern: str, good: list[str], bad: list[str]
) -> None:
    schema = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}]}

    assert all(re.search(pattern, one) for one in good), "the test's own table is wrong"
    assert [one for one in good if not fits(schema, one)] == []
    assert [one for one in bad if fits(schema, one)] == []


def test_other_patterns_stay_as_they_are() -> None:
    assert without_lookahead("^(?!x)a+$") == "^(?!x)a+$"
    assert "look-around" in flaw({"type": "string", "pattern": "^(?!x)a+$"})


@pytest.mark.parametrize(
    ("names", "good", "bad"),
    [
        ({"pattern": "^a"}, "ab", "ba"),
        ({"enum": ["x", "y z"]}, "y z", "z"),
        ({"const": "x."}, "x.", "xx"),
        ({"$ref": "#/$defs/names"}, "x", "z"),
        ({"format": "uuid"}, "123e4567-e89b-12d3-a456-426614174000", "a"),
        ({"format": "date"}, "2020-01-01", "a"),
        ({"minLength": 2, "maxLength": 3}, "ab", "a"),
    ],
)
def test_names_of_properties_are_enforced(names: Any, good: str, bad: str) -> None:
    schema = {
        "type": "object",
        "propertyNames": names,
        "additionalProperties": {"type": "integer"},
        "$defs": {"names": {"title": "Names", "enum": ["x", "y"], "type": "string"}},
    }

    assert fits(schema, {good: 1})
    assert not fits(schema, {bad: 1})
    assert not fits(schema, {good: "a"})


CAT: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"const": "cat", "default": "cat"}, "lives": {"type": "integer"}},
    "required": ["lives"],
    "additionalProperties": False,
}
DOG: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"const": "dog"}, "tricks": {"type": "integer"}},
    "required": ["tricks"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("needed", [False, True])
def test_a_union_with_a_tag_is_enforced_wherever_it_stands(needed: bool) -> None:
    cat, dog = [
        {**one, "required": ["kind", *one["required"]]} if needed else one for one in (CAT, DOG)
    ]
    union: dict[str, Any] = {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    if not needed:
        union["discriminator"] = {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}}
    schema = {
        "type": "object",
        "properties": {"pet": union, "pets": {"type": "array", "items": union}},
        "$defs": {"Cat": cat, "Dog": dog},
    }
    felix = {"kind": "cat", "lives": 9}

    assert fits(schema, {"pet": felix})
    assert fits(schema, {"pets": [felix, {"kind": "dog", "tricks": 1}]})
    assert not fits(schema, {"pet": {"kind": "dog", "lives": 9}})
    assert not fits(schema, {"pet": {"lives": 9}})


@pytest.mark.parametrize(
    "alternatives",
    [
        [{"type": "string"}, {"type": "integer"}],
        [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}}],
    ],
)
def test_one_of_other_types_is_enforced(alternatives: list[Any]) -> None:
    assert fits({"type": "object", "properties": {"a": {"oneOf": alternatives}}}, {"a": "x"})


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, "if"),
        ({"type": "array", "contains": {"type": "string"}}, "contains"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        (
            {"type": "object", "properties": {"a": {}}, "propertyNames": {"pattern": "^a"}},
            "propertyNames",
        ),
        ({"allOf": [{"type": "object"}], "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, "oneOf"),
    ],
)
def test_what_cannot_be_enforced_is_left_for_the_compiler_to_refuse(
    schema: dict[str, Any], word: str
) -> None:
    assert word in flaw({"type": "object", "properties": {"d": schema}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "properties", "oneOf", "format", "propertyNames", "$ref", "a"]
                )
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_what_is_no_schema_is_rewritten_without_an_error(schema: Any) -> None:
    once = plain_schema(schema)

    assert plain_schema(once) == once
