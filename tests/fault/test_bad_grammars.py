"""Grammars that are made to be hard on whoever compiles them: others keep their engine."""

import itertools
import json
from collections.abc import Iterator

import pytest

from tests.engine.harness import RunningEngine, engine, submit
from umad import nano
from umad.protocol.link import CancelOrder

# Chains of references: llguidance goes one call deeper for each.
DEPTH = 4_000
# Compiling it takes seconds.
WIDTH = 6_000


@pytest.fixture
def served() -> Iterator[RunningEngine]:
    with engine(nano.path(), ctx_size=2048) as running:
        running.ready()
        yield running


def chain_of_references() -> str:
    chain = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(DEPTH)}
    return json.dumps({"$defs": chain | {f"d{DEPTH}": {"enum": ["end"]}}, "$ref": "#/$defs/d0"})


def many_properties() -> str:
    return json.dumps({"properties": {f"p{at}": {"type": "string"} for at in range(WIDTH)}})


def doubling_rules() -> str:
    """A text of 2 to the 50."""
    names = [f"r{chr(97 + at // 10)}{chr(97 + at % 10)}" for at in range(51)]
    rules = [f"{one} ::= {two} {two}" for one, two in itertools.pairwise(names)]
    return "\n".join([f"root ::= {names[0]}", *rules, f'{names[-1]} ::= "a"'])


def test_a_deep_chain_of_references_does_not_cost_others_their_engine(
    served: RunningEngine,
) -> None:
    served.send(
        submit(1, prompt="x = ", constraint=("json_schema", chain_of_references())),
        submit(2, prompt="x = "),
    )

    deep, other = served.finish(1, 2)

    assert deep.text == '"end"'
    assert other.ending.reason == "length"


def test_nobody_waits_for_a_grammar_that_takes_seconds_to_compile(served: RunningEngine) -> None:
    served.send(submit(1, prompt="x = ", constraint=("json_schema", many_properties())))

    other = served.generate(2, prompt="x = ")
    answered = served.call("tokenize", text="x").value

    assert other.ending.reason == "length"
    assert answered
    assert not served.of(1).over


def test_who_gives_up_waiting_for_a_grammar_is_let_go_at_once(served: RunningEngine) -> None:
    served.send(
        submit(1, prompt="x = ", constraint=("json_schema", many_properties())), CancelOrder(rid=1)
    )

    (left,) = served.finish(1)

    assert left.ending.reason == "cancelled"
    assert served.generate(2, prompt="x = ", constraint=("regex", "ab")).text == "ab"


def test_rules_that_double_each_other_are_refused(served: RunningEngine) -> None:
    refused = served.generate(1, prompt="x = ", constraint=("gbnf", doubling_rules())).refusal

    assert refused.code == "bad_request"
    assert refused.field == "grammar"
    assert "too big" in refused.message


def test_a_schema_that_nothing_fits_is_said_so_in_words(served: RunningEngine) -> None:
    refused = served.generate(1, prompt="x = ", constraint=("json_schema", '{"$ref": "#"}')).refusal

    assert refused.message == "json_schema cannot be compiled: no text at all fits it"
