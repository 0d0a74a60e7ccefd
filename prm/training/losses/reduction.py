"""How the losses of single steps, pairs or trajectories become one number.

Contract: `reduce(losses, weights, total)` is ``sum(weights * losses) / total``. A weight of 0 takes an entry
out: nothing of it reaches the sum or the gradient, whatever is in it (infinite and NaN values too). A masked
loss is not enough for that, since a gradient of 0 times one that is not finite is NaN: losses take their
inputs through `known`. Masking is done by weights and never by a special target value: `ignore_index` of
torch's cross-entropy does not apply to probability targets, which is how masked steps got into the soft
losses of earlier trainers (as -100 and 101).

`total` is given by a caller that splits one batch over several forward passes or processes: the parts then
add up to the mean over the whole batch. Without it the weights' own sum is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reduce(losses: Tensor, weights: Tensor | None, total: Tensor | float | None) -> Tensor:
    """Weighted mean of `losses` (any shape) as a scalar; 0 where every weight is 0.

    `weights` >= 0 broadcasts to the losses' shape; None weighs every entry 1. `total` > 0 replaces the sum of
    the weights as the divisor.
    """
    if weights is None:
        return losses.sum() / (losses.numel() if total is None else total)
    spread = torch.broadcast_to(weights.to(losses.dtype), losses.shape)
    kept = torch.where(spread > 0, losses, torch.zeros_like(losses))
    divisor = spread.sum().clamp_min(torch.finfo(losses.dtype).tiny) if total is None else total
    return (spread * kept).sum() / divisor


def known(values: Tensor, weights: Tensor | None) -> Tensor:
    """`values` with 0 where the weight is 0, so that a masked entry may hold anything, NaN included."""
    if weights is None:
        return values
    shape = torch.broadcast_shapes(values.shape, weights.shape)
    spread = torch.broadcast_to(weights, shape)
    return torch.where(spread > 0, torch.broadcast_to(values, shape), torch.zeros((), dtype=values.dtype))


def counted(setting: Tensor | float, weights: Tensor | None) -> Tensor | float:
    """`known` of what may be one number for all."""
    return known(setting, weights) if isinstance(setting, Tensor) else setting
