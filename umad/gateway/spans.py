"""Decides whether HTTP requests are traced, and says what a maker of traces must offer.

With the extra `otel` and a variable that says where spans go (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_TRACES_EXPORTER` as otlp or console)
`umad.gateway.otel` makes the spans. Otherwise there are no spans, and nothing of OpenTelemetry is
imported. Spans tell of models, tokens and times, never of what was said.
"""

import importlib
import logging
from collections.abc import Mapping
from typing import Protocol

from starlette.datastructures import Headers

from umad.gateway.listening import Listener
from umad.request import GenerateRequest

log = logging.getLogger(__name__)

_MAKER = "umad.gateway.otel_export"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORTERS = ("otlp", "console")


class RequestSpan(Protocol):
    """The span of one HTTP request. Called on the loop; never blocks."""

    def generation(self, request: GenerateRequest) -> Listener:
        """A span inside this one for a generation; it ends with the generation."""

    def end(self, status: int, app: str | None) -> None:
        """The request is over. `status`: as in the log."""


class Spans(Protocol):
    """Makes spans, and sends them from a thread of its own."""

    def request(self, method: str, route: str, headers: Headers, request_id: str) -> RequestSpan:
        """A span that continues the trace of the client's headers, or begins one."""

    def close(self) -> None:
        """Send what is left; blocks for some seconds at most."""


def open_spans(environ: Mapping[str, str]) -> Spans | None:
    """The maker of traces that `environ` asks for; None if it asks for none, or none can be had."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not exporter and any(environ.get(name) for name in _ENDPOINTS):
        exporter = "otlp"
    if exporter in ("", "none") or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if exporter not in _EXPORTERS:
        log.warning("no spans: OTEL_TRACES_EXPORTER is %s; there are otlp, console, none", exporter)
        return None
    try:
        spans: Spans = importlib.import_module(_MAKER).exporting(exporter)
    except ModuleNotFoundError as error:
        log.warning("no spans: %s is not installed; pip install 'umad[otel]' has it", error.name)
        return None
    return spans
