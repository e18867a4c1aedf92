"""How a model is split over accelerators: the four degrees of parallelism. Values only.

    TP  tensors of a layer are split, within one machine
    PP  layers are split into stages
    DP  whole copies take requests in turn
    EP  experts of a layer are split, over accelerators that TP (and in vLLM DP) already joins

Sources: vLLM 0.33.0, FusedMoEParallelConfig.make of
`vllm/model_executor/layers/fused_moe/config.py` (tensors of experts are split over TP x DP; with
`enable_expert_parallel` whole experts are). SGLang 0.5.23, `arg_groups/parallel_hook.py`:
`ep_size * moe_dp_size = tp_size`. `get_pp_indices` of both (layers of a stage).
"""

from dataclasses import dataclass

from umad.scale.engines import EngineName
from umad.scale.shape import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One way to split a model."""

    engine: EngineName
    tp: int = 1
    pp: int = 1
    dp: int = 1
    # Ranks that share out the experts; 1 where their tensors are split instead.
    ep: int = 1

    @property
    def group(self) -> int:
        """Accelerators that hold one copy of the model."""
        return self.tp * self.pp

    @property
    def total(self) -> int:
        """Accelerators in use."""
        return self.tp * self.pp * self.dp

    @property
    def expert_ranks(self) -> int:
        """Ranks that hold one layer of experts together."""
        return self.tp * self.dp if self.engine == "vllm" else self.tp

    @property
    def expert_tp(self) -> int:
        """Ways that the tensors of one expert are split."""
        return self.expert_ranks // self.ep


def stages(layers: tuple[Layer, ...], split: Split) -> list[tuple[Layer, ...]]:
    """The layers of each pipeline stage, as the engine shares them out."""
    base, rest = divmod(len(layers), split.pp)
    sizes = [base] * split.pp
    if split.engine == "vllm":
        # The last stage has the head, so the ones before it get what is over, from the last.
        for back in range(2, rest + 2):
            sizes[-back] += 1
    else:
        for back in range(1, rest + 1):
            sizes[-back] += 1
    found: list[tuple[Layer, ...]] = []
    at = 0
    for size in sizes:
        found.append(layers[at : at + size])
        at += size
    return found
