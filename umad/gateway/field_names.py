"""Names the fields of errors as the client's body has them.

A dialect has its own names for umad's fields, a body may use another server's, and a schema or a
tool has a place in the body. Not: which names there are (`bodies/`). Owner: one call.
"""

import copy
import difflib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from umad.conversation import Tool
from umad.errors import BadRequest, UmadError
from umad.gateway.bodies.answer_form import FormFields
from umad.gateway.bodies.base import TWO_NAMES, Body, ToolPlace, Written
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.errors import in_terms_of
from umad.gateway.written_files import settled
from umad.protocol.content_fields import file_names
from umad.request import GenerateRequest

_QUOTED_CHARS = 64
_TYPE_NAMES = frozenset({"str", "int", "float", "bool", "none"})


class FieldNames:
    """The names that one body has for umad's fields.

    `dialect`: umad's names -> the dialect's.
    """

    def __init__(self, dialect: Mapping[str, str]) -> None:
        self._names = dict(dialect)
        self._tool_places: Mapping[str, ToolPlace] = {}
        # Biases of the body for every token of a text, which only a model knows.
        self.text_biases: tuple[tuple[str, float], ...] = ()
        # The model that the body names, and the fields of the sampling that it has.
        self.model: str | None = None
        self.given: frozenset[str] = frozenset()

    def of_one_request(self) -> "FieldNames":
        """These names and those of one of the body's requests, which may have several."""
        found = copy.copy(self)
        found._names = dict(self._names)
        return found

    def learn(self, body: BaseModel, written: Written) -> None:
        """Remember how the body names its fields. Raises `BadRequest` for a form of the answer that
        cannot be kept.
        """
        for own, name in self._names.items():
            *outer, last = name.split(".")
            self._names[own] = ".".join([*outer, written.names.get(last, last)])
        for own, name in written.names.items():
            self._names.setdefault(own, name)
        if isinstance(body, Body):
            self._tool_places = body.tool_places()
        if isinstance(body, FormFields) and body.form is not None:
            self._names[body.form.constraint.field] = body.form.place
        # Ollama's bodies have theirs inside.
        drawing = getattr(body, "options", None) or body
        if isinstance(drawing, Drawing):
            self.text_biases = drawing.text_biases()
            self.given = drawing.given()
        self.model = getattr(body, "model", None)

    def offer(self, tools: Sequence[Tool]) -> None:
        """Remember in which order the request has the tools of the body."""
        for at, tool in enumerate(tools):
            place = self._tool_places.get(tool.name)
            if place is not None:
                self._names[f"tools[{at}]"] = place.tool
                self._names[f"tools[{at}].parameters"] = place.schema

    def with_files(self, request: GenerateRequest) -> GenerateRequest:
        """`request` with its images and sounds as they can be sent. Where the body has each one is
        remembered. Raises `BadMedia` (`umad.gateway.written_files`).
        """
        self._names.update(file_names("prompt", request.prompt or "", request.media))
        for at, turn in enumerate(request.messages or ()):
            places = file_names(f"messages[{at}].content", turn.content, turn.media)
            self._names.update(places)
        return settled(request)

    def written(self, name: str) -> str:
        """The name that the body has for a field."""
        return self._names.get(name, name)

    def named(self, error: UmadError) -> UmadError:
        """`error` with its field as the body calls it."""
        return in_terms_of(error, self._names)


def bad_request_of(error: ValidationError, kind: type[BaseModel], written: Written) -> BadRequest:
    """The first error of a body, in one sentence and with its field as it is `written` there."""
    details = error.errors(include_url=False, include_context=True, include_input=False)
    # Every alternative of a union complains; the error that got furthest into the value is shown.
    first = max(details, key=lambda one: len(one["loc"]))
    if first["type"] == "json_invalid":
        reason = str(first.get("ctx", {}).get("error", "")).strip()
        return BadRequest(f"the body is not JSON{f': {reason}' if reason else ''}")
    loc = first["loc"]
    if first["type"] == TWO_NAMES:
        loc = (*loc, str(first.get("ctx", {}).get("other", "")))
    names = written.names
    field = _dotted(tuple([names.get(one, one) if isinstance(one, str) else one for one in loc]))
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])[:_QUOTED_CHARS]
        near = difflib.get_close_matches(name, list(kind.model_fields), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return BadRequest(f"there is no field {name!r}{hint}", field=name)
    if not field:
        return BadRequest(f"the body is wrong: {reason}")
    return BadRequest(f"{field}: {reason}", field=field)


def _dotted(loc: tuple[int | str, ...]) -> str:
    parts: list[str] = []
    for one in loc:
        text = str(one)
        if isinstance(one, str) and (not text.isidentifier() or text in _TYPE_NAMES):
            continue  # an alternative of a union, which no client wrote
        parts.append(text[:_QUOTED_CHARS])
    return ".".join(parts)
