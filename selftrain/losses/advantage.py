"""Direct advantage regression: the log-ratio of each step is fitted to its advantage among its siblings.

Contract: pure functions. Source: Direct Advantage Policy Optimization (arXiv 2412.18279, section 3; not the
later "DAPO" of arXiv 2503.14476): a critic's values of the M children of a state give the advantages, all
children of a state are trained on together, beta 0.01 to 0.02.

Deviations: none in the loss. The paper leaves out states whose advantages span less than 0.1 and repeated
children; `spread` says which they are, and leaving out is the caller's, by weight 0.
"""

from __future__ import annotations

from torch import Tensor

from prm.training.losses.reduction import known, reduce


def direct_advantage(
    log_ratios: Tensor,
    advantages: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 0.01,
    total: Tensor | float | None = None,
) -> Tensor:
    """``1/2 ( A / beta - log(pi / pi_ref) )^2`` of steps, log-ratios summed over a step's tokens.

    Where policy and reference are equal, a step of positive advantage is pushed up and one of negative
    down, by ``A / beta``. The least loss is at ``pi = pi_ref exp(A / beta)``, which is no distribution
    unless the normaliser happens to be 1.
    """
    return reduce(0.5 * known(advantages / beta - log_ratios, weights) ** 2, weights, total)


def centred(values: Tensor, states: Tensor, count: int) -> Tensor:
    """Advantages ``A_i = V_i - mean of V over the state's steps`` ``[E]``, which sum to 0 in each state.

    `values` [E] are those of the steps' ends, `states` [E] numbers in 0..count - 1.
    """
    sums = values.new_zeros(count).index_add(0, states, values)
    sizes = values.new_zeros(count).index_add(0, states, values.new_ones(len(values)))
    return values - (sums / sizes.clamp_min(1))[states]


def spread(advantages: Tensor, states: Tensor, count: int) -> Tensor:
    """``max A - min A`` of each state ``[count]``; 0 for a state without steps."""
    start = advantages.new_zeros(count)
    high = start.scatter_reduce(0, states, advantages, "amax", include_self=False)
    low = start.scatter_reduce(0, states, advantages, "amin", include_self=False)
    return high - low
