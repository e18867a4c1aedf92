"""A client of the daemon whose model says a scripted thought, text and call. Not a test.

In the process of the test: for what becomes of an answer, not for what travels.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import httpx
from typing_extensions import override

from umad.client import AsyncClient
from umad.client.rows import ModelRow
from umad.config import HttpSettings
from umad.conversation import ChatMessage, ChatOptions, ChatPrompt
from umad.gateway.app import create_app
from umad.request import FinishReason, GenerateRequest, Timings, Usage
from umad.service import Accepted, Done, Event, Take, TokenLogprob, Tokens

TOOL = {"name": "get_weather", "parameters": {"type": "object"}}
WORDS = (
    "<think>",
    "It is about ",
    "weather.</think>\n\nLet me look.",
    '\n<tool_call>\n{"name": "get_weather", "argu',
    'ments": {"city": "Par',
    'is"}}\n</tool_call>',
)
USAGE = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=6)


class Scripted(AsyncClient):
    """Says `words` to everybody, one token each; keeps what it was asked.

    The answer ends for `reason`, or by the stop string `stop`.
    """

    def __init__(
        self,
        words: Sequence[str] = WORDS,
        family: str = "hermes",
        *,
        reason: FinishReason = "stop",
        stop: str | None = None,
    ) -> None:
        super().__init__("/nowhere.sock")
        self.asked: list[GenerateRequest] = []
        self._words = words
        self._family = family
        self._reason: FinishReason = reason
        self._stop = stop

    @override
    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        self.asked.append(request)
        yield Accepted(request="r1", model="scripted", lane="interactive", queue_position=0)
        wants = request.sampling.logprobs is not None
        for at, words in enumerate(self._words):
            logprobs = (TokenLogprob(id=at, logprob=-0.5, top=((at, -0.5),)),) if wants else None
            yield Tokens(index=0, text=words, ids=(at,), logprobs=logprobs)
        yield Done(
            index=0,
            finish_reason=self._reason,
            stop=self._stop,
            usage=USAGE,
            timings=Timings(queued_ms=0.0, first_token_ms=1.0, total_ms=2.0),
        )

    @override
    async def render(
        self,
        messages_: Sequence[ChatMessage] | None = None,
        *,
        chat: ChatOptions | None = None,
        model: str | None = None,
    ) -> ChatPrompt:
        text = " ".join([turn.content for turn in messages_ or ()])
        return ChatPrompt(template="{{ messages }}", text=text, ids=tuple(map(ord, text)))

    @override
    async def models(self, *, stored: bool = False) -> list[ModelRow]:
        thinking = ("<think>", "</think>")
        facts = {"chat_family": self._family, "thinking": thinking, "takes_tools": True}
        return [ModelRow.of({"name": "scripted", "state": "ready", **facts})]

    @override
    async def pieces(self, ids: Sequence[int], *, model: str | None = None) -> tuple[bytes, ...]:
        return tuple(self._words[one].encode() for one in ids)


def post(
    service: Scripted, path: str, body: dict[str, Any], settings: HttpSettings | None = None
) -> httpx.Response:
    """The whole answer, streamed or not."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings or HttpSettings(), service))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(path, json=body)

    return asyncio.run(ask())
