"""Two hundred streams at once: none is lost, none gets a word of another's."""

import asyncio
import json

import httpx

from tests.gateway.gateways import LiveGateway
from umad.client import Client

LIMITS = httpx.Limits(max_connections=None)
N_STREAMS = 200
N_TOKENS = 6
FIRST_TOKEN = 300


def body(at: int) -> dict[str, object]:
    """Each stream can say one token only, and no two the same one."""
    return {
        "prompt": "Go:",
        "max_tokens": N_TOKENS,
        "temperature": 0,
        "logit_bias": {str(FIRST_TOKEN + at): 1000},
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_two_hundred_streams_each_get_their_own(gateway: LiveGateway) -> None:
    async def one(http: httpx.AsyncClient, at: int) -> tuple[str, int]:
        text, tokens = "", 0
        async with http.stream("POST", "/v1/completions", json=body(at)) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                assert chunk["id"].endswith(answer.headers["x-request-id"])
                text += "".join(choice["text"] for choice in chunk["choices"])
                tokens += (chunk["usage"] or {}).get("completion_tokens", 0)
        return text, tokens

    async def crowd() -> list[tuple[str, int]]:
        async with gateway.async_http(limits=LIMITS) as http:
            return await asyncio.gather(*(one(http, at) for at in range(N_STREAMS)))

    answers = asyncio.run(crowd())

    assert [tokens for _, tokens in answers] == [N_TOKENS] * N_STREAMS
    with Client(gateway.daemon.socket) as client:
        for at, (text, _) in enumerate(answers):
            assert text == client.detokenize((FIRST_TOKEN + at,) * N_TOKENS), at
