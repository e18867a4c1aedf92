"""The Llama-shaped network in torch. Nothing here knows about files, time or llama.cpp.

forward(ids) -> logits; loss(ids, targets) -> mean nats per token. Weights are float32 and
are used in bfloat16, which this kind of CPU multiplies four times as fast.
Owner: the training loop mutates the parameters; everyone else reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

# torch's own attention took half of a training step on a CPU at 512 tokens. Plain products in
# blocks, which skip most of what is masked, make the step a third shorter; longer rows would
# need too much memory for their scores.
BLOCK_TOKENS = 256
MAX_BLOCKED_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The network's dimensions; all are multiples of 32, the block of Q8_0."""

    n_vocab_tokens: int = 5120
    n_context_tokens: int = 4096
    width: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int = 2
    hidden: int = 672
    # Positions up to the context length turn the slowest pair by less than one round.
    rope_base: float = 20_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads


class Norm(nn.Module):
    """RMS norm, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.epsilon)
        return (x32 * scale * self.weight).to(x.dtype)


class Matrix(nn.Module):
    """A linear map without bias whose weight takes its input's type."""

    def __init__(self, n_in: int, n_out: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * scale * n_in**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype))


class Layer(nn.Module):
    """Attention, then a gated feed-forward, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.n_kv_heads * shape.head_width
        self.attn_norm = Norm(shape.width, shape.norm_epsilon)
        self.attn_q = Matrix(shape.width, shape.width)
        self.attn_k = Matrix(shape.width, kv_width)
        self.attn_v = Matrix(shape.width, kv_width)
        # Zero, so that each block begins as the identity and depth costs nothing at first.
        self.attn_output = Matrix(shape.width, shape.width, scale=0.0)
        self.ffn_norm = Norm(shape.width, shape.norm_epsilon)
        self.ffn_gate = Matrix(shape.width, shape.hidden)
        self.ffn_up = Matrix(shape.width, shape.hidden)
        self.ffn_down = Matrix(shape.hidden, shape.width, scale=0.0)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, _ = x.shape
        shape = self.shape
        normed = self.attn_norm(x)
        q = self.attn_q(normed).view(rows, length, shape.n_heads, shape.head_width)
        k = self.attn_k(normed).view(rows, length, shape.n_kv_heads, shape.head_width)
        v = self.attn_v(normed).view(rows, length, shape.n_kv_heads, shape.head_width)
        q, k = rotate(q, cos, sin).transpose(1, 2), rotate(k, cos, sin).transpose(1, 2)
        share = shape.n_heads // shape.n_kv_heads
        k = k.repeat_interleave(share, dim=1)
        v = v.transpose(1, 2).repeat_interleave(share, dim=1)
        mixed = attention(q, k, v)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(rows, length, shape.width))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position by halves (pair i with i + head_width/2); export reorders the rows."""
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
    return turned.to(x.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention; q, k, v: (rows, heads, length, head_width)."""
    length, head_width = q.shape[2:]
    if length > MAX_BLOCKED_TOKENS:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    mixed = []
    for start in range(0, length, BLOCK_TOKENS):
        stop = min(start + BLOCK_TOKENS, length)
        scores = q[:, :, start:stop] @ k[:, :, :stop].mT
        position = torch.arange(stop, device=q.device)
        hidden = position[None, :] > position[start:stop, None]
        scores = scores.float().mul(head_width**-0.5).masked_fill(hidden, -torch.inf)
        mixed.append(scores.softmax(-1).to(v.dtype) @ v[:, :, :stop])
    return torch.cat(mixed, dim=2)


class Nano(nn.Module):
    """Embedding, blocks, norm; the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Parameter(torch.randn(shape.n_vocab_tokens, shape.width) * 0.02)
        self.blocks = nn.ModuleList(Layer(shape) for _ in range(shape.n_layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        half = shape.head_width // 2
        frequency = shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(shape.n_context_tokens, dtype=torch.float64)[:, None] * frequency
        # (n_context_tokens, 1, head_width / 2): broadcast over heads.
        self.register_buffer("cos", angle.cos().float()[:, None, :], persistent=False)
        self.register_buffer("sin", angle.sin().float()[:, None, :], persistent=False)

    def forward(self, ids: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """ids: int64 (rows, length) -> logits: dtype (rows, length, n_vocab_tokens)."""
        length = ids.shape[1]
        cos, sin = self.get_buffer("cos")[:length], self.get_buffer("sin")[:length]
        x = functional.embedding(ids, self.token_embd).to(dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        return functional.linear(self.output_norm(x), self.token_embd.to(dtype))

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats over all positions, computed from bfloat16 logits."""
        logits = self.forward(ids, dtype=torch.bfloat16)
        return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
