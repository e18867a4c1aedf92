"""Counts the gateway's own work for Prometheus: requests, durations, first-token times, tokens.

Not: the daemon's scorecard, which is read when a client asks for it (`dialects.native`).
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Counts:
    """The counters of one gateway, in a registry of its own, so that two gateways in one process
    (tests) do not add up.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "umad_http_requests", "HTTP requests", ["path", "status"], registry=self.registry
        )
        self.latency_s = Histogram(
            "umad_http_request_seconds",
            "Time from a request's first byte to its answer's last",
            ["path"],
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        self.first_token_s = Histogram(
            "umad_http_first_token_seconds",
            "Time from the daemon's accepting a generation to its first token",
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        self.tokens = Counter(
            "umad_http_tokens", "Tokens, by what they are", ["kind"], registry=self.registry
        )
        self.live = Gauge("umad_http_live", "Requests being worked on", registry=self.registry)
