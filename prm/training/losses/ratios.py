"""Losses of summed log-ratios: implicit process rewards by cross-entropy and DPO, step-level DPO.

Contract: pure functions of ``sum log pi(y) - sum log pi_ref(y)`` over the tokens of a response or of one
step. Where policy and reference are the same model every log-ratio is 0 and so is every reward.

Sources. `implicit_ce`: "Free Process Rewards without Process Labels" (arXiv 2412.01981, section 3; beta
0.05); the README of its code prints the formula without the minus sign. `dpo`: Rafailov et al. (arXiv
2305.18290, equation 7); as an outcome loss it gives the implicit reward of the same paper, and on sibling
steps of a search tree the step-level Q-value model of arXiv 2409.09345 (section 3.2; beta 0.1). Smoothing:
conservative DPO (Mitchell, 2023), used with a confidence a pair by MCTS-DPO (arXiv 2405.00451). Offset: ODPO
(arXiv 2402.10571).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from prm.training.losses.reduction import counted, known, reduce
from prm.training.losses.steps import ClassWeights, value_bce


def implicit_reward(log_ratios: Tensor, *, beta: float) -> Tensor:
    """``r = beta * log(pi / pi_ref)``: a response's reward, a prefix's Q, a step's reward."""
    return beta * log_ratios


def implicit_ce(
    log_ratios: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 0.05,
    class_weights: ClassWeights = (1.0, 1.0),
    total: Tensor | float | None = None,
) -> Tensor:
    """``- [ l log s(r) + (1 - l) log(1 - s(r)) ]``: r as in `implicit_reward`, outcomes l in [0, 1]."""
    rewards = implicit_reward(log_ratios, beta=beta)
    return value_bce(rewards, targets, weights, class_weights=class_weights, total=total)


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 0.1,
    offset: Tensor | float = 0.0,
    smoothing: Tensor | float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """``- (1 - e) log s(x) - e log s(-x)``, ``x = beta (chosen - rejected) - offset``, log-ratios of one
    shape.

    `smoothing` e in [0, 0.5] and `offset` may be one a pair. At chosen = rejected and offset 0 it is log 2.
    """
    gap = beta * known(chosen - rejected, weights) - counted(offset, weights)
    smoothing = counted(smoothing, weights)
    losses = -(1 - smoothing) * functional.logsigmoid(gap) - smoothing * functional.logsigmoid(-gap)
    return reduce(losses, weights, total)
