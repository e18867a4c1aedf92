"""A draft model for speculation: its checks, weights and cells beside the model's. Pure.

EAGLE heads read the model's hidden states: EAGLE-3 those of three layers, through a matrix of its
own, and its attention reads twice the width. Embeddings are the model's. A draft model of any kind
is split by the model's own TP. Sources: vLLM 0.33.0,
SpeculativeConfig._verify_and_get_draft_tp of `vllm/config/speculative.py`,
`vllm/model_executor/models/llama_eagle3.py`; SGLang 0.5.23,
`srt/models/llama_eagle3.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from umad.errors import BadRequest
from umad.model_names import near_names
from umad.scale.accelerators import Machines
from umad.scale.config_fields import Fields
from umad.scale.hf_config import shape_of
from umad.scale.rules import Refusal, head_refusals, kv_head_refusals, width_refusals
from umad.scale.shape import Attention, ModelShape
from umad.scale.split import Split
from umad.scale.weights import Precision, kv_heads, padded_vocabulary, stage_bytes

DraftMethod = Literal["eagle3", "eagle", "draft_model"]
METHODS: tuple[DraftMethod, ...] = get_args(DraftMethod)
# Both engines' names for the last one.
_ALIASES = {"standalone": "draft_model", "draft-model": "draft_model"}
_HIDDEN_STATES = {"eagle3": 3, "eagle": 2, "draft_model": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A draft model, and how it is used."""

    shape: ModelShape
    method: DraftMethod
    # Drafted in a step.
    n_tokens: int = 3
    # Rows of its head; 0 where they are as many as its embeddings.
    own_vocabulary: int = 0
    # The width of the model that it is made for.
    target_width: int = 0

    @property
    def is_head(self) -> bool:
        """Whether it reads the model's hidden states."""
        return self.method != "draft_model"


def draft_of(
    config: Mapping[str, Any],
    *,
    name: str,
    method: str = "",
    n_tokens: int = 3,
    weights_bytes: int = 0,
) -> Draft:
    """The draft in a config.json. method: "" for what the file says. Raises `BadRequest`."""
    fields = Fields(config, where=f"{name}: config.json")
    own = fields.whole("draft_vocab_size", default=0)
    width = fields.whole("target_hidden_size", default=0)
    said = _method(method) if method else _found_method(fields)
    inner = config.get("transformer_layer_config")
    if isinstance(inner, dict):  # as `speculators` writes it
        config = {"num_hidden_layers": 1, **inner}
    shape = shape_of(config, name=name, weights_bytes=weights_bytes)
    return Draft(
        shape=shape,
        method=said,
        n_tokens=n_tokens,
        own_vocabulary=own,
        target_width=width or shape.width,
    )


def draft_bytes(draft: Draft, split: Split) -> int:
    """The bytes of its weights on one accelerator."""
    shape = draft.shape
    precision = Precision.loaded(shape)
    if not draft.is_head:
        return stage_bytes(shape, _alone(split), precision)[0]
    body = replace(shape, vocabulary=1, ties_embeddings=True, weights_bytes=0)
    found = stage_bytes(body, _alone(split), precision)[0]
    # Three hidden states, or the last one beside the embedding, become one.
    values = _HIDDEN_STATES[draft.method] * draft.target_width * shape.width
    if draft.method == "eagle3":
        values += sum(_attention_inputs(one, split.tp) * shape.width for one in shape.attentions)
        rows = draft.own_vocabulary or padded_vocabulary(shape)
        values += rows // split.tp * shape.width
    return found + values * shape.value_bytes


def draft_refusals(
    draft: Draft, split: Split, machines: Machines, target: ModelShape
) -> tuple[Refusal, ...]:
    """The engine's checks that it does not pass; it is split as the model is."""
    shape = draft.shape
    refusals = [
        Refusal(rule=f"draft_{one.rule}", words=f"draft: {one.words}", source=one.source)
        for rule in (head_refusals, kv_head_refusals, width_refusals)
        for one in rule(shape, split, machines)
    ]
    if draft.is_head and draft.target_width != target.width:
        refusals.append(
            Refusal(
                rule="draft_width",
                words=f"the draft {shape.name} is made for a model of width {draft.target_width}, "
                f"and {target.name} has {target.width}",
                source="vllm/model_executor/models/llama_eagle3.py"
                if split.engine == "vllm"
                else "sglang/srt/models/llama_eagle3.py",
            )
        )
    if not draft.is_head and shape.vocabulary != target.vocabulary:
        refusals.append(
            Refusal(
                rule="draft_vocabulary",
                words=f"the draft {shape.name} has a vocabulary of {shape.vocabulary}, and "
                f"{target.name} has {target.vocabulary}",
                source="vllm/config/speculative.py, "
                "SpeculativeConfig.verify_equal_vocab_size_if_draft_model",
            )
        )
    return tuple(refusals)


def _attention_inputs(one: Attention, tp: int) -> int:
    """Rows of the projections that read the hidden state beside the embedding."""
    return one.n_heads // tp * one.head_dim + kv_heads(one, tp) * one.token_values


def _alone(split: Split) -> Split:
    """Split by TP alone: a draft has no stages."""
    return Split(engine=split.engine, tp=split.tp)


def _method(text: str) -> DraftMethod:
    plain = text.strip().lower()
    plain = _ALIASES.get(plain, plain)
    for one in METHODS:
        if plain == one:
            return one
    near = near_names(plain, METHODS)
    raise BadRequest(
        f"{text[:40]!r} is no method of speculation that umad reckons; "
        f"{'did you mean ' + near[0] + '?' if near else 'there are ' + ', '.join(METHODS)}",
        field="draft_method",
    )


def _found_method(fields: Fields) -> DraftMethod:
    said = " ".join((fields.text("speculators_model_type"), *fields.texts("architectures")))
    if "eagle3" in said.lower() or "draft_vocab_size" in fields:
        return "eagle3"
    return "eagle" if "eagle" in said.lower() else "draft_model"
