"""Makes a Reading of the gauges of engines that are not umad. Pure.

    vLLM           vllm:num_requests_waiting, vllm:num_requests_running, vllm:kv_cache_usage_perc
    SGLang         sglang:num_queue_reqs, sglang:num_running_reqs, sglang:token_usage
    llama-server   llamacpp:requests_deferred, llamacpp:requests_processing; it has no gauge of its
                   cells that says which of them are in use

They say nothing of latency and of memory traffic, so only their queue and their cells count.
Not: reading `/metrics` (a client of HTTP and `prometheus_client` do that), nor which engine it is:
the operator says so.
"""

import enum
import math
from collections.abc import Iterable, Mapping

from umad.errors import BadRequest
from umad.router.policy.reading import Reading


class Kind(enum.Enum):
    """The engines whose gauges are known."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_SERVER = "llama-server"


# The gauges of each: requests that wait, requests that run, and the share of cells in use.
NAMES: Mapping[Kind, tuple[str, str, str | None]] = {
    Kind.VLLM: (
        "vllm:num_requests_waiting",
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
    ),
    Kind.SGLANG: ("sglang:num_queue_reqs", "sglang:num_running_reqs", "sglang:token_usage"),
    Kind.LLAMA_SERVER: ("llamacpp:requests_deferred", "llamacpp:requests_processing", None),
}
_MOST_COUNT = 1e9


def reading_of_gauges(
    kind: Kind, gauges: Mapping[str, float], *, models: Iterable[str] = ()
) -> Reading:
    """Read what `/metrics` of an engine says.

    gauges: values by name, each summed over its labels. models: what its `/v1/models` lists.
    Raises BadRequest where a gauge is missing or no sensible number: an engine of another kind or
    version must not pass for an idle one.
    """
    waiting, running, usage = NAMES[kind]
    return Reading(
        waiting=int(_gauge(gauges, waiting, _MOST_COUNT)),
        running=int(_gauge(gauges, running, _MOST_COUNT)),
        kv_used=0.0 if usage is None else _gauge(gauges, usage, 1.0),
        loaded=frozenset(models),
    )


def _gauge(gauges: Mapping[str, float], name: str, most: float) -> float:
    value = gauges.get(name)
    if value is None:
        raise BadRequest(f"the gauge {name} is missing", field=name)
    if not math.isfinite(value) or not 0 <= value <= most:
        raise BadRequest(f"the gauge {name} is not a number from 0 to {most:g}", field=name)
    return value
