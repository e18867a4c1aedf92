"""Makes the OpenAPI document of every endpoint, and a page that shows it without outside assets.

Both are made once, from the tables of endpoints and pydantic's schemas.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from umad.gateway.dialect import Dialect
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall
from umad.version import __version__

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_REF = "#/components/schemas/{model}"
_ERRORS = {
    "400": "Something in the request is wrong; the field is named",
    "401": "A key is needed",
    "403": "The Host or Origin is not answered to",
    "404": "No such model, path or thing",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body is compressed, or the file is no recording",
    "429": "Too many requests; Retry-After says when",
    "500": "A bug; the log says more under the request's id",
    "501": "Not supported by this version or model",
    "502": "The daemon is of another version",
    "503": "The model does not answer now",
    "504": "A deadline has passed",
}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """OpenAPI 3.1."""
    kinds = {
        kind
        for one in endpoints
        for kind in (one.body, one.answer, one.dialect.problem)
        if kind is not None
    }
    ordered = sorted(kinds, key=lambda kind: (kind.__name__, kind.__module__))
    refs, schemas = models_json_schema(
        [(kind, "validation") for kind in ordered], ref_template=_REF
    )
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        operation: dict[str, Any] = {
            "summary": one.summary,
            "operationId": _operation_id(one),
            "tags": [one.dialect.name],
            "responses": {"200": _done(one, refs), **_errors(one, refs)},
        }
        if one.needs_key:
            operation["security"] = [{"key": []}, {}]
        names = _PARAMETER.findall(one.path)
        if names:
            operation["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ]
        if one.body is not None:
            schema = refs[one.body, "validation"]
            operation["requestBody"] = _body("application/json", schema)
        elif one.form is not None:
            operation["requestBody"] = _body("multipart/form-data", one.form)
        path = _PARAMETER.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "umad", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _body(media_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _done(one: Endpoint, refs: Any) -> dict[str, Any]:
    """The successful answer, by media type."""
    content: dict[str, Any] = {media_type: {} for media_type in one.types}
    if one.answer is not None:
        content["application/json"] = {"schema": refs[one.answer, "validation"]}
    if one.streams is not None:
        content[one.streams.partition(";")[0]] = {}  # OpenAPI has no word for its pieces
    return {"description": "Done", "content": content}


def _errors(one: Endpoint, refs: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": refs[one.dialect.problem, "validation"]}}
    errors = {status: {"description": text, "content": content} for status, text in _ERRORS.items()}
    if one.answers_503:
        errors["503"] = {**_done(one, refs), "description": _ERRORS["503"]}
    return errors


def _operation_id(one: Endpoint) -> str:
    words = re.findall(r"\w+", _PARAMETER.sub(r"\1", one.path))
    return "_".join([one.method.lower(), *words])


def docs_of(endpoints: Sequence[Endpoint], dialect: Dialect) -> tuple[Endpoint, ...]:
    """/openapi.json and /docs about `endpoints`."""
    described = document(endpoints)
    page = _page(described)
    # Made once: it is 150 KB of JSON, and anybody may ask for it, without a key too.
    said = JSONResponse(described).body

    async def openapi(call: GatewayCall) -> ASGIApp:
        return Response(said, media_type="application/json")

    async def docs(call: GatewayCall) -> ASGIApp:
        return HTMLResponse(page, headers={"content-security-policy": _POLICY})

    return (
        Endpoint(
            method="GET",
            path="/openapi.json",
            handle=openapi,
            dialect=dialect,
            summary="This interface",
            needs_key=False,
        ),
        Endpoint(
            method="GET",
            path="/docs",
            handle=docs,
            dialect=dialect,
            summary="This interface to read",
            needs_key=False,
        ),
    )


_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>umad</title>
<meta name="viewport" content="width=device-width"><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code{font-family:ui-monospace,monospace}summary{cursor:pointer}td{padding:.1rem 1rem .1rem 0}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}</style>
<h1>umad</h1><p>The whole of it for programs: <a href="openapi.json">openapi.json</a></p>"""


def _page(described: dict[str, Any]) -> str:
    """A list of the endpoints, each with the fields of its body."""
    pieces = [_HEAD]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            pieces.append(
                f"<details><summary><code>{method.upper()} {html.escape(path)}</code> "
                f"{html.escape(operation['summary'])}</summary>{_fields(described, operation)}"
                "</details>"
            )
    return "".join(pieces) + "</html>"


def _fields(described: dict[str, Any], operation: dict[str, Any]) -> str:
    body = operation.get("requestBody")
    if body is None:
        return "<p>No body.</p>"
    (content,) = body["content"].values()
    schema = content["schema"]
    if "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{html.escape(field)}</code></td><td>{html.escape(_kind(facts))}</td>"
        f"<td>{'required' if field in required else ''}</td></tr>"
        for field, facts in schema.get("properties", {}).items()
    )
    return f"<table>{rows}</table>"


def _kind(facts: dict[str, Any]) -> str:
    if "$ref" in facts:
        return str(facts["$ref"]).rpartition("/")[2]
    if "anyOf" in facts:
        kinds = [_kind(one) for one in facts["anyOf"] if one.get("type") != "null"]
        return " or ".join(kinds)
    if facts.get("type") == "array":
        return f"list of {_kind(facts.get('items', {}))}"
    return str(facts.get("type", "any"))
