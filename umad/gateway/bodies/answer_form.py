"""Finds the schema or grammar of an answer, wherever a client puts it, and remembers the place.

Clients of OpenAI, Ollama, llama.cpp, vLLM, SGLang, TGI and Anthropic use different fields. Each is
read in every dialect, so that none is ignored. Two that differ are refused. The table is in
docs/compatibility.md. Not: whether a schema can be kept (`umad.engine.constraints`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from pydantic import Field

from umad.chat.lark import JSON_WHITESPACE
from umad.constraint import GRAMMAR_KINDS, Constraint, GrammarKind
from umad.errors import BadRequest
from umad.gateway.bodies.base import Body
from umad.gateway.bodies.values import Flag

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_MOST_CHOICES = 4096
_RULE = "::="
_LLGUIDANCE = "%llguidance"
# llguidance reads its own options from this keyword of a schema.
_OPTIONS = "x-guidance"

Schema = dict[str, Any] | bool | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What an answer has to look like, and where the body says so."""

    constraint: Constraint
    # The dotted path of the schema or grammar in the body.
    place: str


class JsonSchema(Body):
    """The schema of a json_schema format. `schema` is a method's name in pydantic."""

    name: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")


class ResponseFormat(Body):
    """The form that the answer must have. `schema`, `value`, `pattern` and `grammar` are where
    other servers have it.
    """

    type: Literal["text", "json_object", "json_schema", "json", "regex", "grammar"]
    json_schema: JsonSchema | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    value: Schema | None = None
    pattern: str | None = None
    grammar: str | None = None


class TextFormat(Body):
    """The form that the text of a response must have."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")


class Text(Body):
    """Options of a response's text."""

    format: TextFormat | None = None


class OutputFormat(Body):
    """Anthropic's form of the answer."""

    type: Literal["json_schema"]
    schema_: Schema | None = Field(default=None, alias="schema")


class OutputConfig(Body):
    """Anthropic's options of the answer. `effort` is that of the thinking (`thinking`)."""

    format: OutputFormat | None = None
    effort: str | None = None


class StructuredOutputs(Body):
    """vLLM's form of the answer: one of these."""

    # `json` is a method's name in pydantic.
    json_: Schema | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: Flag | None = None
    structural_tag: Any = None
    whitespace_pattern: str | None = None


class FormFields(Body):
    """Every field that says what the answer has to look like."""

    # OpenAI's
    response_format: ResponseFormat | None = None
    text: Text | None = None
    # llama-server's
    json_schema: Schema | None = None
    grammar: str | dict[str, Any] | None = None
    # Ollama's
    format: Literal["", "json"] | dict[str, Any] | None = None
    # Anthropic's, and its beta spelling
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    # vLLM's and SGLang's
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_json_object: Flag | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    structural_tag: Any = None
    regex: str | None = None
    ebnf: str | None = None
    # umad's own: "free" lets the model write white space between the parts of JSON.
    json_whitespace: Literal["compact", "free"] | None = None

    @cached_property
    def form(self) -> Form | None:
        """The form of the answer; None where it is free. Raises `BadRequest` naming the place."""
        found: Form | None = None
        for form in self._forms():
            if found is not None and form.constraint != found.constraint:
                raise BadRequest(
                    f"{form.place} and {found.place} exclude each other", field=form.place
                )
            found = found or form
        return found

    def _forms(self) -> Iterator[Form]:
        spaces = self._white_space()

        def of(place: str, schema: Schema | None) -> Form:
            return Form(constraint=_of_schema(schema, place, spaces), place=place)

        if self.response_format is not None:
            yield from _of_response_format(self.response_format, of)
        if self.text is not None and self.text.format is not None:
            wanted = self.text.format
            if wanted.type == "json_schema" or wanted.schema_ is not None:
                yield of("text.format.schema", wanted.schema_)
            elif wanted.type == "json_object":
                yield of("text.format", dict(_ANY_OBJECT))
        if self.json_schema is not None:
            yield of("json_schema", self.json_schema)
        if self.grammar:
            yield from _of_grammar(self.grammar, of)
        if self.format:
            yield of("format", dict(_ANY_OBJECT) if self.format == "json" else self.format)
        if self.output_config is not None and self.output_config.format is not None:
            yield of("output_config.format.schema", self.output_config.format.schema_)
        if self.output_format is not None:
            yield of("output_format.schema", self.output_format.schema_)
        yield from self._of_vllm(of)

    def _of_vllm(self, of: "_OfSchema") -> Iterator[Form]:
        inner = self.structured_outputs or StructuredOutputs()
        schemas = {"guided_json": self.guided_json, "structured_outputs.json": inner.json_}
        for place, schema in schemas.items():
            if schema is not None:
                yield of(place, schema)
        objects = {
            "guided_json_object": self.guided_json_object,
            "structured_outputs.json_object": inner.json_object,
        }
        for place, wanted in objects.items():
            if wanted:
                yield of(place, dict(_ANY_OBJECT))
        patterns = {
            "guided_regex": self.guided_regex,
            "regex": self.regex,
            "structured_outputs.regex": inner.regex,
        }
        for place, pattern in patterns.items():
            if pattern:
                yield Form(constraint=Constraint(kind="regex", text=pattern), place=place)
        grammars = {
            "guided_grammar": self.guided_grammar,
            "ebnf": self.ebnf,
            "structured_outputs.grammar": inner.grammar,
        }
        for place, grammar in grammars.items():
            if grammar:
                yield Form(constraint=_grammar(grammar), place=place)
        choices = {
            "guided_choice": self.guided_choice,
            "structured_outputs.choice": inner.choice,
        }
        for place, choice in choices.items():
            if choice is not None:
                yield Form(constraint=_one_of(choice, place), place=place)
        tags = {
            "structural_tag": self.structural_tag,
            "structured_outputs.structural_tag": inner.structural_tag,
        }
        for place, tag in tags.items():
            if tag is not None:
                raise BadRequest(
                    f"{place} is not supported; a grammar can say the same", field=place
                )

    def _white_space(self) -> str | None:
        inner = self.structured_outputs
        asked = None if inner is None else inner.whitespace_pattern
        asked = asked or self.guided_whitespace_pattern
        if asked is None and self.json_whitespace == "free":
            return JSON_WHITESPACE
        return asked


_OfSchema = Callable[[str, Schema | None], Form]


def _of_response_format(given: ResponseFormat, of: _OfSchema) -> Iterator[Form]:
    place = "response_format"
    # The places of a schema, the documented one first.
    schemas = {
        f"{place}.json_schema.schema": None
        if given.json_schema is None
        else given.json_schema.schema_,
        f"{place}.schema": given.schema_,
        f"{place}.value": given.value if given.type != "regex" else None,
    }
    found = {at: one for at, one in schemas.items() if one is not None}
    match given.type:
        case "text":
            if found:
                raise BadRequest(
                    f"{next(iter(found))} needs a {place}.type of json_schema",
                    field=f"{place}.type",
                )
        case "regex":
            pattern = given.pattern if given.pattern is not None else given.value
            if not isinstance(pattern, str) or not pattern:
                raise BadRequest(f"{place}.pattern is missing", field=f"{place}.pattern")
            at = f"{place}.{'value' if given.pattern is None else 'pattern'}"
            yield Form(constraint=Constraint(kind="regex", text=pattern), place=at)
        case "grammar":
            if not given.grammar:
                raise BadRequest(f"{place}.grammar is missing", field=f"{place}.grammar")
            yield Form(constraint=_grammar(given.grammar), place=f"{place}.grammar")
        case _ if found:
            yield from (of(at, one) for at, one in found.items())
        case "json_object" | "json":
            yield of(place, dict(_ANY_OBJECT))
        case _:
            yield of(next(iter(schemas)), None)


def _of_grammar(given: str | Mapping[str, Any], of: _OfSchema) -> Iterator[Form]:
    """Text in GBNF; {gbnf|lark|regex: text}; TGI's {type: json|regex, value}."""
    if isinstance(given, str):
        yield Form(constraint=_grammar(given, or_else="gbnf"), place="grammar")
        return
    for own in get_args(GrammarKind):
        if len(given) == 1 and isinstance(text := given.get(own), str):
            yield Form(constraint=Constraint(kind=own, text=text), place=f"grammar.{own}")
            return
    kind, value = given.get("type"), given.get("value")
    if kind in ("json", "json_schema") and value is not None:
        yield of("grammar.value", value)
    elif kind == "regex" and isinstance(value, str) and value:
        yield Form(constraint=Constraint(kind="regex", text=value), place="grammar.value")
    else:
        raise BadRequest(
            f"grammar is a text, or a map of one of {', '.join(GRAMMAR_KINDS)}", field="grammar"
        )


def _of_schema(given: Schema | None, place: str, spaces: str | None) -> Constraint:
    if given is None:
        raise BadRequest(f"{place} is missing", field=place)
    schema: Any = given
    if isinstance(given, str):
        try:
            schema = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"{place} is not JSON", field=place) from error
    if schema is False:
        raise BadRequest(f"{place} is false, which no text at all fits", field=place)
    if schema is True:
        schema = dict(_ANY_OBJECT)
    if not isinstance(schema, dict):
        raise BadRequest(f"{place} is a JSON schema", field=place)
    if spaces is not None:
        schema = {_OPTIONS: {"whitespace_flexible": True, "whitespace_pattern": spaces}, **schema}
    return Constraint.json_schema(schema)


def _grammar(text: str, or_else: Literal["gbnf", "lark"] = "lark") -> Constraint:
    """A grammar in GBNF or EBNF (`root ::= …`), or in Lark (`start: …`)."""
    if text.startswith(_LLGUIDANCE):
        return Constraint(kind="lark", text=text)
    return Constraint(kind="gbnf" if _RULE in text else or_else, text=text)


def _one_of(choices: Sequence[str], place: str) -> Constraint:
    if not 0 < len(choices) <= _MOST_CHOICES or not all(choices):
        raise BadRequest(f"{place} has 1 to {_MOST_CHOICES} texts, none empty", field=place)
    texts = " | ".join([json.dumps(one, ensure_ascii=False) for one in choices])
    return Constraint(kind="lark", text=f"start: {texts}")
