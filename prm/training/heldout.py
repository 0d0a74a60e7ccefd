"""How good a model is on problems that it was not trained on: loss, AUROC, accuracy and calibration by depth.

Contract: `evaluate` computes the loss of the head as in training (every member with weight 1) and a score a
read: the mean over members of the probability of "right", for log-ratios the logistic of ``beta`` times it.
For step rows: AUROC and accuracy of the scores against labels above one half, expected calibration error and
Brier score against the labels themselves, over all steps and by depth (the number of the step, from 1; 4 and
more together). For pairs: the share in which the better side scores higher, ties counting one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prm.evaluation.calibration import brier, calibration_error
from prm.evaluation.discrimination import RIGHT_ABOVE, auroc
from prm.training.batches import Batch, passes, to_device
from prm.training.config import TrainConfig
from prm.training.heads import HEADS
from prm.training.layout import Example
from prm.training.model import TrainedModel
from prm.training.objectives import batch_loss, beta_of, member_totals, n_members
from prm.training.processes import Processes

_DEEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A read's score in [0, 1] with its label (None for pairs) and depth, and the problem it is of."""

    problem: str
    depth: int
    score: float
    label: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What `evaluate` found."""

    loss: float
    scored: tuple[Scored, ...]
    margins: tuple[float, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON; see the module."""
        found: dict[str, Any] = {"loss": self.loss}
        if self.margins:
            ordered = sum((margin > 0) + 0.5 * (margin == 0) for margin in self.margins)
            return found | {"n_pairs": len(self.margins), "accuracy": ordered / len(self.margins)}
        labelled = [(one.depth, one.score, one.label) for one in self.scored if one.label is not None]
        depths = sorted({min(depth, _DEEP) for depth, _, _ in labelled})
        by_depth = {
            f"{depth}+" if depth == _DEEP else str(depth): step_metrics(
                [one[1:] for one in labelled if min(one[0], _DEEP) == depth]
            )
            for depth in depths
        }
        return found | step_metrics([one[1:] for one in labelled]) | {"by_depth": by_depth}


def step_metrics(scored: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """AUROC, accuracy, calibration error and Brier score of (score, label) pairs, and their number."""
    scores = [score for score, _ in scored]
    labels = [label for _, label in scored]
    right = [label > RIGHT_ABOVE for label in labels]
    agree = sum((score > RIGHT_ABOVE) == is_right for score, is_right in zip(scores, right, strict=True))
    return {
        "n": len(scored),
        "auroc": auroc(scores, right),
        "accuracy": agree / len(scored) if scored else None,
        "ece": calibration_error(scores, labels),
        "brier": brier(scores, labels),
    }


def evaluate(model: TrainedModel, examples: Sequence[Example], processes: Processes) -> HeldOut:
    """Run the model over `examples`, without gradient and dropout; every process gets the whole result."""
    config = model.config
    members = torch.ones(len(examples), n_members(config))
    totals = member_totals(examples, members, config)
    found: list[tuple[int, float, list[Scored], list[float]]] = []
    model.train_mode(False)
    with torch.no_grad():
        numbered = list(enumerate(passes(examples, config)))
        for number, batch in processes.mine(numbered):
            on_device = to_device(batch, model.device)
            outputs = member_outputs(model, on_device)
            loss = batch_loss(outputs, on_device, members.to(model.device), totals.to(model.device), config)
            score = probabilities(outputs, config).mean(1)
            scored, margins = _scored(score.tolist(), outputs, batch, examples, config)
            found.append((number, float(loss), scored, margins))
    found = sorted(processes.gather(found), key=lambda one: one[0])
    return HeldOut(
        loss=sum(loss for _, loss, _, _ in found),
        scored=tuple(one for _, _, scored, _ in found for one in scored),
        margins=tuple(one for _, _, _, margins in found for one in margins),
    )


def member_outputs(model: TrainedModel, batch: Batch) -> Tensor:
    """Outputs of all adapters side by side, ``[R, members]`` (two classes: ``[R, members, 2]``)."""
    outputs = torch.cat([model.outputs(batch, index) for index in range(model.config.adapters)], dim=1)
    return outputs - batch.references[:, None] if HEADS[model.config.head].reads == "ratio" else outputs


def probabilities(outputs: Tensor, config: TrainConfig) -> Tensor:
    """Probabilities of "right" ``[R, members]`` of logits or log-ratios, as a scorer reads them."""
    if HEADS[config.head].outputs == 2:
        return torch.sigmoid(outputs[..., 1] - outputs[..., 0])
    return torch.sigmoid(beta_of(config) * outputs if HEADS[config.head].reads == "ratio" else outputs)


def _scored(
    scores: list[float], outputs: Tensor, batch: Batch, examples: Sequence[Example], config: TrainConfig
) -> tuple[list[Scored], list[float]]:
    if HEADS[config.head].data == "pairs":
        gaps = (outputs[batch.pairs[:, 0]] - outputs[batch.pairs[:, 1]]).mean(1)
        return [], [float(gap) for gap in gaps.tolist()]
    reads = [(examples[index], read) for index in batch.examples for read in examples[index].reads]
    return [
        Scored(problem=example.problem, depth=read.stop, score=score, label=read.target)
        for (example, read), score in zip(reads, scores, strict=True)
    ], []
