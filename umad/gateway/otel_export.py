"""Where OpenTelemetry's spans go: OTLP over HTTP, or the console. Imported only by
`umad.gateway.spans`, and only where it was asked for; which address, which service's name and how
often are OpenTelemetry's own variables.
"""

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from umad.gateway.otel import OtelSpans


def exporting(exporter: str) -> OtelSpans:
    """exporter: otlp or console."""
    name = os.environ.get("OTEL_SERVICE_NAME", "umad")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    sender: SpanExporter = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(sender))
    return OtelSpans(provider)
