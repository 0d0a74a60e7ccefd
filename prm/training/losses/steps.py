"""Losses of single steps: classification over two outputs, value by BCE and by MSE.

Contract: pure functions. Targets are probabilities v in [0, 1] that a step is right (or that the solution can
still be finished well): 0 and 1 are hard labels, everything between is a soft one and is regressed, so that
the loss is least where the predicted probability equals v. A step is masked by weight 0 (`reduction`). Any
shape of targets; logits may have a last dimension of ensemble members, over which targets then broadcast.

Sources. Classification at the last token of a step: Math-Shepherd (arXiv 2312.08935, equation 2, and the soft
estimation of its section 3.3), Qwen2.5-Math-PRM (arXiv 2501.07301, section 2), MedS3 (arXiv 2501.12051) for
soft two-class targets. The two outputs may be rows of the vocabulary, Math-Shepherd's "+" and "-". Value
regression by squared error: ReST-MCTS* (arXiv 2406.03816, section 3.2). Label smoothing: Szegedy et al.
(arXiv 1512.00567, section 7).

Deviations: ReST-MCTS* regresses a raw output and clamps it at inference; the trainer regresses the logistic
of the output, so that every scalar head is read in the same way and no gradient dies at the clamp.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from prm.training.losses.reduction import known, reduce

ClassWeights = tuple[float, float]
"""Weight of the wrong class, and of the right one."""


def value_bce(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    class_weights: ClassWeights = (1.0, 1.0),
    smoothing: float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """Binary cross-entropy of one logit a step with soft labels.

    ``- [ c1 q log s(z) + c0 (1 - q) log(1 - s(z)) ]`` with ``q = (1 - e) v + e / 2``, the logistic s, class
    weights (c0, c1) and smoothing e in [0, 1). With c0 = c1 = 1 and e = 0 its gradient in z is ``s(z) - v``.
    """
    wrong, right = class_weights
    smooth = (1 - smoothing) * known(targets.to(logits.dtype), weights) + smoothing / 2
    logits = known(logits, weights)
    losses = -(
        right * smooth * functional.logsigmoid(logits) + wrong * (1 - smooth) * functional.logsigmoid(-logits)
    )
    return reduce(losses, weights, total)


def value_mse(
    values: Tensor, targets: Tensor, weights: Tensor | None = None, *, total: Tensor | float | None = None
) -> Tensor:
    """Squared error ``(u - v)^2`` of values u in [0, 1]; of hard labels it is the Brier score."""
    return reduce(known(values - targets.to(values.dtype), weights) ** 2, weights, total)


def step_classification(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    class_weights: ClassWeights = (1.0, 1.0),
    smoothing: float = 0.0,
    total: Tensor | float | None = None,
) -> Tensor:
    """Cross-entropy of two outputs a step, ``logits[..., 0]`` for wrong and ``logits[..., 1]`` for right.

    ``- [ c1 q log p1 + c0 (1 - q) log p0 ]``, ``p = softmax(logits)``, q as in `value_bce`. As a softmax over
    two is the logistic of the difference, it equals ``value_bce(logits[..., 1] - logits[..., 0])``.
    """
    wrong, right = class_weights
    smooth = (1 - smoothing) * known(targets.to(logits.dtype), weights) + smoothing / 2
    log_p = torch.log_softmax(known(logits, None if weights is None else weights[..., None]), dim=-1)
    losses = -(right * smooth * log_p[..., 1] + wrong * (1 - smooth) * log_p[..., 0])
    return reduce(losses, weights, total)
