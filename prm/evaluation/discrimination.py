"""How well scores tell right from wrong: AUROC with an interval that knows which items belong together.

Contract: `auroc` is the probability that a random right item scores above a random wrong one, ties counting
one half (Mann and Whitney 1947); 1 is perfect, 0.5 chance, below 0.5 worse than chance. It is None where one
of the classes is missing. `auroc_interval` is a 95 % interval in which items of one group (the steps of a
problem) are not taken for independent evidence.

The interval is Obuchowski's (1997) clustered version of DeLong's (1988) variance, put on the logit scale so
that it stays inside [0, 1]. Where that variance is 0 (perfect separation) it says nothing; then it is
Wilson's interval at the smaller number of groups that have a right, or a wrong, item. Nothing here draws a
random number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import UsageError
from treesearch.comparison.statistics import Z95
from treesearch.run.summary import wilson_interval

RIGHT_ABOVE = 0.5
"""A label above this counts as right where only the side matters: AUROC, accuracy, order. Training too."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Placements:
    """For each right item the share of wrong ones below it, for each wrong one of right ones above it."""

    right: Floats
    wrong: Floats


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Area under the ROC curve; None without an item of each class. `UsageError` if the lengths differ."""
    places = _placements(scores, right)
    return None if places is None else float(places.right.mean())


def auroc_interval(
    scores: Sequence[float], right: Sequence[bool], groups: Sequence[Hashable] | None = None
) -> tuple[float, float] | None:
    """95 % interval of `auroc`; `groups` names the group of each item (default: each its own)."""
    places = _placements(scores, right)
    if places is None:
        return None
    area = float(places.right.mean())
    variance, size = _variance(places, right, range(len(right)) if groups is None else groups)
    if variance <= 1e-12 or not 0 < area < 1:
        return wilson_interval(area * size, size)
    centre, half = math.log(area / (1 - area)), Z95 * math.sqrt(variance) / (area * (1 - area))
    return _logistic(centre - half), _logistic(centre + half)


def discrimination(
    scores: Sequence[float], right: Sequence[bool], groups: Sequence[Hashable] | None = None
) -> dict[str, Any]:
    """`auroc`, `auroc_ci95`, `n` and `n_right` as JSON data."""
    interval = auroc_interval(scores, right, groups)
    return {
        "auroc": auroc(scores, right),
        "auroc_ci95": None if interval is None else list(interval),
        "n": len(right),
        "n_right": sum(right),
    }


def _placements(scores: Sequence[float], right: Sequence[bool]) -> _Placements | None:
    if len(scores) != len(right):
        raise UsageError(f"{len(scores)} scores for {len(right)} labels; there must be one each")
    values, is_right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    good, bad = values[is_right], values[~is_right]
    if not len(good) or not len(bad):
        return None
    return _Placements(right=_share_below(good, bad), wrong=1 - _share_below(bad, good))


def _share_below(values: Floats, others: Floats) -> Floats:
    """For each value the share of `others` below it, an equal one counting half."""
    ordered = np.sort(others)
    low, high = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (low + high) / (2 * len(others))


def _variance(places: _Placements, right: Sequence[bool], groups: Sequence[Hashable]) -> tuple[float, int]:
    """Obuchowski's variance of the area, and the smaller number of groups that have an item of a class."""
    if len(groups) != len(right):
        raise UsageError(f"{len(groups)} groups for {len(right)} labels; there must be one each")
    area = float(places.right.mean())
    index = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    number = np.array([index[group] for group in groups])
    is_right, n = np.asarray(right, dtype=bool), len(index)
    sums, counts = list[Floats](), list[Floats]()
    for mask, placed in ((is_right, places.right), (~is_right, places.wrong)):
        sums.append(np.bincount(number[mask], weights=placed, minlength=n).astype(np.float64))
        counts.append(np.bincount(number[mask], minlength=n).astype(np.float64))
    off = [total - count * area for total, count in zip(sums, counts, strict=True)]
    with_class = [int((count > 0).sum()) for count in counts]
    sizes = [float(count.sum()) for count in counts]
    variance = 0.0
    for each, have, size in zip(off, with_class, sizes, strict=True):
        if have > 1:
            variance += have / ((have - 1) * size) * float((each**2).sum()) / size
    if n > 1:
        variance += 2 * n / (n - 1) * float((off[0] * off[1]).sum()) / (sizes[0] * sizes[1])
    return max(variance, 0.0), min(with_class)


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
