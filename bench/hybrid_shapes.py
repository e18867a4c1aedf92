"""Says what generated hybrids and models with sliding windows are made of.

Names and sizes of tensors are those that llama.cpp asks for (its src/models/). Their proportions
are those of models that people run. `bench.model_shape` explains the scales. Values only.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar

from gguf import GGUFWriter
from typing_extensions import override

from bench.model_shape import LOGIT_STD, QUERY_KEY_GAIN, ModelShape
from bench.weights import Tensor

# What the chosen experts add to a state of size one. Random routers have many near ties, so another
# rounding chooses other experts. Where those say as much as the rest, two slicings of one prompt
# are 7 nats apart, and no answer can be held against another; with this share 0.9 or less.
_EXPERTS_SAY = 1 / 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaNetShape(ModelShape):
    """A hybrid as Qwen3.5 is: of four layers three are gated delta nets, whose state does not grow,
    and one is attention, whose queries bring a gate along."""

    architecture: ClassVar[str] = "qwen35"
    _INTERVAL: ClassVar[int] = 4

    state_heads: int
    state_head_width: int
    kernel: int = 4

    @override
    def add_metadata(self, writer: GGUFWriter) -> None:
        ModelShape.add_metadata(self, writer)
        self._add_head_width(writer)
        rotary = self.head // 4
        writer.add_rope_dimension_count(rotary)
        third = rotary // 6
        sections = [rotary // 2 - 2 * third, third, third, 0]
        writer.add_rope_dimension_sections(sections)
        writer.add_full_attention_interval(self._INTERVAL)
        writer.add_ssm_conv_kernel(self.kernel)
        writer.add_ssm_inner_size(self.state_heads * self.state_head_width)
        writer.add_ssm_state_size(self.state_head_width)
        writer.add_ssm_time_step_rank(self.state_heads)
        writer.add_ssm_group_count(self.state_heads)

    @override
    def _block(self, layer: int, block: str) -> Iterator[Tensor]:
        yield self.norm(f"{block}attn_norm", self.width)
        yield self.norm(f"{block}post_attention_norm", self.width)
        if (layer + 1) % self._INTERVAL:
            yield from self._delta_net(block)
        else:
            # Keys and queries are normed, so their size is that of the norms' weights.
            yield from self._attention(block, q_rows=2 * self.head * self.heads, gain=1.0)
            yield self.norm(f"{block}attn_q_norm", self.head, mean=QUERY_KEY_GAIN)
            yield self.norm(f"{block}attn_k_norm", self.head, mean=QUERY_KEY_GAIN)
        yield from self._ffn(block)

    def _delta_net(self, block: str) -> Iterator[Tensor]:
        width, heads = self.width, self.state_heads
        inner = heads * self.state_head_width
        yield self.matrix(f"{block}attn_qkv", 3 * inner, width, self.into)
        yield self.matrix(f"{block}attn_gate", inner, width, self.into)
        yield self.matrix(f"{block}ssm_alpha", heads, width, self.into)
        yield self.matrix(f"{block}ssm_beta", heads, width, self.into)
        yield kernel(f"{block}ssm_conv1d.weight", 3 * inner, self.kernel)
        # What is left of a state after a token: of some heads nine tenths, of others nearly all.
        yield self.vector(f"{block}ssm_dt.bias", heads, std=1.0, mean=-4.0)
        yield Tensor(name=f"{block}ssm_a", rows=1, columns=heads, std=0.7, mean=0.7, decays=True)
        yield self.norm(f"{block}ssm_norm", self.state_head_width)
        yield self.matrix(f"{block}ssm_out", width, inner, 1 / math.sqrt(inner))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MambaShape(ModelShape):
    """A hybrid as Granite 4 is: Mamba 2 layers, with one of attention, which knows no positions,
    among eight."""

    architecture: ClassVar[str] = "granitehybrid"
    _EXPANSION: ClassVar[int] = 2  # llama.cpp knows no other

    state_heads: int
    state_width: int
    # Layers of attention.
    attention: tuple[int, ...]
    kernel: int = 4

    @override
    def add_metadata(self, writer: GGUFWriter) -> None:
        ModelShape.add_metadata(self, writer)
        self._add_head_width(writer)
        writer.add_rope_dimension_count(self.head)
        writer.add_rope_scaling_finetuned(False)
        writer.add_ssm_conv_kernel(self.kernel)
        writer.add_ssm_inner_size(self._inner)
        writer.add_ssm_state_size(self.state_width)
        writer.add_ssm_time_step_rank(self.state_heads)
        writer.add_ssm_group_count(1)

    @property
    def _inner(self) -> int:
        return self._EXPANSION * self.width

    @override
    def _kv_heads(self) -> list[int]:
        return [self.kv_heads if one in self.attention else 0 for one in range(self.layers)]

    @override
    def _block(self, layer: int, block: str) -> Iterator[Tensor]:
        yield self.norm(f"{block}attn_norm", self.width)
        yield self.norm(f"{block}ffn_norm", self.width)
        if layer in self.attention:
            yield from self._attention(block, q_rows=self.head * self.heads)
        else:
            yield from self._mamba(block)
        yield from self._ffn(block)

    def _mamba(self, block: str) -> Iterator[Tensor]:
        inner, heads = self._inner, self.state_heads
        convolved = inner + 2 * self.state_width
        yield self.matrix(f"{block}ssm_in", inner + convolved + heads, self.width, self.into)
        yield kernel(f"{block}ssm_conv1d.weight", convolved, self.kernel)
        yield self.vector(f"{block}ssm_conv1d.bias", convolved)
        yield self.vector(f"{block}ssm_dt.bias", heads, std=1.0, mean=-4.0)
        yield Tensor(
            name=f"{block}ssm_a", rows=heads, columns=1, std=0.7, mean=0.7, form="f32", decays=True
        )
        yield Tensor(name=f"{block}ssm_d", rows=heads, columns=1, std=0.1, mean=1.0, form="f32")
        yield self.norm(f"{block}ssm_norm", inner)
        yield self.matrix(f"{block}ssm_out", self.width, inner, 1 / math.sqrt(inner))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GemmaShape(ModelShape):
    """As Gemma 3 is: of six layers five look at a window, and one at everything."""

    architecture: ClassVar[str] = "gemma3"
    # Embeddings are multiplied by the root of the width and are tied all the same. Layer outputs of
    # this size beside them keep the last token from predicting itself.
    _OUTPUT: ClassVar[float] = 8.0

    window: int

    @override
    def add_metadata(self, writer: GGUFWriter) -> None:
        ModelShape.add_metadata(self, writer)
        self._add_head_width(writer)
        writer.add_sliding_window(self.window)

    @override
    def _block(self, layer: int, block: str) -> Iterator[Tensor]:
        for norm in ("attn_norm", "ffn_norm"):
            yield self.norm(f"{block}{norm}", self.width)
        for norm in ("post_attention_norm", "post_ffw_norm"):
            yield self.norm(f"{block}{norm}", self.width, mean=self._OUTPUT)
        yield from self._attention(block, q_rows=self.head * self.heads, gain=1.0)
        yield self.norm(f"{block}attn_q_norm", self.head, mean=QUERY_KEY_GAIN)
        yield self.norm(f"{block}attn_k_norm", self.head, mean=QUERY_KEY_GAIN)
        yield from self._ffn(block)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SinkShape(ModelShape):
    """As gpt-oss is: every second layer looks at a window, attention has sinks, experts are MXFP4,
    and the embeddings are not tied."""

    architecture: ClassVar[str] = "gpt-oss"
    form: ClassVar[str] = "mxfp4"
    recipe: ClassVar[int] = 2

    window: int
    experts: int
    experts_used: int

    @override
    def add_metadata(self, writer: GGUFWriter) -> None:
        ModelShape.add_metadata(self, writer)
        self._add_head_width(writer)
        writer.add_sliding_window(self.window)
        writer.add_expert_count(self.experts)
        writer.add_expert_used_count(self.experts_used)
        writer.add_expert_feed_forward_length(self.ffn_width)

    @override
    def _outside(self, n_vocab: int) -> Iterator[Tensor]:
        yield from ModelShape._outside(self, n_vocab)
        yield self.matrix("output", n_vocab, self.width, self.into * LOGIT_STD)

    @override
    def _block(self, layer: int, block: str) -> Iterator[Tensor]:
        width, kv_width = self.width, self.kv_width
        inner = self.head * self.heads
        yield self.norm(f"{block}attn_norm", width)
        yield self.norm(f"{block}post_attention_norm", width)
        yield from self._attention(block, q_rows=inner)
        for name, columns in (
            ("attn_q", inner),
            ("attn_k", kv_width),
            ("attn_v", kv_width),
            ("attn_output", width),
        ):
            yield self.vector(f"{block}{name}.bias", columns)
        yield self.vector(f"{block}attn_sinks.weight", self.heads, std=1.0)
        yield from self._experts(block)

    def _experts(self, block: str) -> Iterator[Tensor]:
        width, ffn, experts = self.width, self.ffn_width, self.experts
        yield Tensor(
            name=f"{block}ffn_gate_inp.weight",
            rows=experts,
            columns=width,
            std=self.into,
            form="f32",
        )
        yield self.vector(f"{block}ffn_gate_inp.bias", experts)
        for name, rows, columns, share in (
            ("ffn_gate_exps", ffn, width, 1.0),
            ("ffn_up_exps", ffn, width, 1.0),
            ("ffn_down_exps", width, ffn, _EXPERTS_SAY),
        ):
            yield Tensor(
                name=f"{block}{name}.weight",
                rows=rows,
                columns=columns,
                std=share / math.sqrt(columns),
                experts=experts,
                form="mxfp4",
            )
            yield Tensor(
                name=f"{block}{name}.bias",
                rows=experts,
                columns=rows,
                std=0.1 * share,
                form="f32",
            )


def kernel(name: str, channels: int, taps: int) -> Tensor:
    """Of a short convolution, whose outputs have the size of its inputs."""
    return Tensor(name=name, rows=channels, columns=taps, std=1 / math.sqrt(taps), form="f32")
