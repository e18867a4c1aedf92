"""Describes what llama.cpp's POST /completion and /infill take, as in its tools/server/README.md.

What would change an answer and cannot be honoured is refused by its name (`refused`). Fields for
llama-server's slots and caches (`id_slot`, `cache_prompt`, `n_keep`, …) change no answer, so they
are accepted and have no effect; so has `t_max_prompt_ms`, which llama-server does not read. Not:
turning prompts into tokens (`umad.gateway.dialects.llamacpp.prompts`).
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field
from typing_extensions import override

from umad.errors import BadRequest, Unsupported
from umad.gateway.bodies.adapters import AdapterBody
from umad.gateway.bodies.answer_form import FormFields
from umad.gateway.bodies.sampling import Drawing
from umad.gateway.bodies.values import Flag, LineIndent, LlamaLimit, Number, Whole

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
_SPELLINGS = {
    "typical_p": "typ_p",
    "typical": "typ_p",
    "typ": "typ_p",
    "typp": "typ_p",
    "topk": "top_k",
    "topp": "top_p",
    "nucleus": "top_p",
    "minp": "min_p",
    "temp": "temperature",
}
# llama.cpp's samplers by their letters, for clients that write all of them in one word.
_LETTERS = {
    "e": "penalties",
    "d": "dry",
    "s": "top_n_sigma",
    "k": "top_k",
    "y": "typ_p",
    "p": "top_p",
    "m": "min_p",
    "x": "xtc",
    "t": "temperature",
    "i": "infill",
    "a": "adaptive_p",
}
# These samplers do nothing unless their own parameters turn them on, which is refused.
_NEVER_ON = frozenset(("dry", "xtc", "top_n_sigma", "adaptive_p"))
# Leaves the few likeliest tokens of a gap. Here it is the likeliest one.
_INFILL = "infill"
# Fields that change an answer and that umad does not have, each with the values that turn it off.
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "dynatemp_range": (0,),
    "dry_multiplier": (0,),
    "xtc_probability": (0,),
    "mirostat": (0,),
    "top_n_sigma": (-1, 0),
    "adaptive_target": (-1,),
    "min_keep": (0, 1),
    "post_sampling_probs": (False,),
    "reasoning_budget_tokens": (-1,),
}


def _samplers(value: Any) -> Any:
    """Names as umad has them, of names in any spelling or of a word of letters."""
    if isinstance(value, str):
        return [_LETTERS.get(one, one) for one in value]
    if not isinstance(value, list):
        return value
    names = [one.lower().replace("-", "_") if isinstance(one, str) else one for one in value]
    return [_SPELLINGS.get(one, one) if isinstance(one, str) else one for one in names]


Samplers = Annotated[list[str], BeforeValidator(_samplers, json_schema_input_type=str | list[str])]


class LlamaDrawing(FormFields, Drawing):
    """The fields that /completion and /infill share."""

    other_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Drawing.other_names,
        "n_predict": ("max_tokens", "max_completion_tokens"),
        "n_cmpl": ("n",),
        "n_probs": ("logprobs",),
    }

    model: str | None = None
    stream: Flag | None = None
    n_predict: LlamaLimit = None
    n_cmpl: Whole | None = None
    n_probs: Whole | None = None
    return_tokens: Flag | None = None
    samplers: Samplers | None = None
    timings_per_token: Flag | None = None
    return_progress: Flag | None = None
    response_fields: list[str] | None = None
    lora: list[AdapterBody] | None = None
    # The least indentation of every line but the first: the answer ends before a line with less.
    n_indent: LineIndent | None = None
    # The answer ends with the first line that is complete so long after the first token.
    t_max_predict_ms: Number | None = None
    # Refused unless they are off.
    dynatemp_range: Number | None = None
    dry_multiplier: Number | None = None
    xtc_probability: Number | None = None
    mirostat: Whole | None = None
    top_n_sigma: Number | None = None
    adaptive_target: Number | None = None
    min_keep: Whole | None = None
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
        kept = self.samplers_on()
        off = {
            name: value
            for sampler, values in _OFF.items()
            if sampler not in kept
            for name, value in values.items()
        }
        return {**off, "temperature": 0.0} if _INFILL in (self.samplers or ()) else off

    def samplers_on(self) -> list[str]:
        """The samplers of umad that the body wants, in their order. Raises as `turned_off`."""
        if self.samplers is None:
            return list(SAMPLERS)
        named = self.samplers
        for one in named:
            if one not in SAMPLERS and one not in _NEVER_ON and one != _INFILL:
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
        if _INFILL in named and "temperature" in kept:
            raise Unsupported(
                "samplers: infill takes the likeliest token, so name no temperature beside it",
                field="samplers",
            )
        return kept


class LlamaCompletionBody(LlamaDrawing):
    """`POST /completion`."""

    prompt: Any = Field(
        json_schema_extra={
            "anyOf": [
                {"type": "string"},
                {"type": "object"},
                {"type": "array", "items": {}},
            ]
        },
    )
