"""Items of arrays that have to be distinct, drawn at random from the compiler's own masks."""

import json
import random
from typing import Any, cast

import numpy as np
import pytest
from llguidance import LLMatcher, LLTokenizer

from umad.chat.lark import COMPACT
from umad.engine.constraints.distinct_items import (
    DistinctItems,
    PieceTable,
    has_distinct_items,
    without_distinct_items,
)
from umad.sampling.allowed import Allowed

TOKENIZER = LLTokenizer("byte")
N_VOCAB = TOKENIZER.vocab_size
# The tokens are bytes; those above are the tokenizer's own marks.
TABLE = PieceTable(N_VOCAB, lambda token: bytes((token,)) if token < 256 else b"")
MOST_BYTES = 4000


def written(schema: Any, seed: int, *, keep: bool = True) -> Any:
    """An answer of the schema, each byte drawn at random among those that are allowed; mostly those
    that make items short and alike."""
    draw = random.Random(seed)
    grammar = LLMatcher.grammar_from_json_schema(
        json.dumps(without_distinct_items(schema)), defaults=cast(Any, COMPACT)
    )
    matcher = LLMatcher(TOKENIZER, grammar, log_level=0)
    distinct = DistinctItems(schema, TABLE)
    text = bytearray()
    while not matcher.is_stopped() and len(text) < MOST_BYTES:
        allowed = mask_of(matcher)
        every = allowed.few if allowed.few is not None else range(256)
        if keep:
            allowed = distinct.narrowed(allowed, lambda token: after(matcher, token))
        tokens = [int(one) for one in every if one < 256 and int(one) in allowed]
        if not tokens:
            break
        likely = [one for one in tokens if one in b'",]}:ab12']
        token = draw.choice(likely or tokens)
        assert matcher.consume_tokens([token])
        distinct.push(token)
        text.append(token)
    return json.loads(text)


def mask_of(matcher: LLMatcher) -> Allowed:
    words = np.zeros((N_VOCAB + 31) // 32, np.int32)
    matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
    return Allowed(words, N_VOCAB)


def after(matcher: LLMatcher, token: int) -> Allowed:
    ahead = matcher.deep_copy()
    assert ahead.consume_tokens([token])
    return mask_of(ahead)


def is_distinct(values: list[Any]) -> bool:
    # As JSON compares: 1 and 1.0 are one value, and true is not 1.
    texts = [repr(one) if isinstance(one, bool | str) else repr(_same(one)) for one in values]
    return len(set(texts)) == len(texts)


def _same(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return sorted(value.items()) if isinstance(value, dict) else value


def array(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "uniqueItems": True, **more}


POINT = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2]}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
WORDS = {"$defs": {"word": {"type": "string"}}}
ARRAYS = [
    array({"type": "string"}, minItems=6, maxItems=9),
    array({"type": "integer"}, minItems=6, maxItems=9),
    array({"type": "number"}, minItems=6, maxItems=9),
    array({"type": "string", "maxLength": 1}, minItems=6, maxItems=9),
    array({"type": "integer", "minimum": 0, "maximum": 99}, minItems=6, maxItems=9),
    array({"enum": ["a", "ab", "abc", "b"]}, minItems=4),
    array({"enum": [1, 12, 121, 2, None]}, minItems=5),
    array({"type": "boolean"}, minItems=2),
    array({"const": "a"}),
    array(POINT, minItems=5, maxItems=6),
    array({"type": "array", "items": {"enum": ["a", "b"]}}, minItems=4, maxItems=5),
    array({"anyOf": [{"type": "string"}, {"type": "integer"}]}, minItems=6, maxItems=9),
    array(
        {"$ref": "#/$defs/word"}, minItems=6, maxItems=9, **{"$defs": {"word": {"type": "string"}}}
    ),
]


@pytest.mark.parametrize("schema", ARRAYS, ids=lambda one: json.dumps(one["items"])[:40])
@pytest.mark.parametrize("seed", range(8))
def test_no_item_is_written_twice(schema: dict[str, Any], seed: int) -> None:
    values = written(schema, seed)

    assert is_distinct(values), values
    assert schema.get("minItems", 0) <= len(values) <= schema.get("maxItems", 9)


def test_without_it_items_are_written_twice() -> None:
    booleans = array({"type": "boolean"}, minItems=2)

    assert not all(is_distinct(written(booleans, seed, keep=False)) for seed in range(8))


@pytest.mark.parametrize("seed", range(8))
def test_each_array_is_kept_apart_by_its_own_schema(seed: int) -> None:
    word = {"enum": ["a", "b"]}
    inner = array(word, minItems=2)
    schema = {
        "type": "object",
        "properties": {
            "apart": array(word, minItems=2),
            "free": {"type": "array", "items": word, "minItems": 9, "maxItems": 9},
            "inner": {
                "type": "array",
                "items": inner,
                "minItems": 3,
                "maxItems": 3,
            },
        },
        "required": ["apart", "free", "inner"],
        "additionalProperties": False,
    }

    values = written(schema, seed)

    assert sorted(values["apart"]) == ["a", "b"]
    assert len(values["free"]) == 9
    assert [sorted(one) for one in values["inner"]] == [["a", "b"]] * 3


@pytest.mark.parametrize("seed", range(4))
def test_a_schema_that_contains_itself_is_followed(seed: int) -> None:
    schema = {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "tags": array({"type": "string"}, minItems=3, maxItems=4),
                    "below": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                },
                "required": ["tags", "below"],
                "additionalProperties": False,
            }
        },
    }

    tree = written(schema, seed)

    while tree is not None:
        assert is_distinct(tree["tags"])
        tree = tree["below"]


def test_where_nothing_else_can_be_written_an_item_is_repeated() -> None:
    schema = array({"type": "string", "pattern": "^a$"}, minItems=2, maxItems=2)

    assert written(schema, 1) == ["a", "a"]


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "array", "uniqueItems": True}, True),
        ({"properties": {"a": {"items": {"uniqueItems": True}}}}, True),
        ({"type": "array", "uniqueItems": False}, False),
        ({"const": {"uniqueItems": True}}, False),
        ({"properties": {"uniqueItems": {"type": "boolean"}}}, False),
        (True, False),
    ],
)
def test_schemas_that_ask_for_it_are_known(schema: Any, wanted: bool) -> None:
    assert has_distinct_items(schema) is wanted
    assert not has_distinct_items(without_distinct_items(schema))
