"""Serves POST /v1/responses: a chat whose turns are stored, so that the next turn only names it.

Not: the order of events (`responses_writer`), where the items of earlier turns come from
(`responses_history`) and what they mean (`responses_items`), nor reading stored responses
(`responses_kept`).
"""

import secrets
from collections.abc import AsyncGenerator
from typing import Any

from starlette.types import ASGIApp

from umad.conversation import ChatOptions, Tool
from umad.errors import BadRequest, Unsupported
from umad.gateway import sse
from umad.gateway.answer_parts import Content, Reasoning
from umad.gateway.bodies.answers import ResponseAnswer
from umad.gateway.bodies.openai_responses import Item, ResponseBody
from umad.gateway.bodies.thinking import thinking_options
from umad.gateway.dialects.openai.error_shape import OPENAI_RESPONSES
from umad.gateway.dialects.openai.logprobs import chat_logprobs
from umad.gateway.dialects.openai.responses_history import conversation_of
from umad.gateway.dialects.openai.responses_items import turns_of
from umad.gateway.dialects.openai.responses_writer import ResponseWriter
from umad.gateway.dialects.openai.turns import choice_of, tools_of
from umad.gateway.dialects.openai.usage import now_s
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.replies import ChatReply, Said
from umad.gateway.responses_store import Stored
from umad.request import GenerateRequest
from umad.service import Progress, TokenLogprob

# `include` names this for logprobs; its other names add data that only OpenAI's own tools make.
_LOGPROBS = "message.output_text.logprobs"
NAMES = {
    "tool_name": "tool_choice",
    "max_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
    "messages": "input",
    "prompt": "input",
}


def _tools(body: ResponseBody) -> tuple[Tool, ...]:
    offered = [one for one in body.tools or () if one.get("type") == "function"]
    for at, one in enumerate(offered):
        if not isinstance(one.get("name"), str):
            raise BadRequest(f"tools.{at}: a function has a name", field=f"tools.{at}.name")
        if not isinstance(one.get("parameters") or {}, dict):
            raise BadRequest(
                f"tools.{at}: parameters are a JSON schema", field=f"tools.{at}.parameters"
            )
    return tools_of(
        (one["name"], one.get("description"), one.get("parameters"), one.get("strict") is True)
        for one in offered
    )


def request_of(body: ResponseBody, items: list[Item]) -> GenerateRequest:
    """The whole conversation as a request. Raises `BadRequest` naming the body's field."""
    for field in ("background", "conversation", "prompt"):
        if getattr(body, field):
            raise Unsupported(f"{field} is not supported", field=field)
    if not items:
        raise BadRequest("input: say something", field="input")
    tools = _tools(body)
    reasoning = body.reasoning
    thinking = thinking_options(
        effort=None if reasoning is None else reasoning.effort,
        budgets={
            "reasoning.max_tokens": None if reasoning is None else reasoning.max_tokens,
            "reasoning_budget": body.reasoning_budget,
        },
        template_kwargs=body.chat_template_kwargs,
    )
    options = {
        "tools": tools,
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        **thinking,
    }
    return GenerateRequest(
        messages=turns_of(items, body.instructions),
        chat=ChatOptions(**{**options, **choice_of(body.tool_choice, tools, "tool_choice")}),
        sampling=body.sampling(
            max_tokens=body.max_output_tokens,
            logprobs=(body.top_logprobs or 0) if _LOGPROBS in (body.include or ()) else None,
        ),
        **{**body.place(), "n": 1},
    )


async def _create(call: GatewayCall) -> ASGIApp:
    body = call.body(ResponseBody)
    items = await conversation_of(call, body)
    reply = await call.chat(request_of(body, items))
    writer = ResponseWriter(_blank(body, reply.accepted.model))
    if body.stream:
        return call.stream(_events(call, body, items, reply, writer))
    async for _ in _events(call, body, items, reply, writer):
        pass
    return answer(writer.response)


async def _events(
    call: GatewayCall,
    body: ResponseBody,
    items: list[Item],
    reply: ChatReply,
    writer: ResponseWriter,
) -> AsyncGenerator[bytes, None]:
    model = reply.accepted.model
    reasoning_tokens = 0
    unlisted: list[TokenLogprob] = []
    for said in writer.begin():
        yield said
    async for heard in reply:
        if isinstance(heard, Progress):
            yield sse.comment(f"prefill {heard.done_tokens}/{heard.total_tokens}")
        elif isinstance(heard, Said):
            if heard.parts and all(isinstance(one, Reasoning) for one in heard.parts):
                reasoning_tokens += len(heard.ids)
            unlisted += heard.logprobs or ()
            for part in heard.parts:
                listed: list[dict[str, Any]] = []
                if isinstance(part, Content) and unlisted:
                    listed = await chat_logprobs(call.shared.token_bytes, model, unlisted)
                    unlisted.clear()
                for said in writer.say(part, listed):
                    yield said
            if heard.parts:
                unlisted.clear()  # tokens of thinking, calls and marks
        else:
            last = list(
                writer.finish(heard.finish_reason, heard.usage, reasoning_tokens=reasoning_tokens)
            )
            if body.store is not False:
                # Stored before the client hears of it, because its next request may come at once.
                await _keep(call, items, writer)
            for said in last:
                yield said


async def _keep(call: GatewayCall, items: list[Item], writer: ResponseWriter) -> None:
    rows = [one.model_dump(exclude_none=True) for one in items] + writer.output
    stored = Stored(response=sse.encode_json(writer.response), items=sse.encode_json(rows))
    await call.shared.store.put(writer.response["id"], call.owner, stored)


def _blank(body: ResponseBody, model: str) -> dict[str, Any]:
    """A response before anything was said."""
    text_format = {"type": "text"}
    if body.text is not None and body.text.format is not None:
        text_format = body.text.format.model_dump(by_alias=True, exclude_none=True)
    return {
        "id": f"resp_{secrets.token_hex(16)}",
        "object": "response",
        "created_at": now_s(),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "reasoning": {
            "effort": None if body.reasoning is None else body.reasoning.effort,
            "summary": None,
        },
        "store": body.store is not False,
        "temperature": body.temperature,
        "text": {"format": text_format},
        "tool_choice": body.tool_choice or "auto",
        "tools": body.tools or [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": body.user,
        "metadata": body.metadata or {},
    }


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/responses",
        handle=_create,
        dialect=OPENAI_RESPONSES,
        summary="Create a response",
        answer=ResponseAnswer,
        streams=sse.EVENTS,
        body=ResponseBody,
        is_work=True,
        names=NAMES,
    ),
)
