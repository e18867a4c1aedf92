import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from umad.constraint import Constraint
from umad.engine.constraints.guidance import Guidance
from umad.engine.constraints.schema_fault import fault_path
from umad.engine.llamacpp.llama import Model
from umad.errors import Unsupported


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
