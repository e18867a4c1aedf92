"""Takes one HTTP request from the door to its line in the log.

    host -> key -> quota -> body -> place -> handler -> answer

Starlette cancels neither a handler nor a stream when the client leaves. So a watcher reads on after
the body: `http.disconnect` cancels the handler's task, and that closes the task's generations in
whatever state they are. Not: routing (Starlette), nor a dialect's answers.
"""

import asyncio
import logging
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from umad.asker import Asker
from umad.errors import BadRequest, InternalError, Refused, UmadError
from umad.gateway.arriving import ClientGone, whole_body
from umad.gateway.dialect import CONNECTION, Dialect
from umad.gateway.door.keys import ANYBODY, Caller
from umad.gateway.door.peers import peer_of
from umad.gateway.endpoint import Endpoint
from umad.gateway.errors import CLIENT_GONE, Crowded, problem_of
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.request_ids import request_id_of
from umad.gateway.shared import Shared
from umad.gateway.spans import RequestSpan

log = logging.getLogger(__name__)

_CLOSING = (408, 413, 415)  # the rest of such a body is not waited for


class _Sender:
    """`send` with a request id on it, and what was sent so far."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._header = (b"x-request-id", request_id.encode())
        self.status = 0
        self.finished = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), self._header]}
        elif not message.get("more_body", False):
            self.finished = True
        await self._send(message)


class Served:
    """The ASGI application of one endpoint."""

    def __init__(self, endpoint: Endpoint, shared: Shared) -> None:
        self._endpoint = endpoint
        self._shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop, counts, path = asyncio.get_running_loop(), self._shared.counts, self._endpoint.path
        headers = Headers(scope=scope)
        request_id = request_id_of(headers.get("x-request-id"))
        sender = _Sender(send, request_id)
        began_s = loop.time()
        caller, span = ANYBODY, None
        if self._shared.spans is not None:
            span = self._shared.spans.request(self._endpoint.method, path, headers, request_id)
        counts.live.inc()
        try:
            caller = self._enter(headers, scope)
            connection = scope.get("extensions", {}).get(CONNECTION)
            if connection is not None:
                connection["connection"].known_as(caller.name)
            await self._serve(scope, receive, sender, request_id, caller, span)
        except ClientGone:
            sender.status = CLIENT_GONE
        except UmadError as error:
            await self._refuse(error, scope, receive, sender, request_id)
        except Exception:
            # A request's boundary: a bug fails one answer, not the gateway.
            log.exception("request failed unexpectedly id=%s path=%s", request_id, path)
            await self._refuse(InternalError("see the log"), scope, receive, sender, request_id)
        finally:
            took_s = loop.time() - began_s
            counts.live.dec()
            if span is not None:
                span.end(sender.status, caller.app)
            counts.requests.labels(path, str(sender.status)).inc()
            counts.latency_s.labels(path).observe(took_s)
            log.info(
                "request id=%s key=%s method=%s path=%s status=%d ms=%.1f",
                request_id,
                caller.name,
                scope["method"],  # HEAD is answered wherever GET is
                path,
                sender.status,
                took_s * 1e3,
            )

    def _enter(self, headers: Headers, scope: Scope) -> Caller:
        """The caller. Raises the door's refusal."""
        shared, endpoint = self._shared, self._endpoint
        caller = shared.entrance.caller(headers, peer_of(scope), needs_key=endpoint.needs_key)
        if endpoint.for_admins and not caller.asker.is_admin:
            raise Refused(f"{endpoint.path} is for admins: use a key with `role: admin`")
        if caller.app is None and endpoint.needs_key:
            return replace(caller, app=self._app_of(caller.asker, headers))
        return caller

    def _app_of(self, asker: Asker, headers: Headers) -> str | None:
        """An app for a caller without a key. The number of names is limited, so only the machine's
        user gets one by User-Agent: strangers could use them up. Others are named by their kind
        (page, uid, net).
        """
        if asker.owner:
            return asker.owner.partition(":")[0]
        return self._shared.app_name(headers.get("user-agent"))

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        sender: _Sender,
        request_id: str,
        caller: Caller,
        span: RequestSpan | None,
    ) -> None:
        shared, endpoint = self._shared, self._endpoint
        if endpoint.is_work:
            shared.quotas.take(caller, asyncio.get_running_loop().time())
        limits, whose = shared.settings, _owner(caller, scope)
        async with whole_body(
            scope,
            receive,
            bodies=shared.bodies,
            whose=whose,
            limit=limits.body_bytes,
            within_s=limits.body_s,
        ) as raw:
            with shared.places.one(whose) if endpoint.is_work else nullcontext():
                work = asyncio.create_task(
                    self._work(scope, sender, request_id, caller, span, raw, whose),
                    name=f"request {request_id}",
                )
                gone = asyncio.create_task(_disconnected(receive), name=f"watch {request_id}")
                try:
                    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if not work.done() and not sender.finished:
                        raise ClientGone
                    await work
                finally:
                    gone.cancel()
                    if not work.done():
                        work.cancel()
                        await asyncio.wait({work})

    async def _work(
        self,
        scope: Scope,
        sender: _Sender,
        request_id: str,
        caller: Caller,
        span: RequestSpan | None,
        raw: bytes,
        whose: str,
    ) -> None:
        async with AsyncExitStack() as exits:
            meter = self._shared.quotas.meter(caller, asyncio.get_running_loop().time)
            if meter is not None:
                exits.callback(meter.close)
            call = GatewayCall(
                request=Request(scope),
                raw=raw,
                endpoint=self._endpoint,
                shared=self._shared,
                caller=caller,
                request_id=request_id,
                span=span,
                exits=exits,
                whose=whose,
                meter=meter,
            )
            response = await self._endpoint.handle(call)
            await response(scope, _never, sender)

    async def _refuse(
        self, error: UmadError, scope: Scope, receive: Receive, sender: _Sender, request_id: str
    ) -> None:
        if sender.status:
            return  # half an answer was sent; only closing the connection can tell the failure
        await refuse(error, self._endpoint.dialect, request_id)(scope, receive, sender)


def refuse(error: UmadError, dialect: Dialect, request_id: str) -> Response:
    """An answer that tells `error`, in a dialect's shape."""
    problem = problem_of(error, request_id)
    response = answer(dialect.error(problem), problem.status)
    if problem.retry_after_s is not None:
        response.headers["retry-after"] = str(problem.retry_after_s)
    if problem.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if problem.status in _CLOSING or isinstance(error, Crowded):
        response.headers["connection"] = "close"
    # Not the field: its name may be the client's own.
    log.info("refused id=%s code=%s", request_id, problem.code)
    return response


def _owner(caller: Caller, scope: Scope) -> str:
    """The owner that a request counts for where room is shared: its key, or else its address."""
    if caller.name != ANYBODY.name:
        return f"key {caller.name}"
    if caller.asker.owner:
        return caller.asker.owner
    client = scope.get("client")
    return f"from {client[0] if client else 'here'}"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _never() -> Message:
    """The `receive` of Starlette's own responses: it gives nothing, because the watcher reads."""
    await asyncio.get_running_loop().create_future()
    raise BadRequest("unreachable")
