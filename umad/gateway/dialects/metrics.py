"""Serves GET /metrics: the scorecard as JSON, or with the gateway's own counts as Prometheus text.

The client's Accept header chooses: Prometheus asks for text/plain or OpenMetrics.
GET /metrics/load has three gauges alone, as text, for pickers of endpoints: those of Kubernetes ask
every node many times a second, and have no key (`examples/kubernetes`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.responses import Response
from starlette.types import ASGIApp
from typing_extensions import override

from umad.gateway.bodies.scorecard import ScorecardAnswer
from umad.gateway.dialects.openai.error_shape import OPENAI
from umad.gateway.endpoint import Endpoint
from umad.gateway.errors import NotFound
from umad.gateway.gateway_call import GatewayCall, answer

_TEXTS = ("text/plain", "application/openmetrics-text")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# What the keys of a part of the scorecard are. Those of all others are lanes.
_LABELS = {"models": "model", "apps": "app", "slowed_by": "cause", "nodes": "node"}


class _Scorecard(Collector):
    """Numbers of one scorecard: totals, and those of models and lanes with a label."""

    def __init__(self, card: Mapping[str, Any]) -> None:
        self._card = card

    @override
    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, labels, value in _numbers(self._card):
            key = f"umad_{name}"
            if key not in families:
                families[key] = GaugeMetricFamily(
                    key, f"{name} of the scorecard", labels=list(labels)
                )
            families[key].add_metric(list(labels.values()), value)
        yield from families.values()


def _numbers(card: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], float]]:
    for name, value in card.items():
        if not _NAME.fullmatch(name):
            continue
        if isinstance(value, int | float):
            yield name, {}, float(value)
        elif isinstance(value, Mapping):
            label = _LABELS.get(name, "lane")
            for key, inner in value.items():
                if isinstance(inner, Mapping):
                    for field, number in inner.items():
                        if isinstance(number, int | float) and _NAME.fullmatch(field):
                            yield f"{label}_{field}", {label: str(key)}, float(number)
                elif isinstance(inner, int | float):
                    yield name, {label: str(key)}, float(inner)


async def _metrics(call: GatewayCall) -> ASGIApp:
    card = await call.service.metrics()
    accept = call.request.headers.get("accept", "")
    if not any(one in accept for one in _TEXTS):
        return answer(dict(card))
    scorecard = CollectorRegistry()
    scorecard.register(_Scorecard(card))
    encode, media_type = choose_encoder(accept)
    both = _Both(scorecard, call.shared.counts.registry)
    return Response(encode(both), headers={"content-type": media_type})


class _Load(Collector):
    """How loaded the machine is. Each gauge has one value and no labels: a picker takes the first
    that it finds.
    """

    def __init__(self, card: Mapping[str, Any], prefix: str | None) -> None:
        queued = float(card.get("queued") or 0)
        # The scorecard counts all live requests as running.
        running = max(0.0, float(card.get("running") or 0) - queued)
        self._values = (queued, running, float(card.get("kv_utilization") or 0))
        self._prefix = prefix

    @override
    def collect(self) -> Iterator[Metric]:
        for (name, other, text), value in zip(_LOAD, self._values, strict=True):
            yield GaugeMetricFamily(name, text, value=value)
            if self._prefix is not None:
                yield GaugeMetricFamily(f"{self._prefix}{other}", text, value=value)


# Our name, vLLM's, and what it is.
_LOAD = (
    ("umad_load_queued", "num_requests_waiting", "Requests that wait"),
    ("umad_load_running", "num_requests_running", "Requests that are computed"),
    ("umad_load_kv_utilization", "kv_cache_usage_perc", "Share of the cells in use, from 0 to 1"),
)


async def _load(call: GatewayCall) -> ASGIApp:
    settings = call.shared.settings
    if not settings.open_load:
        raise NotFound("there is no such page here: --gateway-open-load makes it")
    registry = CollectorRegistry()
    # The gateway's own question, because a picker is nobody whom the daemon knows.
    registry.register(_Load(await call.shared.service.metrics(), settings.load_prefix))
    encode, media_type = choose_encoder("text/plain")
    return Response(encode(registry), headers={"content-type": media_type})


class _Both(CollectorRegistry):
    """Two registries as one."""

    def __init__(self, *registries: CollectorRegistry) -> None:
        super().__init__()
        self._registries = registries

    @override
    def collect(self) -> Iterator[Metric]:
        for registry in self._registries:
            yield from registry.collect()


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/metrics",
        handle=_metrics,
        dialect=OPENAI,
        summary="The scorecard",
        answer=ScorecardAnswer,
        types=("application/json", *_TEXTS),
        for_admins=True,
    ),
    Endpoint(
        method="GET",
        path="/metrics/load",
        handle=_load,
        dialect=OPENAI,
        summary="How loaded the machine is",
        needs_key=False,
        types=("text/plain",),
    ),
)
