"""The balance score of exploration and exploitation; a temperature and a threshold are chosen by it.

Of query i, n_i solutions are selected and n'_i of them are right and different from each other; n* is how
many are enough:

    bs_i = min(n'_i / n*, 1) * n'_i / n_i          (0 where n_i is 0)

Its mean over queries is in [0, 1]; it is 1 where every query has at least n* selected solutions, all right
and different. Duplicates lower it. Source: B-STaR (Zeng et al., arXiv 2412.17256, section 3.2 and its code).

Deviation: selected are the right solutions whose value is at least the threshold, which is what the builders
of this toolkit train on; the paper adds the grade to a scaled reward and lets the threshold cut the sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from selftrain.data.searched import Searched


def balance(selected: int, unique_right: int, wanted: int) -> float:
    """bs_i of one query; see the module."""
    if selected == 0:
        return 0.0
    return min(unique_right / wanted, 1.0) * unique_right / selected


def balance_score(searched: Sequence[Searched], *, threshold: float, wanted: int) -> float:
    """The mean balance score of graded trees under a threshold of values; 0 without a tree."""
    scores: list[float] = []
    for one in searched:
        texts: list[str] = []
        for node in one.solutions:
            value = one.values[node]
            if one.correct[node] and (value is None or value >= threshold):
                texts.append("".join(one.texts[each] for each in one.tree.path(node)[1:]))
        scores.append(balance(len(texts), len(set(texts)), wanted))
    return math.fsum(scores) / len(scores) if scores else 0.0


def best(scores: Mapping[float, Mapping[float, float]]) -> tuple[float, float]:
    """Temperature and threshold of the highest of `scores` (by both, in that order); of equals the first."""
    found = [
        (score, temperature, threshold)
        for temperature, row in scores.items()
        for threshold, score in row.items()
    ]
    top = max(score for score, _, _ in found)
    return next((temperature, threshold) for score, temperature, threshold in found if score == top)
