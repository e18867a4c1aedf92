"""Serves umad's own endpoints about jobs: /pull and /jobs.

A stream of /pull tells of a job and ends with it; whoever leaves it leaves the job running. Errors
have OpenAI's shape.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.types import ASGIApp

from umad.errors import BadRequest
from umad.gateway import sse
from umad.gateway.bodies.jobs import JobAnswer, JobList, NewJobBody, PullModelBody
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer


async def _pull(call: GatewayCall) -> ASGIApp:
    body = call.body(PullModelBody)
    row = await call.service.pull(
        body.model,
        quantize=body.quantize,
        parts=body.parts,
        bytes_per_s=body.bytes_per_s,
        keep_free_bytes=body.keep_free_bytes,
    )
    return call.stream(_events(call, row)) if body.stream else answer(dict(row))


async def _events(call: GatewayCall, row: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(call.shared.jobs.rows(call.service, row)) as rows:
        async for one in rows:
            yield sse.event("job", dict(one))
    yield sse.DONE


async def _new(call: GatewayCall) -> ASGIApp:
    body = call.body(NewJobBody)
    if body.kind == "quantize":
        return answer(dict(await call.service.quantize(body.model, to=body.to, name=body.name)))
    for name in ("to", "name"):
        if getattr(body, name) is not None:
            raise BadRequest(f"a load has no {name}", field=name)
    return answer(dict(await call.service.load_in_background(body.model)))


async def _jobs(call: GatewayCall) -> ASGIApp:
    return answer({"jobs": [dict(row) for row in await call.service.jobs()]})


async def _job(call: GatewayCall) -> ASGIApp:
    said = call.request.query_params.get("after")
    if said is not None and not (said.isascii() and said.isdigit() and len(said) < 10):
        raise BadRequest("after is the version of the job that is known already", field="after")
    after = None if said is None else int(said)
    return answer(dict(await call.service.job(call.request.path_params["id"], after=after)))


async def _cancel(call: GatewayCall) -> ASGIApp:
    return answer(dict(await call.service.cancel_job(call.request.path_params["id"])))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/pull",
        handle=_pull,
        dialect=OPENAI,
        summary="Fetch a model, as a job",
        body=PullModelBody,
        answer=JobAnswer,
        streams=sse.EVENTS,
        for_admins=True,
    ),
    Endpoint(
        method="POST",
        path="/jobs",
        handle=_new,
        dialect=OPENAI,
        summary="Load or quantize a model, as a job",
        body=NewJobBody,
        answer=JobAnswer,
    ),
    Endpoint(
        method="GET",
        path="/jobs",
        handle=_jobs,
        dialect=OPENAI,
        summary="The caller's jobs",
        answer=JobList,
    ),
    Endpoint(
        method="GET",
        path="/jobs/{id}",
        handle=_job,
        dialect=OPENAI,
        summary="One job; with ?after=VERSION, once it has changed",
        answer=JobAnswer,
    ),
    Endpoint(
        method="DELETE",
        path="/jobs/{id}",
        handle=_cancel,
        dialect=OPENAI,
        summary="End a job",
        answer=JobAnswer,
    ),
)
