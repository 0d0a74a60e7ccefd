"""How well scores tell right solutions from wrong ones and choose among those of a problem, with intervals.

Intervals are from a bootstrap of problems: `DRAWS` draws of as many problems, all their solutions with them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prm.evaluation import auroc

Floats = NDArray[np.float64]
DRAWS = 2000


class Solution(Protocol):
    """A solution of a problem."""

    @property
    def problem(self) -> str:
        """The problem's id."""
        ...

    @property
    def right(self) -> bool:
        """Whether its answer is right."""
        ...


def chances(found: Sequence[float], test: Sequence[Solution]) -> Floats:
    """For each problem the chance that the best-scored of its solutions is right, ties drawn."""
    problems: dict[str, list[tuple[float, bool]]] = {}
    for score, one in zip(found, test, strict=True):
        problems.setdefault(one.problem, []).append((score, one.right))
    tops = [
        [right for score, right in each if score == max(score for score, _ in each)]
        for each in problems.values()
    ]
    return np.array([sum(top) / len(top) for top in tops])


def area(found: Sequence[float], test: Sequence[Solution]) -> float:
    """AUROC."""
    value = auroc(found, [one.right for one in test])
    assert value is not None
    return value


class Resampled:
    """Differences between two lists of scores of `test`; 95 % intervals from a bootstrap of its problems."""

    def __init__(self, test: Sequence[Solution]) -> None:
        self._test = test
        names = list(dict.fromkeys(one.problem for one in test))
        place = {name: index for index, name in enumerate(names)}
        draw = random.Random(0)
        self._drawn = np.array(
            [
                np.bincount(draw.choices(range(len(names)), k=len(names)), minlength=len(names))
                for _ in range(DRAWS)
            ],
            float,
        )
        """How often each problem was drawn [draws, problems]."""
        self._weights = self._drawn[:, [place[one.problem] for one in test]]
        """The same for its solutions [draws, solutions]."""
        self._right = np.array([one.right for one in test])

    def best_of(self, first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
        """Of the mean chance that the best-scored of a problem's solutions is right."""
        differences = chances(first, self._test) - chances(second, self._test)
        return _interval(float(differences.mean()), self._drawn @ differences / len(differences))

    def area(self, first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
        """Of AUROC."""
        difference = area(first, self._test) - area(second, self._test)
        return _interval(difference, self._areas(first) - self._areas(second))

    def _areas(self, found: Sequence[float]) -> Floats:
        """AUROC of each draw: pairs of a right and a wrong solution count as often as both were drawn."""
        values = np.asarray(found)
        right, wrong = values[self._right, None], values[~self._right]
        above = (right > wrong) + 0.5 * (right == wrong)
        of_right, of_wrong = self._weights[:, self._right], self._weights[:, ~self._right]
        won = ((of_right @ above) * of_wrong).sum(axis=1)
        return won / of_right.sum(axis=1) / of_wrong.sum(axis=1)


def _interval(difference: float, drawn: Floats) -> dict[str, Any]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"difference": difference, "ci95": [float(low), float(high)]}
