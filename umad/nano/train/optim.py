"""Muon for the matrices, AdamW for the embedding and the norms. No schedule, no clock.

step(rate) applies one update with all learning rates multiplied by `rate`.
Owner: the training loop. Source: K. Jordan et al., "Muon" (2024), quintic Newton-Schulz.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from umad.nano.train.model import Nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Learning rates before the schedule's factor."""

    muon: float = 0.015
    embedding: float = 0.003
    norm: float = 0.003
    momentum: float = 0.95
    # Small, and only on matrices: each is seen for a few thousand steps.
    muon_decay: float = 0.05


def orthogonalised(gradient: Tensor, *, n_iterations: int = 5) -> Tensor:
    """The nearest half-orthogonal matrices, roughly. gradient: (n, rows, columns)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(n_iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Optimiser:
    """Both rules over one model's parameters, matrices grouped by shape to be batched."""

    def __init__(self, model: Nano, rates: Rates) -> None:
        self.rates = rates
        self.groups: dict[torch.Size, list[Tensor]] = defaultdict(list)
        norms: list[Tensor] = []
        for parameter in model.blocks.parameters():
            if parameter.ndim == 2:
                self.groups[parameter.shape].append(parameter)
            else:
                norms.append(parameter)
        norms.append(model.output_norm.weight)
        self.momenta = {size: torch.zeros(len(group), *size) for size, group in self.groups.items()}
        self.adam = torch.optim.AdamW(
            [
                {"params": [model.token_embd], "rate": rates.embedding},
                {"params": norms, "rate": rates.norm},
            ],
            betas=(0.9, 0.97),
            eps=1e-10,
            weight_decay=0.0,
        )

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update from the gradients at hand, which are then dropped."""
        for group in self.adam.param_groups:
            group["lr"] = group["rate"] * rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for size, matrices in self.groups.items():
            gradient = torch.stack([m.grad for m in matrices if m.grad is not None])
            momentum = self.momenta[size]
            momentum.lerp_(gradient, 1 - self.rates.momentum)
            update = orthogonalised(gradient.lerp_(momentum, self.rates.momentum)).float()
            # A tall matrix's update is smaller per element: even out, as in Muon's reference.
            muon_rate = self.rates.muon * rate
            scale = muon_rate * max(1.0, size[0] / size[1]) ** 0.5
            for matrix, change in zip(matrices, update, strict=True):
                matrix.mul_(1 - muon_rate * self.rates.muon_decay)
                matrix.sub_(change, alpha=scale)
                matrix.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "momenta": list(self.momenta.values())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        for mine, saved in zip(self.momenta.values(), state["momenta"], strict=True):
            mine.copy_(saved)
