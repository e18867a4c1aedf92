"""Counts a model's parameters, and the bytes of them that one accelerator holds. Pure.

Matrices are counted by their shapes; norms and biases, less than a thousandth, are not. What TP
splits and what it copies is as in the engines: query heads and MLPs are split, KV heads are split
or copied, the small matrices before MLA's latent vectors and the router are copied
(ReplicatedLinear), the vocabulary is padded and split, experts are split whole or by tensors.

Where the files' own size is known, the result is scaled to it: so encoders of images, heads of
speculation and scales have their share, too.
"""

from dataclasses import dataclass

from umad.scale.shape import (
    Attention,
    Experts,
    Feed,
    LatentAttention,
    Layer,
    Mixer,
    ModelShape,
    Recurrence,
)
from umad.scale.split import Split, stages

# Both engines pad the vocabulary to so many rows (DEFAULT_VOCAB_PADDING_SIZE).
VOCABULARY_PADDING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Bits of a weight, by where it stands."""

    # Matrices of attention and MLPs.
    matrix_bits: float = 16
    expert_bits: float = 16
    # Embeddings, the head, routers: the engines leave them as they are.
    other_bits: float = 16

    @classmethod
    def of_files(cls, shape: ModelShape) -> "Precision":
        """As the model's files have it."""
        return cls._of(shape, 8.0 * shape.file_value_bytes)

    @classmethod
    def loaded(cls, shape: ModelShape) -> "Precision":
        """As an engine loads the files, unless it is told otherwise."""
        return cls._of(shape, 8.0 * shape.value_bytes)

    @classmethod
    def _of(cls, shape: ModelShape, other: float) -> "Precision":
        found = shape.quantization
        if found is None:
            return cls(matrix_bits=other, expert_bits=other, other_bits=other)
        return cls(
            matrix_bits=other if found.experts_only else found.weight_bits,
            expert_bits=found.weight_bits,
            # llama.cpp quantizes the embeddings too.
            other_bits=found.weight_bits if found.method == "gguf" else other,
        )

    def made(self, bits: float, *, experts_only: bool) -> "Precision":
        """With what an engine makes of it while it loads."""
        return Precision(
            matrix_bits=self.matrix_bits if experts_only else bits,
            expert_bits=bits,
            other_bits=self.other_bits,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Numbers of weights, by how they are quantized."""

    matrices: float = 0
    experts: float = 0
    others: float = 0

    @property
    def total(self) -> float:
        """All of them."""
        return self.matrices + self.experts + self.others

    def __add__(self, other: "Parameters") -> "Parameters":
        return Parameters(
            matrices=self.matrices + other.matrices,
            experts=self.experts + other.experts,
            others=self.others + other.others,
        )

    def n_bytes(self, precision: Precision) -> float:
        """What they take."""
        bits = (
            self.matrices * precision.matrix_bits
            + self.experts * precision.expert_bits
            + self.others * precision.other_bits
        )
        return bits / 8


def parameters(shape: ModelShape) -> Parameters:
    """Those of the whole model."""
    whole = Split(engine="vllm")
    found = _embeddings(shape, whole, is_first=True, is_last=True, padding=1)
    for layer in shape.layers:
        found += _layer(layer, shape.width, whole)
    return found


def file_bytes(shape: ModelShape) -> int:
    """The bytes of the model's weights: its files' own figure, else by its shape."""
    return shape.weights_bytes or round(parameters(shape).n_bytes(Precision.of_files(shape)))


def stage_bytes(shape: ModelShape, split: Split, precision: Precision) -> list[int]:
    """The bytes of weights on one accelerator of each pipeline stage."""
    found = []
    all_stages = stages(shape.layers, split)
    for number, layers in enumerate(all_stages):
        ours = _embeddings(
            shape,
            split,
            is_first=number == 0,
            is_last=number == len(all_stages) - 1,
            padding=VOCABULARY_PADDING,
        )
        for layer in layers:
            ours += _layer(layer, shape.width, split)
        found.append(ours.n_bytes(precision))
    by_shape = parameters(shape).n_bytes(Precision.of_files(shape))
    ratio = shape.weights_bytes / by_shape if shape.weights_bytes and by_shape else 1.0
    return [round(one * ratio) for one in found]


def padded_vocabulary(shape: ModelShape, tp: int = 1) -> int:
    """Rows of the embeddings as the engines allocate them, in all."""
    rows = -(-shape.vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING
    return -(-rows // tp) * tp


def _embeddings(
    shape: ModelShape, split: Split, *, is_first: bool, is_last: bool, padding: int
) -> Parameters:
    rows = padded_vocabulary(shape, split.tp) if padding > 1 else shape.vocabulary
    one = rows / split.tp * shape.width
    # Tied embeddings are one matrix, unless the first and the last layer are apart.
    n = (is_first + is_last) if not (shape.ties_embeddings and is_first) else 1
    return Parameters(others=one * n)


def _layer(layer: Layer, width: int, split: Split) -> Parameters:
    found = _feed(layer.feed, width, split)
    for mixer in layer.mixers:
        found += _mixer(mixer, width, split.tp)
    return found


def _mixer(mixer: Mixer, width: int, tp: int) -> Parameters:
    match mixer:
        case Attention():
            queries = mixer.n_heads / tp * (mixer.head_dim * (2 if mixer.gates else 1))
            outputs = mixer.n_heads / tp * mixer.value_dim
            kept = 0.0 if mixer.borrows_cells else kv_heads(mixer, tp) * mixer.token_values
            return Parameters(matrices=width * (queries + outputs + kept))
        case LatentAttention():
            heads = mixer.n_heads / tp
            key = mixer.key_dim + mixer.rope_dim
            if mixer.query_dim:
                copied = width * mixer.query_dim
                split_ones = mixer.query_dim * heads * key
            else:
                copied, split_ones = 0, width * heads * key
            copied += width * mixer.token_values
            copied += mixer.query_dim * mixer.index_heads * mixer.index_dim
            copied += width * (mixer.index_dim + mixer.index_heads) if mixer.index_dim else 0
            split_ones += mixer.latent_dim * heads * (mixer.key_dim + mixer.value_dim)
            split_ones += heads * mixer.value_dim * width
            return Parameters(matrices=copied + split_ones)
        case Recurrence():
            return Parameters(matrices=mixer.n_params / tp)


def kv_heads(mixer: Attention, tp: int) -> int:
    """KV heads on one accelerator: split, or copied where there are fewer than ranks."""
    return max(1, mixer.n_kv_heads // tp)


def _feed(feed: Feed | None, width: int, split: Split) -> Parameters:
    match feed:
        case None:
            return Parameters()
        case Experts():
            inner = feed.inner_width or width
            one = feed.n_matrices * inner * feed.width
            here = -(-feed.n_experts // split.ep) * one / split.expert_tp
            shared = feed.n_matrices * width * feed.shared_width / split.tp
            shared += 2 * width * feed.inner_width
            return Parameters(matrices=shared, experts=here, others=width * feed.n_experts)
        case _:
            return Parameters(matrices=feed.n_matrices * width * feed.width / split.tp)
