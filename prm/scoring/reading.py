"""From the numbers that a model gives at a step to the step's score.

Contract: a pure function of the convention's read-out and activation, of how the members of an ensemble are
combined, and of the calibration. Numbers of a step are one logit a member, or `count` logits a member for a
head of classes. The score is that of the members combined, then calibrated. ``mean`` is their mean, ``worst``
the smallest (WCO), ``uncertain`` the mean less `uncertainty` times their variance (UWO; population variance,
as in the paper), cut to 0 from below where the scores are probabilities.

Source: Coste et al., Reward Model Ensembles Help Mitigate Overoptimization (arXiv 2310.02743), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from prm.checkpoint import Calibration, sigmoid
from prm.conventions.base import Activation, Classes, Convention
from tasks.errors import UsageError, unknown_name

Combine = Literal["mean", "worst", "uncertain"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """See the module. `uncertainty` is lambda of UWO, 0.5 in the paper's best-of-n."""

    convention: Convention
    combine: Combine = "mean"
    uncertainty: float = 0.5
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.combine not in get_args(Combine):
            raise unknown_name("way to combine members", self.combine, get_args(Combine))
        if not self.uncertainty >= 0:
            raise UsageError(f"uncertainty must be at least 0, got {self.uncertainty}")

    @property
    def probabilities(self) -> bool:
        """Whether scores are in [0, 1]."""
        return self.convention.probabilities

    def members(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """The score of a step by each member, before calibration."""
        readout = self.convention.readout
        width = readout.count if isinstance(readout, Classes) else 1
        groups = [numbers[at : at + width] for at in range(0, len(numbers), width)]
        return tuple(_activate(self.convention, group) for group in groups)

    def score(self, members: Sequence[float]) -> float:
        """The score of a step from those of its members."""
        mean = sum(members) / len(members)
        combined = mean
        if self.combine == "worst":
            combined = min(members)
        elif self.combine == "uncertain":
            spread = sum((member - mean) ** 2 for member in members) / len(members)
            combined = mean - self.uncertainty * spread
            combined = max(0.0, combined) if self.probabilities else combined
        return combined if self.calibration is None else self.calibration(combined)


def _activate(convention: Convention, numbers: Sequence[float]) -> float:
    """The score of one member from its number or its logits."""
    activation, readout = convention.activation, convention.readout
    if isinstance(readout, Classes):
        top = max(numbers)
        powers = [math.exp(number - top) for number in numbers]
        share = sum(powers[index] for index in readout.positive) / sum(powers)
        if activation is Activation.SOFTMAX:
            return share
        if activation is Activation.MARGIN:
            return 2 * share - 1
        raise UsageError(f"activation {activation.value!r} does not fit a head of classes")
    (number,) = numbers
    match activation:
        case Activation.SIGMOID | Activation.SOFTMAX:  # softmax over two tokens, of their difference
            return sigmoid(number)
        case Activation.TANH:
            return math.tanh(number)
        case Activation.CLAMP:
            return min(1.0, max(0.0, number))
        case Activation.IDENTITY:
            return number
        case Activation.MARGIN:
            return 2 * sigmoid(number) - 1
