"""Estimates the memory that a step works in, beside weights and cells. Pure, and an estimate.

A step reads a slice of prompts or one token of each sequence, so what it works in grows with the
context only up to the engine's slice. The parts:

    activations   the widest tensors that are alive at once in one layer, for all tokens of a step
    logits        float32 for every sequence, twice: drawn from, and sorted
    latent        keys and values that MLA makes of its latent vectors for a long prompt: as many
                  tokens as the context, up to vLLM's bound of 64 Ki
    runtime       the driver's context, libraries, captured graphs, buffers of collectives

vLLM measures the same by a step with the most tokens (`determine_available_memory` of
`vllm/v1/worker/gpu_worker.py`); this cannot, so it errs on the side of more. The figures of the
runtime are what engines print at start on current cards: 0.6 GiB for a context, 0.5 to 1 GiB for
graphs, and some hundred MiB for collectives.
"""

from dataclasses import dataclass

from umad.scale.engines import StepSize
from umad.scale.shape import (
    Attention,
    Experts,
    LatentAttention,
    Layer,
    Mixer,
    Mlp,
    ModelShape,
    Recurrence,
)
from umad.scale.split import Split

_MIB = 2**20
_CONTEXT_BYTES = 600 * _MIB
_COLLECTIVE_BYTES = 300 * _MIB
_GRAPH_BYTES = 600 * _MIB
# vLLM's bound on tokens of `chunked_prefill_workspace_size`.
_MOST_LATENT_TOKENS = 64 * 1024
_LOGIT_BYTES = 4
_COPIES_OF_LOGITS = 2
# The residual stream, its normed copy, and the input and output of a layer's part.
_STREAMS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What a step works in, on one accelerator."""

    activation_bytes: int
    logits_bytes: int
    latent_bytes: int
    runtime_bytes: int

    @property
    def step_bytes(self) -> int:
        """Without what is there before the weights are."""
        return self.activation_bytes + self.logits_bytes + self.latent_bytes

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.step_bytes + self.runtime_bytes


def workspace(shape: ModelShape, split: Split, step: StepSize, *, context_tokens: int) -> Workspace:
    """The workspace for texts of some length. context_tokens: of one text."""
    tokens = max(step.sequences, min(step.tokens, context_tokens))
    widest = max((_layer_values(one, shape.width, split) for one in shape.layers), default=0)
    values = _STREAMS * shape.width + widest
    return Workspace(
        activation_bytes=tokens * values * shape.value_bytes,
        logits_bytes=step.sequences * shape.vocabulary * _LOGIT_BYTES * _COPIES_OF_LOGITS,
        latent_bytes=_latent_bytes(shape, split, context_tokens),
        runtime_bytes=_CONTEXT_BYTES + _GRAPH_BYTES + (_COLLECTIVE_BYTES if split.total > 1 else 0),
    )


def _layer_values(layer: Layer, width: int, split: Split) -> int:
    """Values of a token that are alive at once in the widest part of a layer."""
    mixed = max((_mixer_values(one, split.tp) for one in layer.mixers), default=0)
    match layer.feed:
        case Mlp():
            fed = layer.feed.n_matrices * layer.feed.width // split.tp
        case Experts():
            feed = layer.feed
            # Each token goes to `n_used` experts: their inputs, two inner tensors, their outputs.
            routed = feed.n_used * (feed.n_matrices * feed.width // split.expert_tp + 2 * width)
            # With whole experts on each rank, a token meets the used ones of this rank alone.
            fed = routed // min(split.ep, feed.n_used) + 3 * feed.shared_width // split.tp
        case _:
            fed = 0
    return max(mixed, fed)


def _mixer_values(mixer: Mixer, tp: int) -> int:
    match mixer:
        case Attention():
            kept = max(1, mixer.n_kv_heads // tp) * mixer.token_values
            return mixer.n_heads // tp * (mixer.head_dim + mixer.value_dim) + kept
        case LatentAttention():
            of_head = 2 * (mixer.key_dim + mixer.rope_dim) + 2 * mixer.value_dim
            return mixer.n_heads // tp * of_head + mixer.query_dim
        case Recurrence():
            return (3 * mixer.conv_channels + mixer.n_groups * mixer.group_channels) // tp


def _latent_bytes(shape: ModelShape, split: Split, context_tokens: int) -> int:
    tokens = min(context_tokens, _MOST_LATENT_TOKENS)
    return max(
        (
            tokens * (one.n_heads // split.tp) * (one.key_dim + one.value_dim) * shape.value_bytes
            for one in shape.latents
        ),
        default=0,
    )
