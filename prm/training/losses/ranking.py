"""Losses that order scores: pairs, siblings, a trajectory's steps.

Contract: pure functions of raw scores (logits). Adding one constant to all scores compared changes neither
the pairwise losses nor their gradients; the ranking within a trajectory has a fixed origin, `Q_0 = 0`.

Sources. Pairwise logistic: Bradley-Terry as in Stiennon et al. (arXiv 2009.01325); with weights of 1 /
(positives x negatives) of one prefix, which the trainer gives, the process preference model of rStar-Math
(arXiv 2501.04519, section 3.3, equation 4).
Ranking within a trajectory: PQM, the process Q-value model (arXiv 2410.11287, section 3.3, its comparative
loss with margin; zeta = 4). Centring of a reward: Eisenstein et al. (arXiv 2312.09244).

Deviations: PQM's public code adds 1e-5 inside the logarithm; here sums of exponentials are taken by logsumexp
and need no such term. A trajectory with neither a right nor a wrong step compared has weight 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from prm.training.losses.reduction import reduce


def pairwise_logistic(
    chosen: Tensor,
    rejected: Tensor,
    weights: Tensor | None = None,
    *,
    margin: Tensor | float = 0.0,
    centring: float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """``- log s(r+ - r- - m) + g (r+ + r-)^2`` of pairs: Bradley-Terry with margin m and centring g, both 0.

    `chosen` and `rejected` have one shape; at equal scores and m = 0 a pair's loss is log 2.
    """
    losses = -functional.logsigmoid(chosen - rejected - margin) + centring * (chosen + rejected) ** 2
    return reduce(losses, weights, total)


def trajectory_ranking(
    scores: Tensor,
    right: Tensor,
    wrong: Tensor,
    weights: Tensor | None = None,
    *,
    zeta: float = 4.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """PQM's ranking of the Q values of each trajectory, scores ``[..., T]``, boolean masks of the same shape.

    The order wanted is: every wrong step below `Q_0 = 0` by `zeta`, and right steps rising. With right steps
    c_1..c_C, ``c_0`` for the prompt, and wrong steps W::

        - 1/n * sum_t log [ exp(Q_ct) / ( sum_{q <= t} exp(Q_cq) + sum_{w in W} exp(Q_w + zeta) ) ]

    over t = 0..C where there are wrong steps (n = C + 1), else over t = 1..C (n = C). `weights` are one a
    trajectory, ``[...]``. Steps in neither mask are left out.
    """
    lowest = torch.finfo(scores.dtype).min
    rights = torch.where(right, scores, lowest)
    wrongs = torch.where(wrong, scores + zeta, lowest)
    start = torch.zeros_like(scores[..., :1])
    rising = torch.logcumsumexp(torch.cat((start, rights), dim=-1), dim=-1)
    below = torch.logsumexp(wrongs, dim=-1, keepdim=True)
    has_wrong = wrong.any(dim=-1, keepdim=True)
    whole = torch.where(has_wrong, torch.logaddexp(rising, below), rising)
    counted = torch.cat((has_wrong, right), dim=-1)
    current = torch.cat((start, torch.where(right, scores, torch.zeros_like(scores))), dim=-1)
    terms = torch.where(counted, whole - current, torch.zeros_like(whole))
    count = counted.sum(dim=-1)
    losses = terms.sum(dim=-1) / count.clamp_min(1)
    ranked = (count > 0).to(losses.dtype)
    return reduce(losses, ranked if weights is None else ranked * weights, total)
