"""Pairs of sibling steps, from values that the search or its outcomes gave them.

`TreePLV`: every two children of a state whose values differ by at least `alpha`, the better one chosen.
Source: Tree-PLV (He et al., EMNLP 2024, section 3.2), shares of right outcomes as values, alpha 0.375;
smaller gaps of 8 completions are noise. An alpha above the range of values gives no pair.

`StepQ`: along the path to the best solution, at each depth the step on it against the sibling of lowest
value; ties are skipped. Source: step-level Q-value models (Zhai et al., arXiv 2409.09345, section 3), with
backed-up values. The best solution is the right one of highest value, or with `best` = value whichever has
the highest value, right or not (no gold is needed).

Contract: both need `min_count` visits (of `q`) or outcomes (of `outcome`) behind a value. Children without a
value take part in nothing.

Deviations: Tree-PLV also compares whole paths that part at a step; here only the steps are compared. A step
on the best path whose value is below that of all its siblings is paired with none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

from selftrain.builders.base import Tally, require
from selftrain.builders.pairing import ROUNDING, Candidate, PairBuilder, valued_children
from selftrain.builders.solutions import Solution, graded, solutions
from selftrain.builders.values import Rule
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched


@dataclass(frozen=True, kw_only=True)
class TreePLV(PairBuilder):
    """All pairs of siblings whose values differ by at least `alpha` (Tree-PLV, EMNLP 2024)."""

    name: ClassVar[str] = "tree-plv"

    value: Rule = "outcome"
    alpha: float = 0.375
    min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("alpha", self.alpha, self.alpha > 0, "above 0")
        require("min_count", self.min_count, self.min_count >= 1, "at least 1")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        found = list(self._candidates(searched, tally))
        return self.tree(searched, pairs=self.pairs(searched, found, tally))

    def _candidates(self, searched: Searched, tally: Tally) -> Iterator[Candidate]:
        for state, children in enumerate(searched.tree.children()):
            valued = valued_children(searched, children, self.value, self.min_count, tally)
            for (better, high), (worse, low) in combinations(valued, 2):
                if searched.texts[better] == searched.texts[worse]:
                    tally.drop("duplicate")
                elif high == low:
                    tally.drop("tie")
                elif high - low < self.alpha - ROUNDING:
                    tally.drop("gap")
                else:
                    yield Candidate(above=state, chosen=better, rejected=worse, q_chosen=high, q_rejected=low)


@dataclass(frozen=True, kw_only=True)
class StepQ(PairBuilder):
    """Along the best path, each step against its worst sibling (step-level Q, arXiv 2409.09345)."""

    name: ClassVar[str] = "step-q"

    value: Rule = "q"
    best: Literal["right", "value"] = "right"
    min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require("min_count", self.min_count, self.min_count >= 1, "at least 1")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        best = self._best(searched, tally)
        if best is None:
            return None
        found = list(self._candidates(searched, best, tally))
        return self.tree(searched, pairs=self.pairs(searched, found, tally))

    def _best(self, searched: Searched, tally: Tally) -> Solution | None:
        if self.best == "right":
            if not graded(searched, tally):
                return None
            right = [one for one in solutions(searched, self.value) if one.right]
            if not right:
                tally.drop("no_right")
            return right[0] if right else None
        found = solutions(searched, self.value)
        if not found:
            tally.drop("no_solution")
        elif found[0].value is None:
            tally.drop("no_value", len(found))
        return found[0] if found and found[0].value is not None else None

    def _candidates(self, searched: Searched, best: Solution, tally: Tally) -> Iterator[Candidate]:
        children = searched.tree.children()
        for step in best.path:
            state = searched.tree.parents[step]
            valued = dict(valued_children(searched, children[state], self.value, self.min_count, tally))
            others = [node for node in valued if searched.texts[node] != searched.texts[step]]
            if step not in valued or not others:
                tally.drop("single")
                continue
            worst = others[-1]
            if valued[step] == valued[worst]:
                tally.drop("tie")
            elif valued[step] < valued[worst]:
                tally.drop("gap")
            else:
                yield Candidate(
                    above=state,
                    chosen=step,
                    rejected=worst,
                    q_chosen=valued[step],
                    q_rejected=valued[worst],
                )
