"""AdamW, its groups, and the learning rate over the steps.

Contract: matrices of the backbone decay, vectors (norms, biases) and heads do not. `rate` is the factor of
both learning rates: it rises linearly over the first `warmup` share of the steps and then falls to 0 at the
last one by the chosen curve. Source: Loshchilov and Hutter (arXiv 1711.05101).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from prm.training.config import TrainConfig

_BETAS = (0.9, 0.95)


def make_optimizer(parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over named parameters; those named ``heads.`` have the head's learning rate."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    for name, parameter in parameters.items():
        if name.startswith("heads."):
            heads.append(parameter)
        else:
            (matrices if parameter.ndim > 1 else vectors).append(parameter)
    groups = [
        {"params": matrices, "lr": config.learning_rate, "weight_decay": config.weight_decay},
        {"params": vectors, "lr": config.learning_rate, "weight_decay": 0.0},
        {"params": heads, "lr": config.head_learning_rate, "weight_decay": 0.0},
    ]
    groups = [group | {"top": group["lr"]} for group in groups if group["params"]]
    return torch.optim.AdamW(groups, betas=_BETAS)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's learning rate to `factor` of its top."""
    for group in optimizer.param_groups:
        group["lr"] = group["top"] * factor


def rate(step: int, steps: int, config: TrainConfig) -> float:
    """Factor in (0, 1] of the learning rates at step `step` (from 0) of `steps`.

    ``min((step + 1) / w, f(t))`` with ``w = warmup * steps``, ``t = (step + 1 - w) / (steps + 1 - w)`` in [0,
    1) and f of linear ``1 - t``, cosine ``(1 + cos(pi t)) / 2``, or 1.
    """
    warm = config.warmup * steps
    if step + 1 < warm:
        return (step + 1) / warm
    done = (step + 1 - warm) / (steps + 1 - warm)
    if config.decay == "linear":
        return 1 - done
    return (1 + math.cos(math.pi * done)) / 2 if config.decay == "cosine" else 1.0
