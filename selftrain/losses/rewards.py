"""Rewards for training with process scores, and from a reference answer's probability.

Contract: pure functions without gradients of their own. Steps are along the last dimension, in order.

Sources. Clip and Delta: "On Designing Effective RL Reward at Training Time" (arXiv 2410.15115).
The reference-probability reward: RLPR (arXiv 2506.18254; its code).

Deviations: none. RLPR's filter by the running standard deviation of rewards belongs to a loop and is not
here.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clip(rewards: Tensor, *, eta: float) -> Tensor:
    """``min(r_k - eta, 0)``: a step can lose, never earn, so that more steps never pay."""
    return (rewards - eta).clamp_max(0)


def delta(rewards: Tensor) -> Tensor:
    """``r'_k = r_k - r_{k+1}`` for k < K - 1, ``r'_{K-1} = r_{K-1}``, ``r'_K = 0``, for rewards ``[..., K]``.

    From any step but the last, what is still to come sums to that step's own reward, ``sum_{j >= k} r'_j =
    r_k``, however many steps follow. The last step is judged by the answer alone.
    """
    shaped = torch.zeros_like(rewards)
    if rewards.shape[-1] > 1:
        shaped[..., -2] = rewards[..., -2]
        shaped[..., :-2] = rewards[..., :-2] - rewards[..., 1:-1]
    return shaped


def clip_and_delta(rewards: Tensor, *, eta: float) -> Tensor:
    """`delta` of `clip`."""
    return delta(clip(rewards, eta=eta))


def reference_probability(token_log_probs: Tensor, owners: Tensor, count: int) -> Tensor:
    """Mean probability ``1/n sum_t p_t`` in [0, 1] of the tokens of each reference answer, ``[count]``.

    `token_log_probs` [M] of the answers' tokens behind some reasoning, `owners` [M] the answer of each, in
    0..count - 1 (`EdgeLogProbs.tokens` and `.owners`); NaN for an answer without tokens. The mean, not the
    product: one token that is phrased differently does not ruin a good answer.
    """
    start = token_log_probs.new_zeros(count)
    sums = start.index_add(0, owners, token_log_probs.detach().exp())
    sizes = start.index_add(0, owners, torch.ones_like(token_log_probs))
    return sums / sizes


def debiased(rewards: Tensor, without_reasoning: Tensor) -> Tensor:
    """``clip(r - r', 0, 1)``: what the reasoning added to the probability r' of the bare reference answer."""
    return (rewards - without_reasoning).clamp(0, 1)
