"""Describes the body of llama.cpp's POST /completion, as in its tools/server/README.md.

What would change an answer and cannot be honoured is refused by its name (`refused`). Fields for
llama-server's slots and caches (`id_slot`, `cache_prompt`, `n_keep`, …) change no answer, so they
are accepted and have no effect. Not: turning prompts into tokens
(`umad.gateway.dialects.llamacpp.prompts`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from typing_extensions import override

from umad.errors import BadRequest, Unsupported
from umad.gateway.bodies.adapters import AdapterBody
from umad.gateway.bodies.answer_form import FormFields
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.bodies.values import Flag, LlamaLimit, Number, Whole

# The order in which umad cuts a row (`umad.sampling.cuts`), under llama.cpp's names, and the value
# that turns each sampler off.
SAMPLERS = ("penalties", "top_k", "typ_p", "top_p", "min_p", "temperature")
_OFF: Mapping[str, Mapping[str, float]] = {
    "penalties": {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
    "top_k": {"top_k": 0},
    "typ_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "temperature": {"temperature": 1.0},
}
_SPELLINGS = {"typical_p": "typ_p", "typical": "typ_p", "temp": "temperature"}
# These samplers do nothing unless their own parameters turn them on, which is refused.
_NEVER_ON = frozenset(("dry", "xtc", "top_n_sigma", "adaptive_p"))
# Fields that change an answer and that umad does not have, each with the values that turn it off.
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "dynatemp_range": (0,),
    "dry_multiplier": (0,),
    "xtc_probability": (0,),
    "mirostat": (0,),
    "top_n_sigma": (-1, 0),
    "adaptive_target": (-1,),
    "min_keep": (0, 1),
    "n_indent": (0,),
    "t_max_predict_ms": (0, -1),
    "t_max_prompt_ms": (0, -1),
    "post_sampling_probs": (False,),
    "reasoning_budget_tokens": (-1,),
}


class LlamaCompletionBody(FormFields, Drawing):
    """`POST /completion`."""

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Drawing.other_names,
        "n_predict": ("max_tokens", "max_completion_tokens"),
        "n_cmpl": ("n",),
        "n_probs": ("logprobs",),
    }

    prompt: Any = Field(
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "object"},
                {"type": "array", "items": {}},
            ]
        },
    )
    model: str | None = None
    stream: Flag | None = None
    n_predict: LlamaLimit = None
    n_cmpl: Whole | None = None
    n_probs: Whole | None = None
    return_tokens: Flag | None = None
    samplers: list[str] | None = None
    timings_per_token: Flag | None = None
    return_progress: Flag | None = None
    response_fields: list[str] | None = None
    lora: list[AdapterBody] | None = None
    # Refused unless they are off.
    dynatemp_range: Number | None = None
    dry_multiplier: Number | None = None
    xtc_probability: Number | None = None
    mirostat: Whole | None = None
    top_n_sigma: Number | None = None
    adaptive_target: Number | None = None
    min_keep: Whole | None = None
    n_indent: Whole | None = None
    t_max_predict_ms: Number | None = None
    t_max_prompt_ms: Number | None = None
    post_sampling_probs: Flag | None = None
    reasoning_budget_tokens: Whole | None = None

    def refused(self) -> None:
        """Raise `Unsupported` naming the first field that umad cannot honour."""
        for name, off in _REFUSED.items():
            value = getattr(self, name)
            if value is not None and value not in off:
                raise Unsupported(f"{name} is not supported; leave it out", field=name)

    @override
    def given(self) -> frozenset[str]:
        """Those that are turned off, too."""
        return super().given() | self.turned_off().keys()

    def turned_off(self) -> dict[str, float]:
        """The values that turn off the samplers which `samplers` does not name. Raises
        `BadRequest` for an unknown name, and `Unsupported` for another order than umad's.
        """
        if self.samplers is None:
            return {}
        named = [_SPELLINGS.get(one, one) for one in self.samplers]
        for one in named:
            if one not in SAMPLERS and one not in _NEVER_ON:
                raise BadRequest(
                    f"samplers: no sampler is called {one[:32]!r}; there are {', '.join(SAMPLERS)}",
                    field="samplers",
                )
        kept = [one for one in named if one in SAMPLERS]
        if kept != [one for one in SAMPLERS if one in kept]:
            raise Unsupported(
                f"samplers: the order is {', '.join(SAMPLERS)}; name them in it, each once",
                field="samplers",
            )
        return {
            name: value
            for sampler, values in _OFF.items()
            if sampler not in kept
            for name, value in values.items()
        }
