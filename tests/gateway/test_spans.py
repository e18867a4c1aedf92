"""Traces of HTTP requests, as a collector sees them."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typing_extensions import override

from tests.daemon.house import ROOT
from tests.gateway.gateways import live_gateway
from tests.gateway.scripted_service import Scripted
from tests.live import wait_until
from umad.config import HttpSettings
from umad.errors import EngineFailed
from umad.gateway.app import create_app
from umad.gateway.spans import open_spans
from umad.request import GenerateRequest
from umad.service import Accepted, Event, Failed, Take

trace = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
otel = pytest.importorskip("umad.gateway.otel")

SECRET = "the-prompts-own-words"
CHAT: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": SECRET}],
    "temperature": 0.5,
    "max_tokens": 7,
    "session": "s1",
}
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Failing(Scripted):
    """Its engine fails after it was accepted."""

    @override
    async def events(
        self, request: GenerateRequest, *, take: Take | None = None
    ) -> AsyncGenerator[Event, None]:
        yield Accepted(request="r1", model="scripted", lane="interactive", queue_position=0)
        yield Failed(code=EngineFailed.code, message="it crashed", field=None, retryable=True)


def spans_of(
    body: dict[str, Any],
    *,
    path: str = "/v1/chat/completions",
    service: Scripted | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[httpx.Response, list[Any]]:
    """The answer to one request, and the spans in the order they ended."""
    exporter = memory.InMemorySpanExporter()
    provider = trace.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    app = create_app(HttpSettings(), service or Scripted(), spans=otel.OtelSpans(provider))

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post(path, json=body, headers=headers)

    answer = asyncio.run(ask())
    return answer, list(exporter.get_finished_spans())


@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_is_a_request_with_a_generation_inside_of_it(stream: bool) -> None:
    answer, (generation, request) = spans_of({**CHAT, "stream": stream})

    assert answer.status_code == 200
    assert (request.name, request.kind.name) == ("POST /v1/chat/completions", "SERVER")
    assert request.attributes["http.route"] == "/v1/chat/completions"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["umad.request_id"] == answer.headers["x-request-id"]
    assert (generation.name, generation.kind.name) == ("chat scripted", "CLIENT")
    assert generation.parent.span_id == request.context.span_id
    assert [one.name for one in generation.events] == ["accepted", "first_token", "done"]
    said = generation.attributes
    assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"]) == ("chat", "umad")
    assert said["gen_ai.request.model"] == said["gen_ai.response.model"] == "scripted"
    assert said["gen_ai.response.id"] == "r1"
    assert (said["gen_ai.request.temperature"], said["gen_ai.request.max_tokens"]) == (0.5, 7)
    assert said["gen_ai.conversation.id"] == "s1"
    assert said["gen_ai.usage.input_tokens"] == 9
    assert said["gen_ai.usage.cache_read.input_tokens"] == 4
    assert said["gen_ai.usage.output_tokens"] == 6
    assert said["gen_ai.response.finish_reasons"] == ("stop",)
    assert said["gen_ai.response.time_to_first_chunk"] > 0


def test_no_word_of_prompt_or_answer_is_in_a_span() -> None:
    _, spans = spans_of(CHAT)

    told = "".join(one.to_json() for one in spans)
    assert SECRET not in told
    assert "weather" not in told


def test_a_clients_trace_goes_on_here() -> None:
    _, (generation, request) = spans_of(
        CHAT, headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
    )

    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert f"{request.parent.span_id:016x}" == SPAN_ID
    assert generation.context.trace_id == request.context.trace_id


def test_a_trace_that_the_client_does_not_sample_is_not_sent() -> None:
    _, spans = spans_of(CHAT, headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-00"})

    assert spans == []


@pytest.mark.parametrize("traceparent", ["", "x", f"00-{'0' * 32}-{SPAN_ID}-01", "00-" * 1000])
def test_a_traceparent_that_is_none_begins_a_trace(traceparent: str) -> None:
    answer, (_, request) = spans_of(CHAT, headers={"traceparent": traceparent})

    assert answer.status_code == 200
    assert request.parent is None


def test_a_bad_request_is_a_span_without_a_generation() -> None:
    answer, (request,) = spans_of({"messages": SECRET})

    assert answer.status_code == 400
    assert request.attributes["http.response.status_code"] == 400
    assert request.status.status_code.name == "UNSET"
    assert SECRET not in request.to_json()


def test_an_engine_that_fails_is_an_error_in_both() -> None:
    answer, (generation, request) = spans_of(CHAT, service=Failing())

    assert answer.status_code == 503
    assert generation.attributes["error.type"] == EngineFailed.code
    assert generation.status.status_code.name == "ERROR"
    assert (request.attributes["error.type"], request.status.status_code.name) == ("503", "ERROR")


def test_a_prompt_is_a_text_completion() -> None:
    _, (generation, _) = spans_of({"prompt": "x"}, path="/v1/completions")

    assert generation.name == "text_completion scripted"


# -- what is asked for -----------------------------------------------------------------------------


def test_where_nobody_asked_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, umad.gateway.serving\n"
        "from umad.gateway.spans import open_spans\n"
        "assert open_spans({}) is None\n"
        "assert open_spans({'OTEL_TRACES_EXPORTER': 'none'}) is None\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0


def test_spans_asked_for_and_not_installed_are_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "umad.gateway.otel_export", raising=False)

    with caplog.at_level(logging.WARNING):
        assert open_spans({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None

    assert "pip install 'umad[otel]'" in caplog.text


def test_an_exporter_that_is_not_there_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_spans({"OTEL_TRACES_EXPORTER": "zipkin"}) is None

    assert "zipkin" in caplog.text


# -- a collector -----------------------------------------------------------------------------------


class Collector(HTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Collecting)
        self.sent: list[tuple[str, bytes]] = []


class Collecting(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.sent.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def test_a_collector_gets_the_spans_of_a_gateway_that_ends(
    tmp_path: Path, collector: Collector
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    body = {"prompt": SECRET, "max_tokens": 3, "temperature": 0, "stream": True}
    with (
        live_gateway(tmp_path, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as one,
        one.http() as http,
    ):
        assert http.post("/v1/completions", json=body).status_code == 200

    wait_until(lambda: bool(collector.sent), what="spans")
    (path, _), sent = collector.sent[0], b"".join(body for _, body in collector.sent)
    assert path == "/v1/traces"
    assert b"text_completion nano" in sent
    assert b"first_token" in sent
    assert SECRET.encode() not in sent
