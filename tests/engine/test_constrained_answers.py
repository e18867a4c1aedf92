"""Answers that have to be something, from the model that ships, in a real engine."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.harness import Completion, RunningEngine, engine, submit
from umad import nano
from umad.chat.events import CallArguments, CallBegan, merged
from umad.chat.formats import ChatFormat
from umad.chat.reader import ReplyReader
from umad.conversation import ChatMessage, ChatOptions, Tool

RIDS = itertools.count(1)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SEARCH = Tool(
    name="search",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string", "maxLength": 10}},
        "required": ["query"],
        "additionalProperties": False,
    },
)
NOW = Tool(name='no"w', parameters={"type": "object", "additionalProperties": False})
BAD = Tool(name="bad", parameters={"type": "object", "properties": {"x": {"type": "strin"}}})
ASKED = (ChatMessage(role="user", content="Who is it?"),)


@pytest.fixture(scope="module")
def served() -> Iterator[RunningEngine]:
    with engine(nano.path(), kv_type="q8", ctx_size=4096) as running:
        running.ready()
        yield running


def answer(served: RunningEngine, kind: str, text: str, **fields: Any) -> Completion:
    values = {"temperature": 1.0, "max_tokens": 400, "prompt": "x = ", **fields}
    return served.generate(next(RIDS), constraint=(kind, text), **values)


def is_person(value: Any) -> bool:
    return (
        set(value) == {"name", "age", "tags"}
        and isinstance(value["name"], str)
        and len(value["name"]) <= 12
        and isinstance(value["age"], int)
        and 0 <= value["age"] <= 150
        and set(value["tags"]) <= {"a", "b"}
        and len(value["tags"]) <= 3
    )


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_of_a_schema_is_json_of_it(served: RunningEngine, seed: int) -> None:
    found = answer(served, "json_schema", json.dumps(PERSON), seed=seed, temperature=1.3)

    assert found.ending.reason == "stop", found.text[:300]
    assert is_person(json.loads(found.text))


_leaves = st.sampled_from(
    [
        {"type": "boolean"},
        {"type": "null"},
        {"type": "integer", "minimum": 0, "maximum": 99},
        {"type": "string", "maxLength": 4},
        {"enum": ["x", 1, None]},
        {"const": {"k": [1]}},
    ]
)
_schemas = st.recursive(
    _leaves,
    lambda inner: (
        st.dictionaries(st.sampled_from(["p", "q", 'r"']), inner, min_size=1, max_size=2).map(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        )
        | inner.map(lambda items: {"type": "array", "items": items, "maxItems": 2})
    ),
    max_leaves=4,
)


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Of the schemas made here, and no others."""
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    match schema["type"]:
        case "object":
            return (
                isinstance(value, dict)
                and value.keys() == schema["properties"].keys()
                and all(fits(one, value[key]) for key, one in schema["properties"].items())
            )
        case "array":
            return isinstance(value, list) and all(fits(schema["items"], one) for one in value)
        case "string":
            return isinstance(value, str) and len(value) <= schema["maxLength"]
        case "integer":
            return type(value) is int and 0 <= value <= 99
        case "boolean":
            return isinstance(value, bool)
        case _:
            return value is None


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schema=_schemas, seed=st.integers(0, 2**32), hot=st.booleans())
def test_whatever_the_schema_the_answer_is_of_it(
    served: RunningEngine, schema: dict[str, Any], seed: int, hot: bool
) -> None:
    text = json.dumps(schema)
    found = answer(served, "json_schema", text, seed=seed, temperature=2.0 if hot else 0.0)

    if found.ending.reason == "stop":
        assert fits(schema, json.loads(found.text))


@pytest.mark.parametrize(
    ("kind", "text", "pattern"),
    [
        ("regex", "[0-9]{3}-[a-f]{2}", r"\d{3}-[a-f]{2}"),
        ("gbnf", 'root ::= "yes" | "no" [x-z]', r"yes|no[x-z]"),
        ("lark", 'start: "a" /[bc]{4}/', r"a[bc]{4}"),
    ],
)
def test_an_answer_keeps_to_its_grammar(
    served: RunningEngine, kind: str, text: str, pattern: str
) -> None:
    found = answer(served, kind, text)

    assert found.ending.reason == "stop"
    assert re.fullmatch(pattern, found.text)


@pytest.mark.parametrize(
    ("kind", "text", "field"),
    [
        ("json_schema", '{"type": "strin"}', "json_schema"),
        (
            "json_schema",
            '{"type":"object","properties":{"a":{"type":"array","items":{"type":"strin"}}}}',
            "json_schema.properties.a.items",
        ),
        ("json_schema", '{"properties": {"a": {"not": {}}}}', "json_schema.properties.a"),
        ("json_schema", '{"$ref": "#/nowhere"}', "json_schema"),
        ("gbnf", "root ::= [a-", "grammar"),
        ("lark", "start: nothing", "grammar"),
        ("regex", "(a", "grammar"),
    ],
)
def test_what_cannot_be_compiled_is_refused_at_once_with_its_place(
    served: RunningEngine, kind: str, text: str, field: str
) -> None:
    refusal = served.generate(next(RIDS), prompt="x", constraint=(kind, text)).refusal

    assert (refusal.code, refusal.field) == ("bad_request", field)
    assert "cannot be compiled" in refusal.message


def test_constrained_and_free_answers_run_side_by_side(served: RunningEngine) -> None:
    free = served.generate(next(RIDS), prompt="def f", max_tokens=30)
    rids = [next(RIDS) for _ in range(4)]
    constraint = ("json_schema", json.dumps(PERSON))

    served.send(
        *[
            submit(
                rid, prompt="x", seed=rid, temperature=1.0, max_tokens=400, constraint=constraint
            )
            for rid in rids[:3]
        ],
        submit(rids[3], prompt="def f", max_tokens=30),
    )

    *people, other = served.finish(*rids)

    assert all(is_person(json.loads(one.text)) for one in people)
    assert other.ids == free.ids


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_an_answer_that_is_resumed_goes_on_in_its_grammar(served: RunningEngine, cut: int) -> None:
    whole = answer(served, "json_schema", json.dumps(PERSON), seed=3)

    rest = answer(served, "json_schema", json.dumps(PERSON), seed=3, resume=tuple(whole.ids[:cut]))

    assert whole.ids[:cut] + rest.ids == whole.ids
    assert is_person(json.loads(whole.text))


def test_logprobs_are_the_models_own(served: RunningEngine) -> None:
    found = answer(served, "regex", "zz", temperature=0.0, logprobs=3)

    assert found.text == "zz"
    assert all(logprob < 0 for logprob, _ in found.logprobs)
    assert len(found.logprobs[0][1]) == 3


@pytest.mark.parametrize("choice", [{"tool_choice": "required"}, {"tool_name": "search"}])
def test_a_forced_call_is_one(served: RunningEngine, choice: dict[str, Any]) -> None:
    options = ChatOptions(tools=(NOW, SEARCH), markup=True, **choice)

    found = served.generate(
        next(RIDS), messages=ASKED, chat=options, temperature=1.0, max_tokens=300
    )

    reader = ReplyReader(ChatFormat())
    events = merged([*reader.push(found.text), *reader.finish()])
    names = [event.name for event in events if isinstance(event, CallBegan)]
    arguments = [event.text for event in events if isinstance(event, CallArguments)]
    assert isinstance(events[0], CallBegan)
    if "tool_name" in choice:
        assert (names, found.ending.reason) == (["search"], "stop")
    assert set(names) <= {"search", 'no"w'}
    # The last of several may be as far as it came.
    whole = arguments if found.ending.reason == "stop" else arguments[:-1]
    for name, text in zip(names, whole, strict=False):
        assert set(json.loads(text)) == ({"query"} if name == "search" else set())


CALL = '{"name": "search", "arguments": {"query": "a"}}'
WRITTEN = {
    "marks": f"<tool_call>\n{CALL}\n</tool_call>",
    "a fenced block": f"```json\n{CALL}\n```",
}


@pytest.mark.parametrize("written", WRITTEN)
def test_an_answer_of_one_call_really_ends_with_it(served: RunningEngine, written: str) -> None:
    call = WRITTEN[written]
    asked: dict[str, Any] = {
        "messages": ASKED,
        "constraint": ("regex", re.escape(f"{call}\n{call}\n And so on.")),
        "max_tokens": 300,
    }
    options = ChatOptions(tools=(SEARCH,), markup=True, parallel_tool_calls=False)

    one = served.generate(next(RIDS), chat=options, **asked)
    all_ = served.generate(next(RIDS), chat=ChatOptions(tools=(SEARCH,), markup=True), **asked)

    assert call.startswith(one.text.rstrip())
    assert CALL in one.text
    assert one.ending.reason == "stop"
    assert len(one.ids) < len(all_.ids) / 2
    ended = served.generate(next(RIDS), chat=options, resume=tuple(one.ids), **asked)
    assert (ended.ids, ended.ending.reason) == ([], "stop")


def test_a_forced_call_is_one_where_only_one_is_wanted(served: RunningEngine) -> None:
    options = ChatOptions(
        tools=(NOW, SEARCH), markup=True, tool_choice="required", parallel_tool_calls=False
    )

    found = served.generate(
        next(RIDS), messages=ASKED, chat=options, temperature=1.0, max_tokens=300
    )

    reader = ReplyReader(ChatFormat())
    events = merged([*reader.push(found.text), *reader.finish()])
    assert sum(isinstance(event, CallBegan) for event in events) == 1
    assert found.ending.reason == "stop"


@pytest.mark.parametrize("seed", range(3))
def test_beside_tools_an_answer_of_a_schema_is_it_or_a_call(
    served: RunningEngine, seed: int
) -> None:
    options = ChatOptions(tools=(SEARCH,), markup=True)
    constraint = ("json_schema", json.dumps(PERSON))

    found = served.generate(
        next(RIDS),
        messages=ASKED,
        chat=options,
        constraint=constraint,
        temperature=1.0,
        max_tokens=300,
        seed=seed,
    )

    assert found.text.startswith("<tool_call>") or is_person(json.loads(found.text))


@pytest.mark.parametrize("choice", [{"tool_choice": "required"}, {"tool_name": "search"}])
def test_a_tool_whose_schema_cannot_be_enforced_does_not_break_the_others(
    served: RunningEngine, choice: dict[str, Any]
) -> None:
    options = ChatOptions(tools=(BAD, SEARCH), markup=True, **choice)

    found = served.generate(
        next(RIDS), messages=ASKED, chat=options, temperature=1.0, max_tokens=200
    )

    assert found.text.startswith("<tool_call>")


def test_such_a_tool_takes_any_object(served: RunningEngine) -> None:
    options = ChatOptions(tools=(SEARCH, BAD), tool_name="bad", markup=True)

    found = served.generate(next(RIDS), messages=ASKED, chat=options, max_tokens=40)

    assert '"name": "bad", "arguments": {' in found.text


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_json_has_no_white_space_between_its_parts(
    served: RunningEngine, temperature: float
) -> None:
    found = answer(served, "json_schema", json.dumps(PERSON), temperature=temperature)

    assert found.text == json.dumps(
        json.loads(found.text), separators=(",", ":"), ensure_ascii=False
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "items",
    [
        {"enum": ["red", "green", "blue", "grey"]},
        {"type": "integer", "minimum": 0, "maximum": 9999},
    ],
)
def test_items_that_have_to_be_distinct_are(
    served: RunningEngine, items: dict[str, Any], seed: int
) -> None:
    schema = {"type": "array", "items": items, "uniqueItems": True, "minItems": 4, "maxItems": 8}

    found = answer(served, "json_schema", json.dumps(schema), seed=seed, temperature=0.3)

    values = json.loads(found.text)
    assert 4 <= len(set(values)) == len(values) <= 8


def test_json_has_white_space_where_it_is_asked_for(served: RunningEngine) -> None:
    schema = {**PERSON, "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": " "}}

    texts = [answer(served, "json_schema", json.dumps(schema), seed=seed).text for seed in range(4)]

    assert any('": ' in text or '", ' in text for text in texts), texts


def test_a_tool_whose_schema_cannot_be_compiled_is_named(served: RunningEngine) -> None:
    bad = replace(BAD, strict=True)
    options = ChatOptions(tools=(NOW, bad), tool_choice="required")

    refusal = served.generate(next(RIDS), messages=ASKED, chat=options).refusal

    assert refusal.field == "tools[1].parameters.properties.x"
