"""Serves POST /v1/chat/completions: translates the body into a chat, and answers it whole.

Not: the streamed answer (`chat_stream`).
"""

from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from umad.conversation import ChatOptions
from umad.gateway import sse
from umad.gateway.bodies.answers import ChatCompletion
from umad.gateway.bodies.openai_chat import ChatCompletionBody
from umad.gateway.dialects.openai.chat_stream import ChatChunks
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.dialects.openai.logprobs import chat_logprobs
from umad.gateway.dialects.openai.turns import begins_answer, choice_of, tools_of, turns_of
from umad.gateway.dialects.openai.usage import now_s, reason_of, usage_of
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.gateway.replies import GatewayReply
from umad.request import GenerateRequest

# This dialect's names for umad's fields, for errors.
NAMES = {
    "max_tokens": "max_completion_tokens",
    "thinking_tokens": "reasoning_budget",
    "tool_name": "tool_choice",
    "logprobs": "top_logprobs",
}


def request_of(body: ChatCompletionBody) -> GenerateRequest:
    """The body as a request. Raises `BadRequest` naming the body's field."""
    turns = turns_of(body.messages)
    functions = [one.function for one in body.tools or () if one.type == "function"]
    offered = [one for one in (*functions, *(body.functions or ())) if one is not None]
    tools = tools_of((one.name, one.description, one.parameters, one.strict) for one in offered)
    choice = choice_of(body.tool_choice or body.function_call, tools, "tool_choice")
    options = ChatOptions(
        **{
            "tools": tools,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            **body.thinking_options(),
            **choice,
        }
    )
    if begins_answer(turns) and not options.forces_call:
        options = replace(options, continue_final=True)
    return GenerateRequest(
        messages=turns,
        chat=options,
        sampling=body.sampling(
            max_tokens=body.max_completion_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        ),
        **body.place(),
    )


async def _chat(call: GatewayCall) -> ASGIApp:
    body = call.body(ChatCompletionBody)
    reply = await call.chat(request_of(body))
    if body.stream:
        options = body.stream_options
        include_usage = options is not None and options.include_usage
        chunks = ChatChunks(call, reply, include_usage=include_usage)
        return call.stream(chunks.all(), shortcut=reply.shortcut(chunks.said))
    replies = await reply.collect()
    model = reply.accepted.model
    return answer(
        {
            "id": f"chatcmpl-{call.id}",
            "object": "chat.completion",
            "created": now_s(),
            "model": model,
            "choices": [await _choice(call, model, one) for one in replies],
            "usage": usage_of(one.usage for one in replies),
        }
    )


async def _choice(call: GatewayCall, model: str, reply: GatewayReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.calls:
        message["content"] = reply.text or None
        message["tool_calls"] = [
            {
                "id": one.id,
                "type": "function",
                "function": {"name": one.name, "arguments": one.arguments},
            }
            for one in reply.calls
        ]
    logprobs = None
    if reply.logprobs:
        content = await chat_logprobs(call.shared.token_bytes, model, reply.logprobs)
        logprobs = {"content": content, "refusal": None}
    return {
        "index": reply.index,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": reason_of(reply.finish_reason, has_calls=reply.ends_with_call),
    }


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/chat/completions",
        handle=_chat,
        dialect=OPENAI,
        summary="Answer a chat",
        answer=ChatCompletion,
        streams=sse.EVENTS,
        body=ChatCompletionBody,
        is_work=True,
        names=NAMES,
    ),
)
