"""Losses of pairs: DPO in three forms, with stored references, and its relatives SPIN, CREAM, UPO and SimPO.

Contract: pure functions. `chosen` and `rejected` are log-ratios ``log pi(y) - log pi_ref(y)``, sums over
the edges where the two sides differ, one a pair, any shape. Siblings give step-level DPO, whole paths the
usual one. Weight, offset and smoothing may be one a pair: a Q margin, search statistics or a confidence go
there. See `prm.training.losses.reduction` for `weights` and `total`.

Sources. Sigmoid: Rafailov et al. (arXiv 2305.18290, equation 7). Hinge: SLiC-HF (arXiv 2305.10425) in the
normalised form of RSO (arXiv 2309.06657, section 3.2). IPO: Azar et al. (arXiv 2310.12036, equation 17).
Offset: ODPO (arXiv 2402.10571). Smoothing: conservative DPO (Mitchell, 2023), by search confidence in
MCTS-DPO (arXiv 2405.00451). Stored references: Agent Q (arXiv 2408.07199). SPIN: arXiv
2401.01335, equation 4.7. CREAM: arXiv 2410.12735, section 4. UPO: arXiv 2409.11212. SimPO: arXiv
2405.14734, equation 6.

Deviations. IPO takes log-prob sums, as its paper does; TRL takes means over tokens. UPO prints the
smoothing ``1 / (P + 1)`` with sampling weights P in (0, 1], which is never below 0.5 and so never favours
the chosen side; here it is ``0.5 B / log 2`` by the uncertainty B, 0 where the estimator is sure and 0.5
(no signal) where it knows nothing.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from prm.training.losses import ratios
from prm.training.losses.reduction import counted, known, reduce
from tasks.errors import DataError, UsageError, unknown_name

Kind = Literal["sigmoid", "hinge", "ipo"]


def dpo(
    chosen: Tensor,
    rejected: Tensor,
    weights: Tensor | None = None,
    *,
    kind: Kind = "sigmoid",
    beta: float = 0.1,
    offset: Tensor | float = 0.0,
    smoothing: Tensor | float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """``(1 - e) f(x) + e f(-x)`` with ``x = beta (chosen - rejected) - offset`` and smoothing e in [0, 0.5].

    - sigmoid: ``f(x) = - log s(x)``; log 2 at x = 0;
    - hinge: ``f(x) = max(0, 1 - x)``;
    - ipo: ``f(x) = (x - 1/2)^2 / beta^2``, which without offset is ``(chosen - rejected - 1 / (2 beta))^2``.
    """
    if kind == "sigmoid":
        return ratios.dpo(
            chosen, rejected, weights, beta=beta, offset=offset, smoothing=smoothing, total=total
        )
    margin = beta * known(chosen - rejected, weights) - counted(offset, weights)
    smoothing = counted(smoothing, weights)
    if kind == "hinge":
        losses = (1 - smoothing) * (1 - margin).clamp_min(0) + smoothing * (1 + margin).clamp_min(0)
    elif kind == "ipo":
        losses = ((1 - smoothing) * (margin - 0.5) ** 2 + smoothing * (margin + 0.5) ** 2) / beta**2
    else:
        raise unknown_name("kind of DPO loss", kind, get_args(Kind))
    return reduce(losses, weights, total)


def off_policy_dpo(
    chosen: Tensor,
    rejected: Tensor,
    stored_chosen: Tensor,
    stored_rejected: Tensor,
    weights: Tensor | None = None,
    *,
    kind: Kind = "sigmoid",
    beta: float = 0.1,
    offset: Tensor | float = 0.0,
    smoothing: Tensor | float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """`dpo` of log-prob sums against those stored when the steps were written; no reference model is needed.

    `DataError` where a pair that counts has no stored log-prob (NaN): it is never recomputed silently.
    """
    stored = torch.stack((stored_chosen, stored_rejected)).detach()
    missing = stored.isnan().any(dim=0)
    if weights is not None:
        missing = missing & (weights > 0)
    if bool(missing.any()):
        raise DataError(
            f"{int(missing.sum())} pairs have no stored log-probs; score the trees with the reference model "
            "(`EdgeScorer`) or leave these pairs out"
        )
    return dpo(
        chosen - stored[0],
        rejected - stored[1],
        weights,
        kind=kind,
        beta=beta,
        offset=offset,
        smoothing=smoothing,
        total=total,
    )


def spin(
    real: Tensor,
    generated: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 0.1,
    total: Tensor | float | None = None,
) -> Tensor:
    """``- log s( beta (real - generated) )``: a demonstration against the previous iterate's own text.

    Log-ratios are against that iterate, which is opponent and reference at once. Where it wrote the
    demonstration itself the gradient is 0.
    """
    return dpo(real, generated, weights, beta=beta, total=total)


def cream(
    chosen: Tensor,
    rejected: Tensor,
    consistency: Tensor | float,
    weights: Tensor | None = None,
    *,
    beta: float = 0.1,
    total: Tensor | float | None = None,
) -> Tensor:
    """``C dpo(chosen, rejected) + (1 - C) dpo(rejected, chosen)`` with the ranking consistency C in [0, 1].

    C is ``(Kendall tau + 1) / 2`` of the rankings by this and by the previous iterate, one for all or one a
    pair (then each with its own problem; the public code may mix them up). C = 1 is DPO; the least loss is
    at the margin ``beta (chosen - rejected) = log(C / (1 - C))``.
    """
    return dpo(chosen, rejected, weights, beta=beta, smoothing=1 - consistency, total=total)


def bald(probabilities: Tensor) -> Tensor:
    """Uncertainty B in [0, log C] nats of T passes with dropout, from class probabilities ``[T, ..., C]``.

    ``B = - sum_c m_c log m_c + 1/T sum_t sum_c p_tc log p_tc`` with the mean m over passes: 0 where all
    agree.
    """
    mean = probabilities.mean(dim=0)
    return (torch.special.entr(mean) - torch.special.entr(probabilities).mean(dim=0)).sum(dim=-1).clamp_min(0)


def upo(
    chosen: Tensor,
    rejected: Tensor,
    chosen_log_probs: Tensor,
    uncertainty: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 0.1,
    nll_weight: float = 1.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """``(1 - a) f(x) + a f(-x) - l log pi(chosen)``, f and x as in `dpo` (sigmoid), l the `nll_weight`.

    `uncertainty` is B of `bald` for a classifier of two classes, in [0, log 2], and ``a = 0.5 B / log 2``
    (see the module for why). The least loss of the first two terms is at ``beta (chosen - rejected) =
    logit(1 - a)``. `chosen_log_probs` are sums, or means if that is what should be weighed. `UsageError`
    for B out of range.
    """
    if bool((uncertainty < 0).any() or (uncertainty > math.log(2) + 1e-6).any()):
        raise UsageError("uncertainty must be in [0, log 2]; it is that of two classes, in nats")
    smoothing = 0.5 * uncertainty / math.log(2)
    pairs = dpo(chosen, rejected, weights, beta=beta, smoothing=smoothing, total=total)
    return pairs + nll_weight * reduce(-known(chosen_log_probs, weights), weights, total)


def simpo(
    chosen: Tensor,
    rejected: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    weights: Tensor | None = None,
    *,
    beta: float = 2.0,
    gamma: float = 1.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """``- log s( beta (log pi(y+) / n+ - log pi(y-) / n-) - gamma )``: log-prob sums, no reference.

    Lengths n >= 1 are in tokens. For sides of one length n it is `dpo` with ``beta / n`` and offset gamma.
    """
    return dpo(
        chosen / chosen_lengths, rejected / rejected_lengths, weights, beta=beta, offset=gamma, total=total
    )
