"""Counts the tokens of a prompt without an answer to it: `input_tokens` of responses and chats.

https://platform.openai.com/docs/api-reference/responses/input-tokens; llama-server has the same for
chats. The body is that of the answer it belongs to, and the template is run on it.
"""

from starlette.types import ASGIApp

from umad.gateway.bodies.answers import InputTokens
from umad.gateway.bodies.openai_chat import ChatCompletionBody
from umad.gateway.bodies.openai_responses import ResponseBody
from umad.gateway.dialects.openai import chat, responses
from umad.gateway.dialects.openai.error_shape import OPENAI, OPENAI_RESPONSES
from umad.gateway.dialects.openai.responses_history import conversation_of
from umad.gateway.endpoint import Endpoint
from umad.gateway.gateway_call import GatewayCall, answer
from umad.request import GenerateRequest


async def _counted(call: GatewayCall, request: GenerateRequest) -> ASGIApp:
    prompt = await call.render(request)
    return answer({"object": "response.input_tokens", "input_tokens": len(prompt.ids)})


async def _of_chat(call: GatewayCall) -> ASGIApp:
    return await _counted(call, chat.request_of(call.body(ChatCompletionBody)))


async def _of_response(call: GatewayCall) -> ASGIApp:
    body = call.body(ResponseBody)
    items = await conversation_of(call, body)
    return await _counted(call, responses.request_of(body, items))


ENDPOINTS = (
    *(
        Endpoint(
            method="POST",
            path=f"{before}/chat/completions/input_tokens",
            handle=_of_chat,
            dialect=OPENAI,
            summary="Count the tokens of a chat",
            answer=InputTokens,
            body=ChatCompletionBody,
            is_work=True,
            names=chat.NAMES,
        )
        for before in ("/v1", "")
    ),
    *(
        Endpoint(
            method="POST",
            path=f"{before}/responses/input_tokens",
            handle=_of_response,
            dialect=OPENAI_RESPONSES,
            summary="Count the tokens of a response's input",
            answer=InputTokens,
            body=ResponseBody,
            is_work=True,
            names=responses.NAMES,
        )
        for before in ("/v1", "")
    ),
)
