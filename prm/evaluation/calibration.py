"""Calibration: whether a score of 0.8 is right eight times out of ten.

Contract: scores in [0, 1] are put into equal-width bins [0, 1/b), ..., [1 - 1/b, 1]; the expected calibration
error is `ECE = sum_bins n_bin / n * |mean score - mean label|` (Naeini et al. 2015; Guo et al. 2017,
arXiv 1706.04599, equation 3), in [0, 1], 0 perfect. Labels are true and false, or shares in [0, 1], such as
the share of right completions. `reliability` is the table behind it, empty bins left out, with Wilson's
interval of the share of right ones in each bin. The Brier score is the mean of (score - label)^2.

ECE has no interval: its estimate is biased upwards on few items, by an amount that depends on the bins, and
an interval around it would hide that. The table shows where the error is and how sure each bin is. It does
not fit a calibration; that is training's work, on other problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.errors import UsageError
from treesearch.run.summary import wilson_interval

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores in [low, high) (the last bin closed): how many, their mean, and the mean of their labels."""

    low: float
    high: float
    n: int
    score: float
    label: float

    @property
    def gap(self) -> float:
        """Mean score minus mean label: above 0 is overconfident."""
        return self.score - self.label

    def to_json(self) -> dict[str, Any]:
        """The bin with the 95 % interval of its share of right ones."""
        return {
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "score": self.score,
            "label": self.label,
            "label_ci95": list(wilson_interval(self.label * self.n, self.n)),
        }


def reliability(scores: Sequence[float], labels: Sequence[float], *, bins: int = BINS) -> list[Bin]:
    """The bins that hold an item, in ascending order.

    Raises `UsageError` for a score or label outside of [0, 1], lengths that differ, or fewer than one bin.
    """
    if bins < 1:
        raise UsageError(f"bins must be at least 1, got {bins}")
    if len(scores) != len(labels):
        raise UsageError(f"{len(scores)} scores for {len(labels)} labels; there must be one each")
    members: dict[int, list[int]] = {}
    for index, (score, label) in enumerate(zip(scores, labels, strict=True)):
        if not (0 <= score <= 1 and 0 <= label <= 1):
            raise UsageError(
                f"scores and labels must be in [0, 1], got the score {score!r} and the label {label!r}"
            )
        members.setdefault(min(int(score * bins), bins - 1), []).append(index)
    return [
        Bin(
            low=place / bins,
            high=(place + 1) / bins,
            n=len(found),
            score=sum(scores[index] for index in found) / len(found),
            label=sum(float(labels[index]) for index in found) / len(found),
        )
        for place, found in sorted(members.items())
    ]


def calibration_error(scores: Sequence[float], labels: Sequence[float], *, bins: int = BINS) -> float | None:
    """The expected calibration error; None without an item."""
    table = reliability(scores, labels, bins=bins)
    return sum(each.n * abs(each.gap) for each in table) / len(scores) if table else None


def brier(scores: Sequence[float], labels: Sequence[float]) -> float | None:
    """The mean squared difference of score and label; None without an item."""
    if not scores:
        return None
    return sum((score - float(label)) ** 2 for score, label in zip(scores, labels, strict=True)) / len(scores)


def calibration(scores: Sequence[float], labels: Sequence[float], *, bins: int = BINS) -> dict[str, Any]:
    """`ece`, `brier` and the `reliability` table as JSON data; all None if a score is outside of [0, 1]."""
    if any(not 0 <= score <= 1 for score in scores):
        return {"ece": None, "brier": None, "reliability": None}
    return {
        "ece": calibration_error(scores, labels, bins=bins),
        "brier": brier(scores, labels),
        "reliability": [each.to_json() for each in reliability(scores, labels, bins=bins)],
    }
