"""Reckons the KV cache of one accelerator: bytes of a token, and of one text of some length. Pure.

A layer keeps of each token what its kind needs:

    MHA, GQA, MQA   max(1, KV heads / TP) x (key + value), split by TP or copied
    MLA             one latent vector, whole on every accelerator whatever TP is
    window, chunk   as above, for the last tokens alone
    recurrent       a state of one size, split by TP

vLLM keeps all kinds in one pool of blocks of one size. Layers of different kinds are put into
groups of as many layers; the last group of a kind is padded. A layer with a window holds the
window, the tokens in flight and one block.
Recurrent layers take whole blocks, as long as a state; with the
prefix cache, two of them. Sources: vLLM 0.33.0, `vllm/v1/kv_cache_interface.py`
(`max_memory_usage_bytes` of each spec), `vllm/v1/core/kv_cache_planning.py`
(`_get_kv_cache_groups_uniform_page_size`, `unify_kv_cache_spec_page_size`),
`vllm/platforms/interface.py` (the block of hybrid models).

SGLang has a pool for full layers and one for windows, whose sizes have a fixed ratio, and gives
states a share beside them. Sources: SGLang 0.5.23, `srt/model_executor/pool_configurator.py`
(HybridSWAPoolConfigurator, `_cell_size`), `srt/configs/mamba_utils.py` (`mamba_cache_per_req`).
"""

import math
from dataclasses import dataclass

from umad.scale.engines import BLOCK_TOKENS, SGLANG_WINDOW_RATIO, EngineName, StepSize
from umad.scale.shape import Attention, LatentAttention, Layer, Mixer, Recurrence
from umad.scale.weights import kv_heads

# Blocks of a recurrent layer for one text, where the prefix cache keeps one to go back to.
_STATES_OF_A_TEXT = 2
# The index of sparse attention is kept in fp8, with a scale of 4 bytes for 128 values.
_INDEX_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class CellKind:
    """Layers of one accelerator that keep the same of a token."""

    n_layers: int
    # Of one layer.
    token_bytes: int
    # The tokens that it looks back over; 0 where it sees all.
    reach_tokens: int = 0
    is_chunk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells that one accelerator keeps of texts."""

    engine: EngineName
    kinds: tuple[CellKind, ...]
    # States of each recurrent layer for one text.
    state_bytes: tuple[int, ...]
    step: StepSize

    @property
    def token_bytes(self) -> int:
        """Of a token in all layers that see everything, as the engines count it."""
        return sum(one.n_layers * one.token_bytes for one in self.kinds if not one.reach_tokens)

    @property
    def window_token_bytes(self) -> int:
        """Of a token in all layers with a window or a chunk."""
        return sum(one.n_layers * one.token_bytes for one in self.kinds if one.reach_tokens)

    @property
    def states_bytes(self) -> int:
        """Of all recurrent layers for one text."""
        return sum(self.state_bytes)

    def text_bytes(self, tokens: int) -> int:
        """What one text of so many tokens takes."""
        if self.engine == "vllm":
            return self._vllm_text_bytes(tokens)
        per_token = float(self.token_bytes)
        if self.token_bytes:
            per_token += SGLANG_WINDOW_RATIO * self.window_token_bytes
        else:  # every layer has a window: one pool of all tokens
            per_token = self.window_token_bytes
        return math.ceil(per_token * tokens) + self.states_bytes

    # -- vLLM's pool -------------------------------------------------------------------------------

    def _vllm_text_bytes(self, tokens: int) -> int:
        kinds = [one for one in self.kinds if one.n_layers and one.token_bytes]
        block = BLOCK_TOKENS
        page = block * max((one.token_bytes for one in kinds), default=0)
        if self.state_bytes and kinds:
            # The block grows until it is as long as the largest state.
            widest = max(one.token_bytes for one in kinds)
            block = BLOCK_TOKENS * -(-max(self.state_bytes) // (BLOCK_TOKENS * widest))
            page = block * widest
        if not kinds:
            return _STATES_OF_A_TEXT * sum(self.state_bytes)
        counts = [one.n_layers for one in kinds]
        if self.state_bytes:
            counts.append(len(self.state_bytes))
        padded = _padded(counts)
        total = 0
        for one, n_layers in zip(kinds, padded, strict=False):
            own = one.token_bytes * block
            # A smaller page gets more tokens where that makes it the same size, else it is padded.
            in_block = block * (page // own) if page % own == 0 else block
            blocks = self._blocks(one, tokens, in_block)
            total += n_layers * blocks * page
        if self.state_bytes:
            total += padded[-1] * _STATES_OF_A_TEXT * page
        return total

    def _blocks(self, kind: CellKind, tokens: int, block: int) -> int:
        if not kind.reach_tokens:
            return -(-tokens // block)
        in_flight = self.step.tokens * self.step.steps
        if kind.is_chunk:
            return -(-min(kind.reach_tokens + in_flight, tokens) // block)
        return -(-min(kind.reach_tokens - 1 + in_flight, tokens) // block) + 1


def _padded(counts: list[int]) -> list[int]:
    """Layers of each kind, with the padding that makes vLLM's groups equal."""
    if len(counts) < 2:
        return counts
    least, most = min(counts), max(counts)
    size = most if most < least * 1.5 else least
    return [-(-one // size) * size for one in counts]


def cells_of(
    layers: tuple[Layer, ...],
    *,
    engine: EngineName,
    tp: int,
    kv_bytes: int,
    value_bytes: int,
    step: StepSize,
    extra: tuple[Layer, ...] = (),
) -> Cells:
    """The cells of some layers on one accelerator. extra: a draft model's layers."""
    found: dict[tuple[int, int, bool], int] = {}
    states: list[int] = []
    for mixer in (one for layer in (*layers, *extra) for one in layer.mixers):
        if isinstance(mixer, Recurrence):
            states.append(state_bytes(mixer, engine=engine, tp=tp, value_bytes=value_bytes))
            continue
        key = _kind(mixer, tp=tp, kv_bytes=kv_bytes)
        found[key] = found.get(key, 0) + 1
    kinds = tuple(
        CellKind(n_layers=n, token_bytes=of_token, reach_tokens=reach, is_chunk=is_chunk)
        for (of_token, reach, is_chunk), n in found.items()
        if of_token
    )
    return Cells(engine=engine, kinds=kinds, state_bytes=tuple(states), step=step)


def _kind(mixer: Mixer, *, tp: int, kv_bytes: int) -> tuple[int, int, bool]:
    match mixer:
        case LatentAttention():
            index = mixer.index_dim + 4 * (mixer.index_dim // _INDEX_BLOCK)
            return (mixer.token_values * kv_bytes + index, 0, False)
        case Attention() if mixer.borrows_cells:
            return (0, 0, False)
        case Attention():
            of_token = kv_heads(mixer, tp) * mixer.token_values * kv_bytes
            return (of_token, mixer.reach_tokens, bool(mixer.chunk_tokens))
        case _:
            return (0, 0, False)


def state_bytes(mixer: Recurrence, *, engine: EngineName, tp: int, value_bytes: int) -> int:
    """The state of one recurrent layer on one accelerator."""
    groups = mixer.n_groups
    if groups and groups % tp:
        # Groups go with the heads that need them: each accelerator has its own copy.
        groups = tp
    channels = (mixer.conv_channels + groups * mixer.group_channels) // tp
    # vLLM keeps the state as the model's values are, SGLang in 32 bits, unless config.json says.
    of_value = mixer.state_value_bytes or (value_bytes if engine == "vllm" else 4)
    heads = mixer.n_heads // tp
    return channels * mixer.conv_tokens * value_bytes + heads * mixer.head_values * of_value
