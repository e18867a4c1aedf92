"""Answers that are watched while their machine dies, and whether any token of them was lost. Not a
test."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from umad.client import AsyncClient
from umad.conversation import ChatMessage, ChatOptions
from umad.request import GenerateRequest, SamplingParams
from umad.service import Accepted, Done, Failed, PromptLogprobs, Tokens

# Two tokens may be equally likely, but for a sum's last bits.
TIE = 0.05


def question(number: int, *, model: str, n_tokens: int) -> GenerateRequest:
    """A chat; every fourth has two completions.

    Greedy, because then each token can be looked at: it is the one that the model holds for most
    likely behind all tokens before it, and is not where one was lost or came twice. Whole texts are
    no measure here: in a crowd the order of cells differs, and a sum's last bits with it. That
    draws go on where they were is tested on two daemons (tests/e2e/test_resuming.py).
    """
    return GenerateRequest(
        messages=(ChatMessage(role="user", content=f"Write function number {number}, größer."),),
        chat=ChatOptions(markup=True),
        sampling=SamplingParams(temperature=0.0, max_tokens=n_tokens, ignore_eos=True),
        model=model,
        session=f"talk {number}",
        n=2 if number % 4 == 0 else 1,
    )


class Watched:
    """One stream, and what came of it."""

    def __init__(self, request: GenerateRequest) -> None:
        self.request = request
        self.texts = [""] * request.n
        self.ids: list[list[int]] = [[] for _ in range(request.n)]
        self.accepted: Accepted | None = None
        self.done: list[Done] = []
        self.under_way = asyncio.Event()

    async def read(self, made: Callable[[], AsyncClient]) -> "Watched":
        """All of it, by a client of its own."""
        async with made() as client:
            async for event in client.events(self.request):
                if isinstance(event, Accepted):
                    assert self.accepted is None, "accepted twice"
                    self.accepted = event
                elif isinstance(event, Tokens):
                    self.texts[event.index] += event.text
                    self.ids[event.index] += event.ids
                    if len(self.ids[event.index]) >= 10:
                        self.under_way.set()
                elif isinstance(event, Done):
                    self.done.append(event)
                elif isinstance(event, Failed):
                    raise AssertionError(event)
        return self


async def unlikely(
    client: AsyncClient, one: Watched, index: int, *, tie: float = TIE
) -> list[tuple[int, float]]:
    """The tokens of an answer that are not the likeliest behind those before them, and by how much
    they are not. tie: what last bits of a sum may explain.
    """
    (row,) = [row for row in await client.models() if row["name"] == one.request.model]
    prompt = (
        await client.render(one.request.messages, chat=one.request.chat, model=one.request.model)
    ).ids
    asked = GenerateRequest(
        prompt_ids=(*prompt, *one.ids[index]),
        model=one.request.model,
        sampling=SamplingParams(max_tokens=1, prompt_logprobs=2),
    )
    found = []
    async for event in client.generate(asked):
        if not isinstance(event, PromptLogprobs):
            continue
        for place, token in enumerate(event.tokens, event.start):
            # An end is passed over, as the request asks for.
            best = [of for id, of in token.top if id not in row["eog_tokens"]]
            if place >= len(prompt) and best and best[0] - token.logprob > tie:
                found.append((place - len(prompt), best[0] - token.logprob))
    return found


@dataclass
class Told:
    """What an OpenAI client is told of one chat."""

    text: str = ""
    is_whole: bool = False
    reason: str | None = None
    under_way: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(
        self, http: httpx.AsyncClient, number: int, *, model: str, n_tokens: int
    ) -> "Told":
        """All that comes."""
        body = {
            "model": model,
            "stream": True,
            "temperature": 0,
            "max_tokens": n_tokens,
            "ignore_eos": True,
            "messages": [{"role": "user", "content": f"Write function number {number}."}],
        }
        n_pieces = 0
        try:
            async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    if line == "data: [DONE]":
                        self.is_whole = True
                    elif line.startswith("data: "):
                        choices = json.loads(line.removeprefix("data: "))["choices"]
                        choice: dict[str, Any] = choices[0] if choices else {}
                        self.text += choice.get("delta", {}).get("content") or ""
                        self.reason = choice.get("finish_reason") or self.reason
                        n_pieces += 1
                        if n_pieces == 10:
                            self.under_way.set()
        except httpx.HTTPError:
            self.under_way.set()
        return self
