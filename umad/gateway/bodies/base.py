"""Reads every body in one way: null means absent, and a field may have several names.

The rule and its table are in docs/compatibility.md. Every model of a body, and every model inside
one, is a `Body`. Not: the spellings of single values (`values`), nor where a schema may stand
(`answer_form`). Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError
from typing_extensions import override

# The type of the error for two names of one field with two values.
TWO_NAMES = "two_names"
# Of a JSON schema.
_NULL = {"type": "null"}


@dataclass(slots=True, kw_only=True)
class Written:
    """Remembers which of a field's names the client wrote, so that errors use that name."""

    # The field's own name → the name in the body.
    names: dict[str, str] = field(default_factory=dict)


class Body(BaseModel):
    """A body of a foreign dialect, or a part of one. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    # Other names of a field, which count where the field's own name is not given.
    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # For these fields two names may have two values, and the first name counts, as with the peers.
    first_name_counts: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            return given
        meant = given
        if None in given.values():
            required = _required(cls)
            # A required field that is null stays, so that the error names it.
            meant = {
                name: one for name, one in given.items() if one is not None or name in required
            }
        written = info.context if isinstance(info.context, Written) else None
        for name, others in cls.other_names.items():
            for other in others:
                if other in meant:
                    meant = _renamed(meant, name, other, written, name in cls.first_name_counts)
        return meant

    def tool_places(self) -> Mapping[str, "ToolPlace"]:
        """Where the body has each tool on offer, by the tool's name."""
        return {}

    @classmethod
    @override
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        made = handler(core_schema)
        whole = handler.resolve_ref_schema(made)
        properties = whole.get("properties", {})
        required = whole.get("required", ())
        for name, facts in properties.items():
            if name not in required and not _takes_null(facts):
                properties[name] = {"anyOf": [facts, _NULL]}
        for name, others in cls.other_names.items():
            for other in others:
                facts = {**properties[name], "title": f"Another name of {name}"}
                properties[other] = facts if _takes_null(facts) else {"anyOf": [facts, _NULL]}
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPlace:
    """Where a body has a tool, and the tool's schema."""

    tool: str
    schema: str


def tool_places(
    named: Iterable[tuple[str, str]], schema: str = "parameters"
) -> Mapping[str, ToolPlace]:
    """The places of tools by their names. `named`: (name, place); `schema`: its field's name."""
    return {name: ToolPlace(tool=at, schema=f"{at}.{schema}") for name, at in named}


def _required(kind: type[BaseModel]) -> frozenset[str]:
    """Every name of the required fields."""
    fields = [(name, one) for name, one in kind.model_fields.items() if one.is_required()]
    return frozenset({one.alias or name for name, one in fields} | {name for name, _ in fields})


def _renamed(
    meant: dict[str, Any], name: str, other: str, written: Written | None, first_counts: bool
) -> dict[str, Any]:
    rest = dict(meant)
    value = rest.pop(other)
    if name not in rest:
        rest[name] = value
        if written is not None:
            written.names[name] = other
    elif rest[name] != value and not first_counts:
        raise PydanticCustomError(
            TWO_NAMES,
            "{other} is another name of {name}, and their values differ",
            {"name": name, "other": other},
        )
    return rest


def _takes_null(facts: Mapping[str, Any]) -> bool:
    if "anyOf" in facts:
        return any(one.get("type") == "null" for one in facts["anyOf"])
    return not facts.keys() & {"type", "$ref", "const", "enum", "oneOf", "allOf"}
