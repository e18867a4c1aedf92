"""Sends OpenTelemetry's spans: by OTLP over HTTP, or to the console.

Only `umad.gateway.spans` imports it, and only if spans were asked for. OpenTelemetry's own
variables set the address, the service's name and how often spans are sent.
"""

import os

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from umad.gateway.otel import OtelSpans


def exporting(exporter: str) -> OtelSpans:
    """A provider that sends spans by `exporter`: otlp or console."""
    name = os.environ.get("OTEL_SERVICE_NAME", "umad")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    sender: SpanExporter = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(sender))
    return OtelSpans(provider)
