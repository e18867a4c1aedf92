"""Makes OpenTelemetry spans: one for an HTTP request, and in it one for every generation.

Names are those of the semantic conventions for HTTP servers and for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/). Names that the conventions lack
begin with `umad.`. W3C `traceparent` and `tracestate` are honoured. Not: sending spans
(`umad.gateway.otel_export`).
"""

from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from typing_extensions import override

from umad.clock import Clock, MonotonicClock
from umad.errors import UmadError
from umad.gateway.errors import CLIENT_GONE
from umad.gateway.listening import Listener
from umad.gateway.spans import RequestSpan, Spans
from umad.request import GenerateRequest
from umad.service import Accepted, Done, Tokens
from umad.units import NS_PER_S
from umad.version import __version__

PROVIDER = "umad"
# The longest name that is kept of a client, its model or its conversation.
_MOST_CHARS = 256
_TRACE_HEADERS = ("traceparent", "tracestate")
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "frequency_penalty",
    "presence_penalty",
)


class OtelSpans(Spans):
    """Makes spans with OpenTelemetry; `provider` takes the finished ones."""

    def __init__(self, provider: TracerProvider, clock: Clock | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("umad.gateway", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._clock = clock or MonotonicClock()

    @override
    def request(self, method: str, route: str, headers: Headers, request_id: str) -> RequestSpan:
        carrier = {name: headers[name] for name in _TRACE_HEADERS if name in headers}
        span = self._tracer.start_span(
            f"{method} {route}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "url.scheme": "http",
                "umad.request_id": request_id,
            },
        )
        if agent := headers.get("user-agent"):
            span.set_attribute("user_agent.original", agent[:_MOST_CHARS])
        return _Request(span, self._tracer, self._clock)

    @override
    def close(self) -> None:
        self._provider.shutdown()


class _Request(RequestSpan):
    def __init__(self, span: Any, tracer: Any, clock: Clock) -> None:
        self._span = span
        self._tracer = tracer
        self._clock = clock

    @override
    def generation(self, request: GenerateRequest) -> Listener:
        operation = "text_completion" if request.messages is None else "chat"
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDER,
        }
        if request.model is not None:
            attributes["gen_ai.request.model"] = request.model[:_MOST_CHARS]
        if request.session is not None:
            attributes["gen_ai.conversation.id"] = request.session[:_MOST_CHARS]
        if request.n != 1:
            attributes["gen_ai.request.choice.count"] = request.n
        for name in _SAMPLING:
            value = getattr(request.sampling, name)
            if value is not None:
                attributes[f"gen_ai.request.{name}"] = value
        span = self._tracer.start_span(
            f"{operation} {(request.model or '')[:_MOST_CHARS]}".rstrip(),
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )
        return _GenerationSpan(span, operation, request.n, self._clock)

    @override
    def end(self, status: int, app: str | None) -> None:
        span = self._span
        if app is not None:
            span.set_attribute("umad.app", app)
        if status == CLIENT_GONE:
            span.set_attribute("error.type", "client_gone")
        else:
            span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
        span.end()


class _GenerationSpan(Listener):
    """The span of one generation; accepted, first_token and done are its events."""

    def __init__(self, span: Any, operation: str, n: int, clock: Clock) -> None:
        self._span = span
        self._operation = operation
        self._clock = clock
        self._began_ns = clock.now_ns()
        self._has_token = False
        self._reasons: list[str | None] = [None] * n
        self._output_tokens = 0

    @override
    def hear(self, event: Accepted | Tokens | Done) -> None:
        if isinstance(event, Tokens):
            if not self._has_token:
                self._has_token = True
                self._first_token()
        elif isinstance(event, Done):
            self._done(event)
        else:
            self._accepted(event)

    @override
    def end(self, error: UmadError | None) -> None:
        span = self._span
        reasons = [one for one in self._reasons if one is not None]
        if reasons:
            span.set_attribute("gen_ai.response.finish_reasons", reasons)
        if error is not None:
            span.set_attribute("error.type", error.code)
            span.set_status(StatusCode.ERROR)
        elif len(reasons) < len(self._reasons):
            span.set_attribute("error.type", "cancelled")
        span.end()

    def _accepted(self, event: Accepted) -> None:
        self._span.update_name(f"{self._operation} {event.model}")
        self._span.set_attributes(
            {"gen_ai.response.model": event.model, "gen_ai.response.id": event.request}
        )
        self._span.add_event(
            "accepted",
            {
                "umad.request": event.request,
                "umad.lane": event.lane,
                "umad.queue_position": event.queue_position,
            },
        )

    def _first_token(self) -> None:
        waited_s = (self._clock.now_ns() - self._began_ns) / NS_PER_S
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", waited_s)
        self._span.add_event("first_token")

    def _done(self, event: Done) -> None:
        usage = event.usage
        self._reasons[event.index] = event.finish_reason
        self._output_tokens += usage.completion_tokens
        self._span.set_attributes(
            {
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
                "gen_ai.usage.output_tokens": self._output_tokens,
            }
        )
        self._span.add_event("done", {"umad.index": event.index})
