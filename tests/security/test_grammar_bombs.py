"""Grammars that are short and cost much: refused by what they would cost, or paid by their own."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.harness import RunningEngine, engine, submit
from umad import nano
from umad.chat.formats import format_of
from umad.clock import MonotonicClock
from umad.constraint import Constraint
from umad.conversation import ChatOptions, Tool
from umad.engine.constraints.answer_rules import AnswerRules
from umad.engine.constraints.guidance import MOST_KEPT, Guidance
from umad.engine.constraints.schema_bounds import MOST_UNITS, flaw_of_multiples
from umad.engine.llamacpp import llama
from umad.engine.vocab import Vocabulary
from umad.errors import BadRequest
from umad.protocol.link import CancelOrder

llama.start()
MODEL = llama.Model(str(nano.path()), vocab_only=True)
GUIDANCE = Guidance(MODEL)
# Each would take from some seconds to hours of a core, and memory with it.
MULTIPLES: dict[str, Any] = {
    "a large number": {"type": "integer", "multipleOf": 9_999_991},
    "a long fraction": {"type": "number", "multipleOf": 0.9999991},
    "two that have to hold": {"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]},
    "two of different sizes": {"allOf": [{"multipleOf": 0.001}, {"multipleOf": 999}]},
    "many of them": {"properties": {f"p{at}": {"multipleOf": 9001 + at} for at in range(20)}},
    "one in a definition": {
        "$defs": {"a": {"multipleOf": 7919}},
        "allOf": [{"$ref": "#/$defs/a"}, {"multipleOf": 101}],
    },
    "as an escaped name": '{"type": "integer", "multip\\u006ceOf": 9999991}',
    "as an exponent": '{"type": "integer", "multipleOf": 1e300}',
    "deep in a list": {"prefixItems": [{"items": {"items": {"multipleOf": 999_983}}}]},
}
SLOW_LATER = 'start: e\ne: e e | "a" | "b" | "ab"'


def text_of(schema: Any) -> str:
    return schema if isinstance(schema, str) else json.dumps(schema)


def many_properties(n: int) -> tuple[str, str]:
    schema = {"properties": {f"p{at}": {"type": "string"} for at in range(n)}}
    return "json_schema", json.dumps(schema)


@pytest.fixture(scope="module")
def served() -> Iterator[RunningEngine]:
    with engine(nano.path(), ctx_size=4096) as running:
        running.ready()
        yield running


_rids = iter(range(1, 1000))


@pytest.mark.parametrize("name", MULTIPLES)
@pytest.mark.parametrize("kind", ["json_schema", "lark"])
def test_numbers_that_make_an_automaton_of_as_many_states_are_refused(name: str, kind: str) -> None:
    text = text_of(MULTIPLES[name])
    began_s = time.process_time()

    with pytest.raises(BadRequest, match="multipleOf"):
        GUIDANCE.compiled(
            Constraint(kind="json_schema", text=text)
            if kind == "json_schema"
            else Constraint(kind="lark", text=f"start: %json {text}")
        )

    assert time.process_time() - began_s < 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "multipleOf": 0.01},
        {"type": "integer", "multipleOf": MOST_UNITS},
        {"properties": {"cents": {"multipleOf": 0.01}, "dozen": {"multipleOf": 12}}},
        {"allOf": [{"multipleOf": 5}, {"multipleOf": 0.5}]},
        {"properties": {"multipleOf": {"type": "string"}}},
        {"const": {"multipleOf": "a word"}},
        True,
    ],
)
def test_numbers_as_schemas_have_them_are_not(schema: Any) -> None:
    assert flaw_of_multiples(json.dumps(schema)) == ""


def test_what_is_no_json_is_for_others_to_refuse() -> None:
    assert flaw_of_multiples('{"multipleOf": ') == ""


def test_the_completions_of_one_request_share_a_compiled_grammar() -> None:
    kind, text = many_properties(300)
    began_s = time.process_time()
    GUIDANCE.compiled(Constraint(kind="json_schema", text=text))
    alone_s = time.process_time() - began_s

    began_s = time.process_time()
    others = [GUIDANCE.compiled(Constraint(kind="json_schema", text=text)) for _ in range(15)]

    assert kind == "json_schema"
    assert time.process_time() - began_s < alone_s
    # And each stands where it stands.
    brace = [token for token in range(GUIDANCE.n_vocab) if _piece(token) == b"{"]
    others[0].consume(brace)
    assert brace[0] not in others[0].allowed()
    assert brace[0] in others[1].allowed()


def _piece(token: int) -> bytes:
    return GUIDANCE._model.piece(token, special=False)


def test_few_compiled_grammars_are_kept() -> None:
    for at in range(3 * MOST_KEPT):
        GUIDANCE.compiled(Constraint(kind="regex", text=f"a{{{at + 1}}}"))

    assert len(GUIDANCE._compiled_before) == MOST_KEPT


def test_an_app_with_many_hard_grammars_leaves_a_thread_for_others(served: RunningEngine) -> None:
    hard, other = [next(_rids) for _ in range(4)], next(_rids)
    served.send(
        *[
            replace(
                submit(rid, prompt="x = ", constraint=many_properties(4000 + rid)), app="greedy"
            )
            for rid in hard
        ],
        replace(submit(other, prompt="x = ", constraint=("regex", "ab")), app="modest"),
    )

    (quick,) = served.finish(other)

    assert quick.text == "ab"
    assert not any(served.of(rid).over for rid in hard)
    served.send(*[CancelOrder(rid=rid) for rid in hard])
    served.finish(*hard)


def test_an_answer_whose_masks_take_ever_longer_slows_only_itself(served: RunningEngine) -> None:
    slow, peer = next(_rids), next(_rids)
    served.send(
        submit(slow, prompt="x = ", constraint=("lark", SLOW_LATER), max_tokens=200),
        submit(peer, prompt="x = ", max_tokens=400, ignore_eos=True),
    )

    (quick,) = served.finish(peer)

    # Step by step with it, the peer would have taken its time for as many tokens.
    assert len(quick.ids) == 400
    assert len(served.of(slow).ids) < 200
    served.send(CancelOrder(rid=slow))
    served.finish(slow)


def test_the_tools_of_a_forced_call_have_a_bound_in_all() -> None:
    rules = AnswerRules(
        GUIDANCE, Vocabulary(MODEL), format_of(None), now_ns=MonotonicClock().now_ns
    )
    tools = tuple(
        Tool(name=f"t{at}", parameters={"enum": [f"value {n}" for n in range(4000)]})
        for at in range(8)
    )

    with pytest.raises(BadRequest, match="262144") as refused:
        rules.mask(None, ChatOptions(tools=tools, tool_choice="required"), None, ())

    assert refused.value.field == "tools"
