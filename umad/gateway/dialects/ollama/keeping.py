"""Serves Ollama's endpoints that fetch, name, make and delete models.

    /api/pull      a job; a name of umad's catalogue means that, any other Ollama's registry
    /api/create    a preset of a model that is here, or with `quantize` a smaller copy of it
    /api/copy      a second name
    /api/delete    a model that umad keeps, or a preset
    /api/push      501: no model is given away

As with Ollama, a pull ends when the last client that follows it has left, unless somebody else
began it, and the next one goes on from there. What `create` cannot keep is refused by its field.
Source: Ollama's docs/api.md, api/types.go (ProgressResponse), server/images.go (PullModel).
"""

import contextlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import ASGIApp

from umad.errors import BadRequest, UmadError, UnknownModel, Unsupported
from umad.gateway import sse
from umad.gateway.bodies.answers import Pulled
from umad.gateway.bodies.base import Written
from umad.gateway.bodies.ollama import CopyBody, CreateBody, DeleteBody, Options, PullBody
from umad.gateway.dialects.ollama.errors import OLLAMA
from umad.gateway.endpoint import Endpoint
from umad.gateway.field_names import bad_request_of
from umad.gateway.gateway_call import GatewayCall, answer
from umad.model_names import KnownModel, resolve

Row = Mapping[str, Any]
Line = Mapping[str, Any]
_LATEST = ":latest"
# Texts that say by themselves where a model comes from.
_SCHEMES = ("hf:", "ollama:", "http://", "https://", "hf.co/", "huggingface.co/")
_DIGEST_CHARS = 12
_SUCCESS: Line = {"status": "success"}
# What `create` is asked for and no preset has, with what to do instead.
_NOT_KEPT = {
    "template": "the model's own template is used",
    "messages": "send them with each chat",
    "license": "a preset has no licence of its own",
    "adapters": "name one with the model: from base+adapter",
    "files": "files are not sent to umad: pull the model, or put its file into a model folder",
    "modelfile": "a Modelfile's text is not read: send from, system and parameters",
    "path": "a Modelfile is not read: send from, system and parameters",
}


# -- pull ------------------------------------------------------------------------------------------


async def _pull(call: GatewayCall) -> ASGIApp:
    """Clients pull a model that is not in their list under exactly their name for it (Codex does).
    One that is loaded already needs nothing more, whoever asks.
    """
    body = call.body(PullBody)
    asked = _needed(body.model or body.name, "model")
    if await _is_loaded(call, asked):
        lines = _of([{"status": "pulling manifest"}, _SUCCESS])
    else:
        row = await _pulling(call, asked)
        lines = _pull_lines(call.shared.jobs.rows(call.service, row, ends_it=True))
    return await _told(call, lines, stream=body.stream)


async def _is_loaded(call: GatewayCall, asked: str) -> bool:
    """Whether a model is loaded that `asked` names whole: who pulls `llama3` does not mean a loaded
    `llama3.1`.
    """
    known = [KnownModel.of_row(row) for row in await call.service.models()]
    try:
        return resolve(await call.local(asked) or asked, known, whole=True) is not None
    except UnknownModel:  # several are called so
        return False


async def _pulling(call: GatewayCall, asked: str) -> Row:
    """The job that fetches what a client of Ollama means."""
    if asked.lower().startswith(_SCHEMES):
        return await call.service.pull(asked)
    if "/" in asked:  # a namespace of the registry, or another registry
        return await call.service.pull(f"ollama:{asked}")
    try:
        return await call.service.pull(asked)
    except UnknownModel:
        return await call.service.pull(f"ollama:{asked}")


async def _pull_lines(rows: AsyncGenerator[Row, None]) -> AsyncGenerator[Line, None]:
    """A job as Ollama tells of a pull: a line for each layer as it grows. A line comes again where
    nothing has happened for some seconds, for whoever takes silence for the end.
    """
    last: Line = {"status": "pulling manifest"}
    yield last
    told: dict[str, int] = {}
    async with contextlib.aclosing(rows):
        async for row in rows:
            parts = row["parts"] if row["step"] == "fetching" else ()
            grown = [one for one in parts if told.get(one["name"]) != one["done"]]
            for part in grown:
                told[part["name"]] = part["done"]
                last = _layer(part)
                yield last
            if not grown:
                yield last
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield {"status": status}


def _layer(part: Mapping[str, Any]) -> Line:
    digest = str(part["digest"])
    name = digest[:_DIGEST_CHARS] or part["name"]
    return {
        "status": f"pulling {name}",
        **({"digest": f"sha256:{digest}"} if digest else {}),
        "total": part["total"],
        **({"completed": part["done"]} if part["done"] else {}),
    }


# -- create ----------------------------------------------------------------------------------------


async def _create(call: GatewayCall) -> ASGIApp:
    body = call.body(CreateBody)
    name = _needed(body.model or body.name, "model").removesuffix(_LATEST)
    for field, instead in _NOT_KEPT.items():
        if getattr(body, field):
            raise Unsupported(f"{field} cannot be kept: {instead}", field=field)
    source = _needed(body.source or "", "from")
    if body.quantize:
        for field in ("system", "parameters"):
            if getattr(body, field):
                raise Unsupported(
                    f"quantize makes a model, and {field} belongs to a preset: create that from "
                    "the new model afterwards",
                    field=field,
                )
        with _named(call):
            row = await call.service.quantize(source, to=body.quantize, name=name)
        rows = call.shared.jobs.rows(call.service, row, ends_it=True)
        return await _told(call, _quantize_lines(rows), stream=body.stream)
    sampling = _sampling_of(body.parameters or {})
    with _named(call):
        await call.service.save_preset(name, source, system=body.system, sampling=sampling)
    lines = _of([{"status": "using existing layer"}, {"status": "writing manifest"}, _SUCCESS])
    return await _told(call, lines, stream=body.stream)


def _sampling_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a Modelfile as a preset's sampling. What is no sampling is refused: nothing
    would follow it.
    """
    known = set(Options.model_fields) | {one for two in Options.other_names.values() for one in two}
    for name in parameters:
        if name not in known:
            raise Unsupported(
                f"parameters.{name} cannot be kept; how a model is loaded is settled by umad",
                field=f"parameters.{name}",
            )
    try:
        options = Options.model_validate(dict(parameters))
    except ValidationError as error:
        wrong = bad_request_of(error, Options, Written())
        raise BadRequest(f"parameters.{wrong.message}", field=f"parameters.{wrong.field}") from None
    given = options.drawing()
    if options.num_predict:
        given["max_tokens"] = options.num_predict
    if "logit_bias" in given:
        raise Unsupported("parameters.logit_bias cannot be kept", field="parameters.logit_bias")
    return given


async def _quantize_lines(rows: AsyncGenerator[Row, None]) -> AsyncGenerator[Line, None]:
    """A job as Ollama tells of a quantization."""
    yield {"status": "reading model metadata"}
    async with contextlib.aclosing(rows):
        async for row in rows:
            for part in row["parts"] if row["step"] == "quantizing" else ():
                yield {
                    "status": f"quantizing {part['name']}",
                    "total": part["total"],
                    "completed": part["done"],
                }
            if row["step"] == "checking":
                yield {"status": "verifying conversion"}
    yield {"status": "writing manifest"}
    yield _SUCCESS


# -- the rest --------------------------------------------------------------------------------------


async def _copy(call: GatewayCall) -> ASGIApp:
    body = call.body(CopyBody)
    source = _needed(body.source, "source")
    new = _needed(body.destination, "destination")
    with _named(call):
        await call.service.copy_model(source, new.removesuffix(_LATEST))
    return Response(status_code=200)


async def _delete(call: GatewayCall) -> ASGIApp:
    body = call.body(DeleteBody)
    removed = await call.service.remove_model(_needed(body.model or body.name, "model"))
    call.shared.watchers.note_removed(str(removed["name"]))
    return Response(status_code=200)


async def _push(call: GatewayCall) -> ASGIApp:
    raise Unsupported("push is not served: models are fetched, and none is given away")


@contextlib.contextmanager
def _named(call: GatewayCall) -> Iterator[None]:
    """Names the fields of the daemon's errors as the body does."""
    try:
        yield
    except UmadError as error:
        raise call.named(error) from None


def _needed(text: str, field: str) -> str:
    if not text:
        raise BadRequest(f"{field} is missing", field=field)
    return text


async def _of(lines: list[Line]) -> AsyncGenerator[Line, None]:
    for line in lines:
        yield line


async def _told(
    call: GatewayCall, lines: AsyncGenerator[Line, None], *, stream: bool | None
) -> ASGIApp:
    """The lines as they come; without a stream, the last one."""
    if stream is not False:
        return call.stream(_pieces(lines), media_type=sse.LINES)
    last: Line = _SUCCESS
    async with contextlib.aclosing(lines):
        async for line in lines:
            last = line
    return answer(dict(last))


async def _pieces(lines: AsyncGenerator[Line, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield sse.line(line)


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/pull",
        handle=_pull,
        dialect=OLLAMA,
        summary="Fetch a model, as Ollama does",
        answer=Pulled,
        streams=sse.LINES,
        body=PullBody,
    ),
    Endpoint(
        method="POST",
        path="/api/create",
        handle=_create,
        dialect=OLLAMA,
        summary="Make a preset or a smaller copy of a model",
        answer=Pulled,
        streams=sse.LINES,
        body=CreateBody,
        for_admins=True,
        names={"model": "from", "name": "model", "to": "quantize"},
    ),
    Endpoint(
        method="POST",
        path="/api/copy",
        handle=_copy,
        dialect=OLLAMA,
        summary="Give a model a second name",
        body=CopyBody,
        for_admins=True,
        names={"model": "source", "name": "destination"},
    ),
    Endpoint(
        method="DELETE",
        path="/api/delete",
        handle=_delete,
        dialect=OLLAMA,
        summary="Delete a model that umad keeps",
        body=DeleteBody,
        for_admins=True,
    ),
    Endpoint(
        method="POST",
        path="/api/push",
        handle=_push,
        dialect=OLLAMA,
        summary="Push a model (not served)",
    ),
)
