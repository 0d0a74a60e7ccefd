"""Likelihood losses: supervised fine-tuning, and negative-aware fine-tuning on graded samples.

Contract: pure functions of log-probs. `weights` >= 0 select and weigh entries, `total` replaces their sum
as the divisor (`prm.training.losses.reduction`): a caller that splits a batch passes the whole batch's.

Sources. SFT on searched traces: STaR (arXiv 2203.14465), rejection fine-tuning (arXiv 2308.01825),
ReST-MCTS* (arXiv 2406.03816, section 3.3). NFT: Chen et al. (arXiv 2505.18116); its claim that at R = 1 the
gradient is that of a group-centred policy gradient is a test here.

Deviations: NFT's public recipe draws new samples each step; here the old policy's log-probs are those
stored when the tree was searched; and a wrong entry's ratio counts as at most e^30, gradient included, so
that a sum over many tokens cannot overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prm.training.losses.reduction import known, reduce

MOST_LOG_RATIO = 30.0


def sft(
    log_probs: Tensor,
    weights: Tensor | None = None,
    *,
    lengths: Tensor | None = None,
    total: Tensor | float | None = None,
) -> Tensor:
    """``- sum_i w_i log pi(y_i) / sum_i w_i``, log-prob sums of traces or edges, any shape.

    With `lengths` (tokens of each) the divisor is ``sum_i w_i n_i``: every token weighs the same, which is
    what cross-entropy over a batch of labels computes. A constant reference has no gradient and is left
    out.
    """
    if lengths is not None and total is None:
        sizes = lengths.to(log_probs.dtype)
        total = (sizes if weights is None else torch.where(weights > 0, weights * sizes, 0.0)).sum()
    return reduce(-log_probs, weights, total)


def nft(
    log_ratios: Tensor,
    correct: Tensor,
    rates: Tensor,
    weights: Tensor | None = None,
    *,
    omega: Tensor | None = None,
    epsilon: float = 1.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """Negative-aware fine-tuning of tokens (as in the paper) or edges, with ``R = pi / pi_old``.

    ``- omega * [ r log R + (1 - r) log max_v( (1 - q R) / (1 - q), epsilon ) ]``

    `log_ratios` are log R, `correct` is r (1 for tokens of right answers, 0 for others), `rates` is q in
    (0, 1), the share of right answers to the problem; all of one shape. `omega` is 1 - q unless given (see
    `nft_omega`). The second term is the likelihood of wrong answers under the negative policy that the
    model implies. ``max_v`` has the gradient of its first argument everywhere, so that a token whose
    negative likelihood was clipped still is pushed down. Problems with q of 0 or 1 teach nothing: give them
    weight 0.
    """
    log_ratios, rates = known(log_ratios, weights), known(rates, weights)
    right = correct > 0.5
    factor = 1 - rates if omega is None else known(omega, weights)
    below_one = torch.where(right | (rates >= 1), 0.5, rates.to(log_ratios.dtype))
    of_wrong = torch.where(right, 0.0, log_ratios)
    of_wrong = of_wrong - (of_wrong - MOST_LOG_RATIO).clamp_min(0).detach()
    negative = (1 - below_one * of_wrong.exp()) / (1 - below_one)
    held = negative.detach().clamp_min(epsilon)
    log_negative = held.log() + (negative - negative.detach()) / held
    return reduce(-factor * torch.where(right, log_ratios, log_negative), weights, total)


def nft_omega(rates: Tensor, *, by_deviation: bool = False) -> Tensor:
    """Weight of a problem by its rate q in (0, 1): ``1 - q``, or ``sqrt((1 - q) / q)`` with `by_deviation`.

    At R = 1 the first gives right answers the advantage 1 - q and wrong ones - q (rewards less their mean
    in the group), the second the same over the rewards' standard deviation ``sqrt(q (1 - q))``, as in GRPO.
    """
    return ((1 - rates) / rates).sqrt() if by_deviation else 1 - rates
