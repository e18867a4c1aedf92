"""A model as the engines see it: what stands in each layer, as values. Pure.

A layer mixes tokens (attention or a recurrence), then feeds each token through an MLP or experts.
The parts that the arithmetic of weights and cells needs are here, and nothing more. Not: where a
shape comes from (`umad.scale.hf_config`, `umad.scale.gguf_shape`).
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Attention with a key and a value for each KV head: MHA, GQA and MQA."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    # Of values, where they are of another size than keys (MiMo-V2).
    value_dim: int
    # The layer looks back over so many tokens; 0 where it sees all.
    window_tokens: int = 0
    # The layer sees its own chunk of so many tokens (Llama 4); 0 where it sees all.
    chunk_tokens: int = 0
    # Keys and values are an earlier layer's (Gemma 3n): there are no cells.
    borrows_cells: bool = False
    # The query's projection makes a gate of the same size, too (Qwen3-Next).
    gates: bool = False

    @property
    def token_values(self) -> int:
        """Values that one KV head keeps of a token."""
        return self.head_dim + self.value_dim

    @property
    def reach_tokens(self) -> int:
        """The tokens that a layer looks back over; 0 where it sees all."""
        return self.window_tokens or self.chunk_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one latent vector a token.

    Keys and values of all heads come out of it, so every accelerator keeps it whole.
    """

    n_heads: int
    latent_dim: int
    rope_dim: int
    key_dim: int
    value_dim: int
    # The latent vector of queries; 0 where they have none.
    query_dim: int = 0
    # The indexer of sparse attention (DeepSeek-V3.2); 0 without.
    index_heads: int = 0
    index_dim: int = 0

    @property
    def token_values(self) -> int:
        """Values kept of a token, whatever the number of heads."""
        return self.latent_dim + self.rope_dim


RecurrenceKind = Literal["mamba1", "mamba2", "delta", "kda", "convolution", "lightning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A layer with a state of one size, however long the text: Mamba, gated delta nets and others.

    The state is `n_heads` blocks of `head_values`, split by TP, beside the last tokens that a short
    convolution looks at.
    """

    kind: RecurrenceKind
    # Channels of the convolution, without those of groups; 0 without a convolution.
    conv_channels: int = 0
    # Tokens it looks back over: its kernel without the token itself.
    conv_tokens: int = 0
    # Groups that heads share (Mamba 2), and channels of each; they are copied where TP splits them.
    n_groups: int = 0
    group_channels: int = 0
    n_heads: int = 0
    head_values: int = 0
    # Bytes of one value of the state; 0 where the engine decides. Those of the convolution are the
    # model's.
    state_value_bytes: int = 0
    # Parameters of the layer's matrices.
    n_params: int = 0


Mixer = Attention | LatentAttention | Recurrence


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """A feed-forward layer that every token goes through."""

    width: int
    # 3 with a gate, 2 without.
    n_matrices: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts, with those that every token goes through."""

    n_experts: int
    n_used: int
    # Of one expert.
    width: int
    # Of the shared experts together; 0 without.
    shared_width: int = 0
    n_matrices: int = 3
    # The width of tokens within the experts, where it is not the model's (LatentMoE); 0 otherwise.
    inner_width: int = 0


Feed = Mlp | Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer. Some have two mixers beside each other (Falcon-H1), or none (Nemotron-H)."""

    mixers: tuple[Mixer, ...]
    feed: Feed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointQuantization:
    """The quantization that the files of a model have."""

    # As config.json names it: fp8, awq, gptq, compressed-tensors, mxfp4, gguf, …
    method: str
    # Of one weight, with scales.
    weight_bits: float
    # Of activations, where products are of fewer bits than 16; 0 otherwise.
    activation_bits: int = 0
    # Sides of the blocks that share a scale: (output, input); None for rows, or one for all.
    block: tuple[int, int] | None = None
    # Weights of a row that share a scale (GPTQ, AWQ); 0 where all of the row do.
    group: int = 0
    # Only the experts are quantized (gpt-oss).
    experts_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model, as far as its memory and its split depend on it."""

    # As it was asked for.
    name: str
    # The class that the engines load: LlamaForCausalLM.
    architecture: str
    width: int
    layers: tuple[Layer, ...]
    vocabulary: int
    ties_embeddings: bool
    # The longest text; 0 where that is not known.
    context_tokens: int
    # Bytes of a weight that is not quantized, as the engines load it, and of a value of KV.
    value_bytes: int = 2
    # The same as the files have it: both engines load float32 in 16 bits.
    file_value_bytes: int = 2
    quantization: CheckpointQuantization | None = None
    # The bytes of the weights' files, as they say themselves; 0 where they were not read.
    weights_bytes: int = 0
    # Where that figure is from, in words.
    weights_source: str = ""
    # The hub gives the model only to those who accepted its licence.
    is_gated: bool = False
    # Parts that the shape does not have: an encoder of images or sound.
    has_encoder: bool = False

    @property
    def n_layers(self) -> int:
        """Layers of all kinds."""
        return len(self.layers)

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """Of all layers, in order."""
        return tuple(one for layer in self.layers for one in layer.mixers)

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """Those with keys and values for each head."""
        return tuple(one for one in self.mixers if isinstance(one, Attention))

    @property
    def latents(self) -> tuple[LatentAttention, ...]:
        """Those of MLA."""
        return tuple(one for one in self.mixers if isinstance(one, LatentAttention))

    @property
    def recurrences(self) -> tuple[Recurrence, ...]:
        """Those with a state."""
        return tuple(one for one in self.mixers if isinstance(one, Recurrence))

    @property
    def experts(self) -> tuple[Experts, ...]:
        """The layers of experts."""
        return tuple(one.feed for one in self.layers if isinstance(one.feed, Experts))

    @property
    def n_experts(self) -> int:
        """Experts of a layer: the most; 0 for a dense model."""
        return max((one.n_experts for one in self.experts), default=0)

    @property
    def is_latent(self) -> bool:
        """Whether some layer has multi-head latent attention."""
        return bool(self.latents)
