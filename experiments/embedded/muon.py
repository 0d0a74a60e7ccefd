"""Muon with its Newton-Schulz iteration in the weights' own type.

The same update as `torch.optim.Muon` (momentum 0.95, Nesterov, five quintic iterations; Jordan 2024), which
iterates in bfloat16 whatever the weights are: on a CPU without bfloat16 units that took ten times as long as
everything else in a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPS = 1e-7


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of `matrix` = U S V^T: its singular values pushed to near 1."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=_EPS)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices only; weight decay is decoupled, the rate is scaled by sqrt(max(1, rows / columns))."""

    def __init__(
        self, params: Iterable[torch.Tensor], *, lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                buffer = self.state[param].setdefault("momentum_buffer", torch.zeros_like(param))
                buffer.lerp_(param.grad, 1 - group["momentum"])
                update = orthogonalised(param.grad.lerp(buffer, group["momentum"]))
                param.mul_(1 - group["lr"] * group["weight_decay"])
                scale = math.sqrt(max(1.0, param.shape[0] / param.shape[1]))
                param.add_(update, alpha=-group["lr"] * scale)
