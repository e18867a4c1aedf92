import logging
import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest

from umad import nano
from umad.constraint import Constraint
from umad.engine.constraints.guidance import Guidance
from umad.engine.constraints.schema_fault import fault_path
from umad.engine.llamacpp import llama
from umad.engine.llamacpp.llama import Model
from umad.errors import Unsupported
from umad.sampling.allowed import Allowed


class OddModel:
    """A model whose vocabulary llguidance does not take."""

    n_vocab = 3

    def __init__(self) -> None:
        self.asked = 0

    def eog_tokens(self) -> frozenset[int]:
        return frozenset((0,))

    def guidance_tokenizer(self, make: Callable[..., Any]) -> Any:
        self.asked += 1
        raise ValueError("odd tokens")


def test_a_vocabulary_that_cannot_be_constrained_costs_only_those_who_ask(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = OddModel()
    guidance = Guidance(cast(Model, model))

    with caplog.at_level(logging.WARNING):
        guidance.prepare()
    for _ in range(2):
        with pytest.raises(Unsupported, match="odd tokens"):
            guidance.compiled(Constraint.json_schema({"type": "object"}))

    assert "no constraints" in caplog.text
    assert model.asked == 1


@pytest.fixture(scope="module")
def guidance() -> Iterator[Guidance]:
    llama.start()
    model = Model(str(nano.path()), gpu_layers=0)
    yield Guidance(model)
    model.close()


FORMS: dict[str, Any] = {
    "long keys": {
        "type": "object",
        "properties": {
            "customer_identification_number": {"type": "integer"},
            "preferred_delivery_address": {
                "type": "object",
                "properties": {"street": {"type": "string"}, "postal_code": {"enum": ["a", "é"]}},
                "required": ["street", "postal_code"],
                "additionalProperties": False,
            },
        },
        "required": ["customer_identification_number", "preferred_delivery_address"],
        "additionalProperties": False,
    },
    "keys that begin alike": {
        "type": "object",
        "properties": {
            "name_of_a_city": {"type": "boolean"},
            "name_of_a_street": {"enum": ["a", "b"]},
            "name": {"type": "string"},
        },
        "required": ["name_of_a_street"],
        "additionalProperties": False,
    },
    "the only answer": {"const": {"status": "accepted", "reason": "none was given"}},
}


def tokens_of(allowed: Allowed) -> list[int]:
    """All tokens that are allowed."""
    return [int(one) for one in np.flatnonzero(allowed.bars == 0.0)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_forced_tokens_are_those_that_the_masks_allow_one_by_one(
    guidance: Guidance, form: str, seed: int
) -> None:
    constraint = Constraint.json_schema(FORMS[form])
    asked, twin = guidance.compiled(constraint), guidance.compiled(constraint)
    choose, n_forced = random.Random(seed), 0

    for _ in range(80):
        few = tokens_of(twin.allowed())
        assert tokens_of(asked.allowed()) == few
        forced = asked.forced()
        for token in forced:
            assert tokens_of(twin.allowed()) == [token]
            twin.consume((token,))
        asked.consume(forced)
        n_forced += len(forced)
        if forced:
            continue
        token = choose.choice(few)
        if token in guidance.eog:
            break
        for one in (asked, twin):
            one.consume((token,))

    assert n_forced > 2


def flaw_of(part: Any) -> str:
    """Finds fault with whatever has "bad" in it."""
    return "bad" if "bad" in repr(part) else ""


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"bad": 1}, ""),
        ({"properties": {"a": {}, "b": {"bad": 1}}}, "properties.b"),
        (
            {"properties": {"a": {"items": {"anyOf": [{}, {"bad": 1}]}}}},
            "properties.a.items.anyOf[1]",
        ),
        ({"$defs": {"d": {"bad": 1}}, "$ref": "#/$defs/d"}, "$defs.d"),
        (True, ""),
    ],
)
def test_the_smallest_part_with_the_fault_is_named(schema: Any, path: str) -> None:
    assert fault_path(schema, "bad", flaw_of) == path


def test_the_search_for_a_fault_ends_soon_in_the_largest_schema() -> None:
    looks: list[Any] = []

    def count(part: Any) -> str:
        looks.append(part)
        return ""

    fault_path({"properties": {str(at): {} for at in range(10_000)}}, "bad", count)

    assert len(looks) < 1_000
