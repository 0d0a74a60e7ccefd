"""Losses of outcome reward models: a score at the end of a whole solution.

Contract: pure functions, named here because the field names them so; each is a loss of the other modules read
at the last step only. Sources: verifiers of Cobbe et al. (arXiv 2110.14168, section 4.2) for cross-entropy,
Stiennon et al. (arXiv 2009.01325) for Bradley-Terry.
"""

from __future__ import annotations

from torch import Tensor

from prm.training.losses.ranking import pairwise_logistic
from prm.training.losses.steps import ClassWeights, value_bce


def outcome_bce(
    logits: Tensor,
    outcomes: Tensor,
    weights: Tensor | None = None,
    *,
    class_weights: ClassWeights = (1.0, 1.0),
    total: Tensor | float | None = None,
) -> Tensor:
    """`value_bce` of the logit at the last token with the outcome (1 right, 0 wrong, or a share between)."""
    return value_bce(logits, outcomes, weights, class_weights=class_weights, total=total)


def bradley_terry(
    chosen: Tensor,
    rejected: Tensor,
    weights: Tensor | None = None,
    *,
    centring: float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """``- log s(r+ - r-)`` of the last scores of two solutions of one problem; see `pairwise_logistic`."""
    return pairwise_logistic(chosen, rejected, weights, centring=centring, total=total)
