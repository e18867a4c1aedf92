"""Describes the form an answer must have: a grammar or a JSON schema, as a value.

Not: compiling it or making token masks from it (`umad.engine.constraints.guidance`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from umad.errors import BadRequest

# Compile time grows with the square of this: 20 s at most. The hosted services allow half of it.
MAX_GRAMMAR_CHARS = 2**18

GrammarKind = Literal["gbnf", "lark", "regex"]
GRAMMAR_KINDS: tuple[str, ...] = get_args(GrammarKind)
ConstraintKind = Literal["gbnf", "lark", "regex", "json_schema"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A grammar or a JSON schema that an answer must keep to."""

    # The language of `text`.
    kind: ConstraintKind
    # The grammar, or the JSON text of the schema.
    text: str

    @property
    def field(self) -> str:
        """The request's field in which it came."""
        return "json_schema" if self.kind == "json_schema" else "grammar"

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str) -> "Constraint":
        """Answers that are JSON of this schema; {"type": "object"} for any JSON object."""
        if isinstance(schema, str):
            return cls(kind="json_schema", text=schema)
        try:
            text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRequest("json_schema holds a non-JSON value", field="json_schema") from error
        return cls(kind="json_schema", text=text)

    def check(self) -> None:
        """Raise `BadRequest` for a constraint that is wrong with every model."""
        if not self.text:
            raise BadRequest(f"{self.field} is empty", field=self.field)
        if len(self.text) > MAX_GRAMMAR_CHARS:
            raise BadRequest(
                f"{self.field} has at most {MAX_GRAMMAR_CHARS} characters", field=self.field
            )
        if self.kind != "json_schema":
            return
        try:
            schema = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise BadRequest("json_schema is not JSON", field=self.field) from error
        if not isinstance(schema, dict | bool):
            raise BadRequest("json_schema is a JSON object", field=self.field)
