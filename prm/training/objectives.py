"""From what the model returned for a batch to its loss.

Contract: `member_totals` is the weight of a whole optimizer batch for each member of the ensemble, known from
the data before any forward pass; `batch_loss` is the part of the mean loss that one pass contributes. The
parts of all passes and processes add up to the mean over members of each member's weighted mean loss, however
the batch was cut.

An ensemble member weighs a problem by a Poisson(1) draw of its own (the online bootstrap of Oza and Russell,
2001), derived from the seed, the member and the problem: nothing has to be stored, and epochs agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from prm.evaluation.discrimination import RIGHT_ABOVE
from prm.training import losses
from prm.training.batches import Batch
from prm.training.config import TrainConfig
from prm.training.heads import HEADS
from prm.training.layout import Example
from treesearch.seeds import derive

_BETA = {"implicit-ce": 0.05, "implicit-dpo": 0.05, "step-dpo": 0.1}


def n_members(config: TrainConfig) -> int:
    """Members of the ensemble: heads times adapters."""
    return config.members * config.adapters


def member_weights(problems: Sequence[str], config: TrainConfig) -> Tensor:
    """Weights ``[len(problems), members]``: Poisson(1) draws, or ones without an ensemble or bootstrap."""
    count = n_members(config)
    if count == 1 or not config.bootstrap:
        return torch.ones(len(problems), count)
    rows = [[_poisson(derive(config.seed, "bootstrap", k, name)) for k in range(count)] for name in problems]
    return torch.tensor(rows, dtype=torch.float32)


def _poisson(seed: int) -> float:
    """A Poisson(1) draw by inversion of the uniform number that `seed` is."""
    uniform, term, total, k = seed / 2**63, math.exp(-1), 0.0, 0
    while uniform >= (total := total + term) and term > 1e-18:
        k += 1
        term /= k
    return float(k)


def unit_weight(example: Example, config: TrainConfig) -> float:
    """The weight of one example in the divisor of the loss."""
    if example.pairs:
        return sum(weight for _, _, weight in example.pairs)
    return 1.0 if config.head == "ranking" else sum(read.weight for read in example.reads)


def member_totals(examples: Sequence[Example], members: Tensor, config: TrainConfig) -> Tensor:
    """Divisors ``[members]``: sums of the examples' weights times their members', `members` [E, members]."""
    units = torch.tensor([unit_weight(example, config) for example in examples])
    return (units[:, None] * members).sum(0)


def batch_loss(outputs: Tensor, batch: Batch, members: Tensor, totals: Tensor, config: TrainConfig) -> Tensor:
    """Loss of one pass, a scalar that sums over passes to the batch's mean.

    `outputs` [R, K] (two-class heads [R, K, 2]) are logits, or log-ratios to the reference; `members` [E, K]
    and `totals` [K] are those of the K members that the outputs belong to. A member whose total is 0 adds
    nothing.
    """
    scale = torch.where(
        totals > 0, 1 / (totals.clamp_min(1e-12) * n_members(config)), torch.zeros_like(totals)
    )
    of_reads = members[batch.example] * scale
    if HEADS[config.head].data == "pairs":
        weights = batch.pair_weights[:, None] * of_reads[batch.pairs[:, 0]]
        return _pair_loss(outputs[batch.pairs[:, 0]], outputs[batch.pairs[:, 1]], weights, config)
    if config.head == "ranking":
        return _ranking_loss(outputs, batch, of_reads, config)
    return _step_loss(outputs, batch.targets[:, None], batch.weights[:, None] * of_reads, config)


def _step_loss(outputs: Tensor, targets: Tensor, weights: Tensor, config: TrainConfig) -> Tensor:
    classes = (config.wrong_weight, config.right_weight)
    match config.head:
        case "value-bce":
            return losses.value_bce(
                outputs, targets, weights, class_weights=classes, smoothing=config.smoothing, total=1.0
            )
        case "value-mse":
            return losses.value_mse(outputs.sigmoid(), targets, weights, total=1.0)
        case "outcome-bce":
            return losses.outcome_bce(outputs, targets, weights, class_weights=classes, total=1.0)
        case "implicit-ce":
            return losses.implicit_ce(
                outputs, targets, weights, beta=beta_of(config), class_weights=classes, total=1.0
            )
        case _:
            return losses.step_classification(
                outputs, targets, weights, class_weights=classes, smoothing=config.smoothing, total=1.0
            )


def _pair_loss(better: Tensor, worse: Tensor, weights: Tensor, config: TrainConfig) -> Tensor:
    match config.head:
        case "pairwise":
            return losses.pairwise_logistic(better, worse, weights, margin=config.margin, total=1.0)
        case "outcome-bt":
            return losses.bradley_terry(better, worse, weights, centring=config.centring, total=1.0)
        case _:
            return losses.dpo(
                better, worse, weights, beta=beta_of(config), smoothing=config.smoothing, total=1.0
            )


def _ranking_loss(outputs: Tensor, batch: Batch, of_reads: Tensor, config: TrainConfig) -> Tensor:
    """Reads of one path side by side, ``[K, paths, most reads]``, and then PQM's loss a path."""
    _, group, counts = torch.unique(batch.path, return_inverse=True, return_counts=True)
    first = torch.cumsum(counts, 0) - counts
    place = torch.arange(len(group), device=group.device) - first[group]
    shape = (outputs.shape[1], len(counts), int(counts.max()))
    scores = outputs.new_zeros(shape)
    scores[:, group, place] = outputs.T
    filled = torch.zeros(shape, dtype=torch.bool, device=outputs.device)
    filled[:, group, place] = True
    right = torch.zeros_like(filled)
    right[:, group, place] = batch.targets > RIGHT_ABOVE
    weights = of_reads[first].T
    return losses.trajectory_ranking(scores, right, filled & ~right, weights, zeta=config.zeta, total=1.0)


def beta_of(config: TrainConfig) -> float:
    """The scale of log-ratios: the config's, or the head's published one."""
    return _BETA[config.head] if config.beta is None else config.beta
