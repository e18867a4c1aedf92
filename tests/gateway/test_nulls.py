"""null for an optional field means that it is absent: in every body, at every depth.

The fields are found from the bodies themselves, so a new field is tried without a line here.
"""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from tests.gateway.answering_service import MODEL, Door, open_door
from umad.gateway.bodies.base import Body
from umad.gateway.dialects import ENDPOINTS
from umad.gateway.endpoint import Endpoint

Path = tuple[str | int, ...]

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c", "function": {"name": "f", "arguments": "{}"}}
MOST_DEPTH = 5
# Values of required fields that are more than their type says.
SEEDS: dict[str, Any] = {
    "model": MODEL,
    "messages": [USER],
    "input": "hi",
    "content": "hi",
    "input_prefix": "a",
    "input_suffix": "b",
    "documents": ["a"],
    "tokens": [104],
    "max_tokens": 4,
    "name": "f",
    "input_schema": {"type": "object"},
    "role": "user",
}
# Fields of which one has to be given.
BESIDES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/responses/input_tokens": {"input": "hi"},
    "/responses/input_tokens": {"input": "hi"},
    "/completion": {"prompt": "hi"},
    "/completions": {"prompt": "hi"},
    "/generate": {"prompt": "hi", "stream": False},
    "/forget": {"session": "s"},
    "/priority": {"session": "s"},
    "/api/generate": {"prompt": "hi", "stream": False},
    "/api/chat": {"messages": [USER], "stream": False},
    "/api/show": {"model": MODEL},
    "/api/pull": {"model": MODEL, "stream": False},
    "/api/create": {"model": "brief", "from": MODEL, "stream": False},
    "/api/copy": {"source": MODEL, "destination": "other"},
}
BODIES = [one for one in ENDPOINTS if one.body is not None and one.method == "POST"]


def least(endpoint: Endpoint) -> dict[str, Any]:
    """The smallest body that is answered."""
    assert endpoint.body is not None
    return {**whole(endpoint.body), **BESIDES.get(endpoint.path, {})}


def whole(kind: type[BaseModel]) -> dict[str, Any]:
    """The required fields of a model."""
    return {
        one.alias or name: SEEDS.get(name, value_of(one.annotation))
        for name, one in kind.model_fields.items()
        if one.is_required()
    }


def value_of(kind: Any) -> Any:
    """A value that has the type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return value_of(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin in (Union, types.UnionType):
        return value_of(next(one for one in arguments if one is not type(None)))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return whole(kind)
    if origin in (list, tuple):
        return []
    return {str: "x", int: 1, float: 1.0, bool: False}.get(kind, {})


def models_in(kind: Any) -> Iterator[tuple[Path, type[BaseModel]]]:
    """The models that a field's value may be or hold, and where inside the value they stand."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield (), kind
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (list, tuple):
        yield from (((0, *path), one) for path, one in models_in(arguments[0]))
    elif origin in (Annotated, Union, types.UnionType):
        inner = arguments[:1] if origin is Annotated else arguments
        for one in inner:
            yield from models_in(one)


def optional_fields(
    kind: type[BaseModel], body: dict[str, Any], depth: int = 0
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every optional field inside a model, each with the body that it stands in."""
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if not field.is_required():
            yield (key,), body
        if depth == MOST_DEPTH:
            continue
        for path, inner in models_in(field.annotation):
            found = whole(inner)
            value: Any = [found] if path else found
            for below, filled in optional_fields(inner, found, depth + 1):
                value = [filled] if path else filled
                yield (key, *path, *below), {**body, key: value}


def with_null(body: Any, path: Path) -> Any:
    step, *rest = path
    if isinstance(body, list):
        return [with_null(body[0], tuple(rest)), *body[1:]]
    inner = with_null(body[step], tuple(rest)) if rest else None
    return {**body, step: inner}


def without(body: Any, path: Path) -> Any:
    step, *rest = path
    if isinstance(body, list):
        return [without(body[0], tuple(rest)), *body[1:]]
    if rest:
        return {**body, step: without(body[step], tuple(rest))}
    return {name: one for name, one in body.items() if name != step}


def cases() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    for endpoint in BODIES:
        assert endpoint.body is not None
        seen = set()
        for path, body in optional_fields(endpoint.body, least(endpoint)):
            absent = without(body, path)
            if repr((path, absent)) in seen:
                continue
            seen.add(repr((path, absent)))
            name = f"{endpoint.path} {'.'.join(map(str, path))}"
            yield name, endpoint.path, absent, with_null(body, path)


CASES = list(cases())


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with open_door() as one:
        yield one


def said(door: Door, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """The status, and for an error the whole of it."""
    answer = door.post(path, body)
    if answer.status_code == 200:
        return 200, None
    error = answer.json()
    for part in (error, error.get("error")):
        if isinstance(part, dict):
            part.pop("request_id", None)
    return answer.status_code, error


@pytest.mark.parametrize("endpoint", BODIES, ids=[one.path for one in BODIES])
def test_the_smallest_body_is_answered(door: Door, endpoint: Endpoint) -> None:
    assert said(door, endpoint.path, least(endpoint)) == (200, None)


@pytest.mark.parametrize("endpoint", BODIES, ids=[one.path for one in BODIES])
def test_a_body_with_null_in_every_optional_field_is_answered(
    door: Door, endpoint: Endpoint
) -> None:
    assert endpoint.body is not None
    given = least(endpoint)
    nulls = {
        one.alias or name: None
        for name, one in endpoint.body.model_fields.items()
        if not one.is_required()
    }

    assert said(door, endpoint.path, {**nulls, **given}) == (200, None)


@pytest.mark.parametrize("endpoint", BODIES, ids=[one.path for one in BODIES])
def test_null_at_any_depth_says_what_leaving_the_field_out_says(
    door: Door, endpoint: Endpoint
) -> None:
    differ = [
        name
        for name, path, absent, null in CASES
        if path == endpoint.path and said(door, path, null) != said(door, path, absent)
    ]

    assert differ == []


def test_the_fields_inside_others_are_among_those_that_are_tried() -> None:
    names = {name for name, *_ in CASES}

    assert "/v1/chat/completions stream_options.include_usage" in names
    assert "/v1/chat/completions messages.0.tool_calls.0.function.arguments" in names
    assert "/v1/messages messages.0.content.0.is_error" in names
    assert "/api/chat options.num_predict" in names
    assert len(CASES) > 400


@pytest.mark.parametrize("endpoint", BODIES, ids=[one.path for one in BODIES])
def test_null_for_a_required_field_is_refused_by_its_name(door: Door, endpoint: Endpoint) -> None:
    assert endpoint.body is not None
    for name, field in endpoint.body.model_fields.items():
        if not field.is_required():
            continue
        status, error = said(door, endpoint.path, {**least(endpoint), name: None})

        assert status == 400, (endpoint.path, name)
        assert name in str(error)


def test_the_document_says_that_null_may_be_sent() -> None:
    for endpoint in BODIES:
        assert endpoint.body is not None
        assert issubclass(endpoint.body, Body)
        facts = endpoint.body.model_json_schema()
        required = facts.get("required", ())
        for name, one in facts["properties"].items():
            if name not in required:
                kinds = one.get("anyOf", [one])
                assert {"type": "null"} in kinds or "type" not in one, (endpoint.path, name)
