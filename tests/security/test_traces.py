"""What leaves the machine in traces: of every dialect, nothing of what is said, and no key."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.gateway.scripted_service import WORDS, Scripted
from umad.config import HttpSettings
from umad.gateway.app import create_app
from umad.gateway.door.keys import Caller, Keyring

trace = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
otel = pytest.importorskip("umad.gateway.otel")

SECRET = "the-own-words"
KEY = "sk-the-key-itself"
TURN = [{"role": "system", "content": SECRET}, {"role": "user", "content": SECRET}]
TOOL = {"name": "look_up", "description": SECRET, "parameters": {"type": "object"}}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": TURN,
        "tools": [{"type": "function", "function": TOOL}],
        "stop": [SECRET],
        "user": SECRET,
        "metadata": {"note": SECRET},
    },
    "/v1/completions": {"prompt": SECRET, "stop": SECRET, "user": SECRET},
    "/v1/responses": {"input": SECRET, "instructions": SECRET, "store": False, "user": SECRET},
    "/v1/messages": {
        "model": "scripted",
        "system": SECRET,
        "messages": TURN[1:],
        "max_tokens": 9,
        "stop_sequences": [SECRET],
        "metadata": {"user_id": SECRET},
    },
    "/api/chat": {"model": "scripted", "messages": TURN},
    "/api/generate": {"model": "scripted", "prompt": SECRET, "system": SECRET},
    "/generate": {"prompt": SECRET, "grammar": f'root ::= "{SECRET}"'},
    # What is refused is told of, too.
    "/cancel": {"request": SECRET},
    "/nowhere": {"prompt": SECRET},
}


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("is_wrong", [False, True])
def test_no_text_and_no_key_is_in_a_span(path: str, is_wrong: bool) -> None:
    exporter = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    keys = Keyring(((KEY, Caller(name="laptop", app="zed")),))
    app = create_app(HttpSettings(), Scripted(), keys=keys, spans=otel.OtelSpans(provider))
    body = {**ASKED[path], "temperature": SECRET} if is_wrong else ASKED[path]
    headers = {
        "authorization": f"Bearer {KEY}",
        "cookie": f"session={SECRET}",
        "baggage": f"text={SECRET}",
        "x-forwarded-for": SECRET,
        "user-agent": "agent/1 " + "x" * 10_000,
    }

    async def ask() -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await http.post(f"{path}?text={SECRET}", json=body, headers=headers)

    asyncio.run(ask())
    spans = exporter.get_finished_spans()
    told = "".join(one.to_json() for one in spans)
    assert spans or path == "/nowhere"
    for words in (SECRET, KEY, WORDS[1].strip(), "weather"):
        assert words not in told
    assert len(told) < 20_000
