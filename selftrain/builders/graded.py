"""Right and wrong solutions with their grades, for losses that learn from both.

Contract: `Graded` keeps a problem's different solutions with `right` set, where there are right and wrong
ones: the rate of right ones must be inside (0, 1), else there is nothing to learn (NFT, arXiv 2505.18116).
`weight` is how often a solution was found, unless `repeats` is false. The rate of a problem is then the
weighted share of right ones among its traces. With `max_traces`, right and wrong ones are taken in turn, the
best first, so that the rate is drawn towards one half.

`Filtered` is policy filtration (PF-PPO, arXiv 2409.06957) for reward models that can be trusted at the ends
of a ranking only: of a problem's solutions, ranked by value, it keeps the `best`, the best and one other at
random (`best-random`), or the best and the worst (`best-worst`). `reliability` is the paper's way to choose:
R^2 between value and correctness of what a filter keeps.

Deviations: PF-PPO trains by PPO; here the kept solutions are graded traces. R^2 is that of means over equal
parts of the ranking (`groups`), the squared correlation; nothing is random but the other of `best-random`,
which is drawn by the problem's name under `seed`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import ClassVar, Literal

import numpy as np

from selftrain.builders.base import Builder, Tally, require
from selftrain.builders.merge import by_problem
from selftrain.builders.pairing import ROUNDING
from selftrain.builders.solutions import Solution, distinct, graded, sides, solutions, valued
from selftrain.builders.values import Rule
from selftrain.data.record import Trace, TrainingTree
from selftrain.data.searched import Searched
from tasks.errors import UsageError
from treesearch.seeds import derive

Filter = Literal["best", "best-random", "best-worst"]


@dataclass(frozen=True, kw_only=True)
class Graded(Builder):
    """Right and wrong solutions with their grades (NFT, arXiv 2505.18116)."""

    name: ClassVar[str] = "nft"

    max_traces: int | None = None
    value: Rule = "worth"
    repeats: bool = True

    def __post_init__(self) -> None:
        cap = self.max_traces
        require("max_traces", cap, cap is None or cap >= 2, "at least 2 (a right and a wrong one), or none")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not graded(searched, tally):
            return None
        found = [one for one in solutions(searched, self.value) if one.right is not None]
        both = sides(found, tally)
        if both is None:
            return None
        right, wrong = (distinct(side, tally) for side in both)
        taken = list(_in_turn(right, wrong))[: self.max_traces]
        tally.drop("cap", len(right) + len(wrong) - len(taken))
        return self.tree(searched, traces=[self._trace(one) for one in taken])

    def _trace(self, one: Solution) -> Trace:
        weight = float(one.times) if self.repeats else 1.0
        return Trace(node=one.node, right=one.right, weight=weight, kind=self.name)


def _in_turn(right: Sequence[Solution], wrong: Sequence[Solution]) -> Iterator[Solution]:
    return (one for one in chain.from_iterable(zip_longest(right, wrong)) if one is not None)


@dataclass(frozen=True, kw_only=True)
class Filtered(Builder):
    """Solutions at the ends of a ranking, where a reward model can be trusted (PF-PPO, arXiv 2409.06957)."""

    name: ClassVar[str] = "pf-ppo"

    keep: Filter = "best-random"
    value: Rule = "value"
    seed: int = 0

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not searched.solutions:
            tally.drop("no_solution")
            return None
        found = distinct(valued(solutions(searched, self.value), tally), tally)
        taken = self.chosen(searched.problem.id, found)
        tally.drop("rejected", len(found) - len(taken))
        return self.tree(
            searched, traces=[Trace(node=one.node, right=one.right, kind=self.name) for one in taken]
        )

    def chosen(self, problem: str, found: Sequence[Solution]) -> list[Solution]:
        """What the filter keeps of solutions, which are ranked best first."""
        if len(found) < 2 or self.keep == "best":
            return list(found[:1])
        if self.keep == "best-worst":
            return [found[0], found[-1]]
        other = random.Random(derive(self.seed, self.name, problem)).randrange(1, len(found))
        return [found[0], found[other]]


def reliability(searched: Sequence[Searched], builder: Filtered, *, groups: int = 10) -> float:
    """R^2 in [0, 1] between value and correctness of what `builder` keeps, over `groups` equal parts.

    The graded solutions kept of all problems are ranked by value and cut into equal parts; the squared
    correlation of the parts' mean values and shares of right ones is given, 0 where either is constant.
    `UsageError` for fewer than two kept solutions.
    """
    kept: list[Solution] = []
    for one in by_problem(searched):
        found = distinct(valued(solutions(one, builder.value), Tally()), Tally())
        kept += [each for each in builder.chosen(one.problem.id, found) if each.right is not None]
    if len(kept) < 2:
        raise UsageError("reliability needs at least two graded solutions with a value")
    kept.sort(key=lambda each: (each.value or 0.0, each.text))
    parts = np.array_split(np.arange(len(kept)), min(groups, len(kept)))
    values = np.array([math.fsum(kept[index].value or 0.0 for index in part) / len(part) for part in parts])
    shares = np.array([np.mean([bool(kept[index].right) for index in part]) for part in parts])
    if np.ptp(values) <= ROUNDING * np.abs(values).max() or np.ptp(shares) == 0:
        return 0.0
    return float(np.corrcoef(values, shares)[0, 1] ** 2)
