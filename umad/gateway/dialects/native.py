"""Serves umad's own endpoints: /generate, /load, /unload, /estimate, /priority, /cancel, /forget,
/status, /health, /diag.

Errors have OpenAI's shape. Not: /metrics (`dialects.metrics`).
"""

import os
import platform
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from starlette.types import ASGIApp

from umad.errors import BadRequest, UmadError
from umad.gateway import sse
from umad.gateway.bodies.answers import (
    CancelledAnswer,
    Diagnosis,
    ForgottenSessions,
    Generated,
    Health,
    Moved,
    Status,
    Unloaded,
)
from umad.gateway.bodies.native import (
    CancelBody,
    EstimateBody,
    ForgetBody,
    GenerateBody,
    ModelBody,
    PriorityBody,
)
from umad.gateway.bodies.scorecard import EstimateAnswer, LoadedAnswer
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.dialects.openai.turns import turns_of
from umad.gateway.endpoint import Endpoint
from umad.gateway.errors import problem_of
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.generation import GatewayGeneration, collect
from umad.request import GenerateRequest
from umad.service import Done, Progress
from umad.version import __version__


def request_of(body: GenerateBody) -> GenerateRequest:
    """The body as a request. Raises `BadRequest`."""
    turns = None if body.messages is None else turns_of(body.messages)
    return GenerateRequest(
        prompt=body.prompt,
        prompt_ids=None if body.prompt_ids is None else tuple(body.prompt_ids),
        messages=turns,
        special=body.special is not False,
        sampling=body.sampling(max_tokens=body.max_tokens, logprobs=body.logprobs, fit=False),
        resume=None if body.resume is None else body.resume.begun(),
        **body.place(),
    )


async def _generate(call: GatewayCall) -> ASGIApp:
    body = call.body(GenerateBody)
    request = request_of(body)
    generation = await call.open(request)
    if body.stream is not False:
        return call.stream(_events(generation))
    completions = await collect(generation, request.n)
    return answer(
        {
            **asdict(generation.accepted),
            "completions": [
                {
                    "index": one.index,
                    "text": one.text,
                    "ids": one.ids,
                    "logprobs": [asdict(row) for row in one.logprobs] or None,
                    "finish_reason": one.finish_reason,
                    "stop": one.stop,
                    "usage": asdict(one.usage),
                    "timings": asdict(one.timings),
                }
                for one in completions
            ],
        }
    )


async def _events(generation: GatewayGeneration) -> AsyncGenerator[bytes, None]:
    """The socket's events under their names."""
    yield sse.event("accepted", asdict(generation.accepted))
    async for heard in generation:
        if isinstance(heard, Progress):
            name = "progress"
        else:
            name = "done" if isinstance(heard, Done) else "tokens"
        yield sse.event(name, asdict(heard))
    yield sse.DONE


async def _load(call: GatewayCall) -> ASGIApp:
    model = call.body(ModelBody).model
    facts = await call.service.load(await call.local(model) or model)
    call.shared.models.forget()
    return answer(dict(facts))


async def _estimate(call: GatewayCall) -> ASGIApp:
    body = call.body(EstimateBody)
    found = await call.service.estimate(
        await call.local(body.model) or body.model,
        ctx_size=body.ctx_size,
        max_seqs=body.max_seqs,
        kv_type=body.kv_type,
    )
    return answer(found.as_map())


async def _unload(call: GatewayCall) -> ASGIApp:
    body = call.body(ModelBody)
    await call.service.unload(await call.local(body.model) or body.model)
    call.shared.models.forget()
    return answer({"model": body.model, "state": "unloaded"})


async def _priority(call: GatewayCall) -> ASGIApp:
    body = call.body(PriorityBody)
    named = [one for one in (body.session, body.request, body.target) if one is not None]
    if len(named) != 1:
        raise BadRequest(
            "priority names a session, a request, or a target that is either", field="session"
        )
    return answer({"moved": await call.service.set_priority(named[0], body.lane)})


async def _cancel(call: GatewayCall) -> ASGIApp:
    body = call.body(CancelBody)
    await call.service.cancel(body.request)
    return answer({"request": body.request, "state": "cancelled"})


async def _forget(call: GatewayCall) -> ASGIApp:
    body = call.body(ForgetBody)
    if (body.session is not None) == body.all:
        raise BadRequest("forget names a session, or has all: true", field="session")
    return answer(dict(await call.service.forget(body.session, all=body.all)))


async def _status(call: GatewayCall) -> ASGIApp:
    service = call.service
    return answer(
        {
            "version": __version__,
            "models": [dict(row) for row in await service.models()],
            "requests": [dict(row) for row in await service.sessions()],
        }
    )


async def _health(call: GatewayCall) -> ASGIApp:
    """For a load balancer or a container: 200 once a model answers, else 503 and why. A suspended
    one answers after a while.
    """
    try:
        states = [str(row["state"]) for row in await call.service.models()]
    except UmadError as error:
        problem = problem_of(error, call.id)
        return answer({"status": "unavailable", "reason": problem.code}, 503)
    if not _ANSWERING.isdisjoint(states):
        return answer({"status": "ok"})
    return answer({"status": "loading" if states else "no model"}, 503)


async def _diag(call: GatewayCall) -> ASGIApp:
    """Facts for a report of a problem; no prompts, keys or paths of files."""
    found: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "gateway_pid": os.getpid(),
        "keys": not call.shared.entrance.keys.is_open,
        "aliases": len(call.shared.aliases.plain()),
    }
    try:
        rows = await call.service.models()
        found["daemon"] = "running"
        found["models"] = [{name: row.get(name) for name in _DIAG_FACTS} for row in rows]
    except UmadError as error:
        found["daemon"] = problem_of(error, call.id).message
    return answer(found)


# States in which a request is answered, though it may wait for a load.
_ANSWERING = frozenset({"ready", "yielding", "suspending", "suspended", "reopening"})
_DIAG_FACTS = ("name", "state", "architecture", "backend", "ctx", "seqs", "restarts", "kv_type")


def _native(method: Any, path: str, handle: Any, summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method, path=path, handle=handle, dialect=OPENAI, summary=summary, **more
    )


ENDPOINTS = (
    _native(
        "POST",
        "/generate",
        _generate,
        "Generate",
        body=GenerateBody,
        is_work=True,
        answer=Generated,
        streams=sse.EVENTS,
    ),
    _native("POST", "/load", _load, "Load a model", body=ModelBody, answer=LoadedAnswer),
    _native(
        "POST",
        "/estimate",
        _estimate,
        "Reckon the memory of a model",
        body=EstimateBody,
        answer=EstimateAnswer,
        for_admins=True,
    ),
    _native(
        "POST",
        "/unload",
        _unload,
        "Unload a model",
        body=ModelBody,
        answer=Unloaded,
        for_admins=True,
    ),
    _native(
        "POST", "/priority", _priority, "Move work to another lane", body=PriorityBody, answer=Moved
    ),
    _native("POST", "/cancel", _cancel, "End a request", body=CancelBody, answer=CancelledAnswer),
    _native(
        "POST",
        "/forget",
        _forget,
        "Remove what is kept of a session",
        body=ForgetBody,
        answer=ForgottenSessions,
    ),
    _native("GET", "/status", _status, "Models and live requests", answer=Status),
    *(
        _native(
            "GET",
            path,
            _health,
            "Whether a model answers",
            needs_key=False,
            answer=Health,
            answers_503=True,
        )
        for path in ("/health", "/v1/health")  # llama-server has both
    ),
    _native(
        "GET",
        "/diag",
        _diag,
        "What a report of a problem needs",
        answer=Diagnosis,
        for_admins=True,
    ),
)
