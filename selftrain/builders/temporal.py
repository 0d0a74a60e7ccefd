"""Temporal self-rewarding: rejected from the past, chosen from the future.

Contract: trees searched with the current model are called with; `earlier` are trees of the same problems by
the initial model, `later` (phase 2) by the model that phase 1 trained. With scores by the value rule:

- rejected is the worst of the initial model's solutions where it scores below all of the current model's,
  else the worst of the current ones;
- chosen is the best of the current model's, or in phase 2 the best of the later model's where that scores
  higher;
- a pair where chosen scores above rejected is kept, one a problem.

So the gap is never below that of `self-rewarding` on the same samples, and phase 2 never lowers the chosen
side. The trees of a problem are merged into one, which needs equal prompts; the nodes of the current tree
come first. The same value source must have scored all of them.

Source: Temporal Self-Rewarding language models (arXiv 2508.06026), section 3, K = 7 samples each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from selftrain.builders.base import Tally, optional_input, required_input
from selftrain.builders.merge import Merged, by_problem, merge
from selftrain.builders.pairing import PairBuilder, whole
from selftrain.builders.solutions import Solution, solutions
from selftrain.builders.values import Rule
from selftrain.data.record import TrainingTree
from selftrain.data.searched import Searched


@dataclass(frozen=True, kw_only=True)
class Temporal(PairBuilder):
    """Past worst against present or future best (Temporal Self-Rewarding, arXiv 2508.06026)."""

    name: ClassVar[str] = "temporal"

    value: Rule = "value"
    earlier: Sequence[Searched] | None = field(
        default=None, repr=False, hash=False, metadata=required_input("the initial model's searched trees")
    )
    later: Sequence[Searched] | None = field(
        default=None,
        repr=False,
        hash=False,
        metadata=optional_input("searched trees of the model that phase 1 trained"),
    )

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        current = self._ends(searched)
        past, future = _of(self.earlier, searched), _of(self.later, searched)
        before = self._ends(past) if past else []
        if not current or not before:
            tally.drop("no_earlier" if current else "no_value" if searched.solutions else "no_solution")
            return None
        trees = [searched, *(tree for tree in (past, future) if tree)]
        merged = merge(trees)
        past_ends = (_moved(merged, 1, one) for one in reversed(before))
        upwards = sorted((*(_moved(merged, 0, one) for one in reversed(current)), *past_ends), key=_score)
        worst = upwards[0]
        best = _moved(merged, 0, current[0])
        ends = self._ends(future) if future else []
        after = [one for one in ends if one.text != worst.text]  # values differ by tree: not over itself
        if after and _score(after[0]) > _score(best):
            best = _moved(merged, len(trees) - 1, after[0])
        worst = next((one for one in upwards if one.text != best.text), worst)
        if best.text == worst.text or not _score(best) > _score(worst):
            tally.drop("tie")
            return None
        pair = whole(merged.searched, best, worst)
        return self.tree(merged.searched, pairs=self.pairs(merged.searched, [pair], tally))

    def _ends(self, searched: Searched) -> list[Solution]:
        """Solutions with a value, best first."""
        return [one for one in solutions(searched, self.value) if one.value is not None]


def _of(trees: Sequence[Searched] | None, searched: Searched) -> Searched | None:
    """The tree of the same problem; several are one."""
    found = by_problem([one for one in trees or () if one.problem.id == searched.problem.id])
    return found[0] if found else None


def _score(one: Solution) -> float:
    return one.value or 0.0


def _moved(merged: Merged, tree: int, one: Solution) -> Solution:
    places = merged.places[tree]
    return replace(one, node=places[one.node], path=tuple(places[node] for node in one.path))
