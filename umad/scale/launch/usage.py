"""Tokens by key, from what the engine on a machine tells. Pure.

vLLM's meter answers JSON; SGLang's own counters have the key as a label
(`sglang:prompt_tokens_total`, `sglang:generation_tokens_total`;
srt/observability/metrics_collector.py).
"""

import json
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from umad.errors import FetchFailed
from umad.scale.launch.engine_line import KEY_LABEL

_SGLANG = {"sglang:prompt_tokens_total": "prompt", "sglang:generation_tokens_total": "completion"}
# A key without a name: what came past the meter.
UNNAMED = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """Tokens of one key since its engine began."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Both."""
        return self.prompt_tokens + self.completion_tokens


def of_meter(text: str) -> dict[str, KeyUsage]:
    """What `/umad/usage` says. Raises `FetchFailed` for anything else."""
    try:
        return {
            str(name): KeyUsage(
                prompt_tokens=int(sums["prompt"]), completion_tokens=int(sums["completion"])
            )
            for name, sums in json.loads(text)["keys"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FetchFailed(f"the machine's usage cannot be read: {error}") from None


def of_sglang(text: str) -> dict[str, KeyUsage]:
    """What SGLang's `/metrics` says. Raises `FetchFailed` for what is no Prometheus text."""
    sums: dict[str, dict[str, int]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                kind = _SGLANG.get(sample.name)
                if kind is not None:
                    name = sample.labels.get(KEY_LABEL) or UNNAMED
                    one = sums.setdefault(name, {"prompt": 0, "completion": 0})
                    one[kind] += int(sample.value)
    except ValueError as error:
        raise FetchFailed(f"the machine's metrics cannot be read: {error}") from None
    return {
        name: KeyUsage(prompt_tokens=one["prompt"], completion_tokens=one["completion"])
        for name, one in sums.items()
    }
