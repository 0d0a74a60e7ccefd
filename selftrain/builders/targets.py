"""What each step is worth, as targets of value models and labels of reward models.

Contract: `Targets` gives one target in [0, 1] to every step that the rule can say something about, with the
outcomes it comes from. Rules (formulas and sources in `prm.labels`):

- `soft`: the share of right outcomes at or below the step; `hard`: 1 if any was right (Math-Shepherd, arXiv
  2312.08935);
- `quality`: ReST-MCTS* quality values (arXiv 2406.03816): v_k = max(v_(k-1) + (1 - v_(k-1)) / (m_k + 1)
  (1 - 2 r_k), 0), for trees with a right outcome;
- `dual`: MedS3's soft dual-sided labels (arXiv 2501.12051) with the look-back `penalty`;
- `tree`: the backed-up value of visited steps, cut to [0, 1].

Steps with fewer than `min_outcomes` outcomes (visits for `tree`) get none, but take part in the others'.

Deviations: a searched tree keeps no roll-outs, only their grades, so that for `quality` a right roll-out
counts as one further step, whatever its length (`prm.labels.trees` counts its steps). A step that several
solutions share has one dual-sided label for each in MedS3; here their mean. Paths that end unfinished count
like solutions there, as far as they have outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from prm.labels.derive import PENALTY, dual_sided
from prm.labels.quality import quality_values
from selftrain.builders.base import Builder, Tally, require
from selftrain.builders.values import node_value
from selftrain.data.record import Target, TrainingTree
from selftrain.data.searched import Searched
from treesearch.tree import ROOT

TargetRule = Literal["soft", "hard", "quality", "dual", "tree"]


@dataclass(frozen=True, kw_only=True)
class Targets(Builder):
    """A value in [0, 1] for each step, by a label rule."""

    name: ClassVar[str] = "targets"

    rule: TargetRule = "soft"
    min_outcomes: int = 1
    penalty: float = PENALTY

    def __post_init__(self) -> None:
        require("min_outcomes", self.min_outcomes, self.min_outcomes >= 1, "at least 1")
        require("penalty", self.penalty, self.penalty >= 0, "at least 0")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if self.rule != "tree" and not searched.outcomes[ROOT]:
            tally.drop("no_gold" if searched.solutions else "no_solution")
            return None
        values = self.values(searched)
        if values is None:
            tally.drop("no_right")
            return None
        counts = searched.visits if self.rule == "tree" else searched.outcomes
        targets: list[Target] = []
        for node in range(1, len(searched.tree)):
            value = values[node]
            if value is None:
                tally.drop("no_value")
            elif counts[node] < self.min_outcomes:
                tally.drop("few_outcomes")
            else:
                targets.append(
                    Target(
                        node=node,
                        value=value,
                        completions=searched.outcomes[node],
                        right=searched.right[node],
                        kind=self.rule,
                    )
                )
        return self.tree(searched, targets=targets)

    def values(self, searched: Searched) -> Sequence[float | None] | None:
        """The rule's value of each node; None for a tree that it can say nothing about."""
        soft = [node_value(searched, node, "outcome") for node in range(len(searched.tree))]
        if self.rule == "soft":
            return soft
        if self.rule == "hard":
            return [None if value is None else float(value > 0) for value in soft]
        if self.rule == "quality":
            return _quality(searched)
        if self.rule == "dual":
            return _dual(searched, soft, self.penalty)
        backed = [node_value(searched, node, "q") for node in range(len(searched.tree))]
        return [None if value is None else min(1.0, max(0.0, value)) for value in backed]


def _quality(searched: Searched) -> list[float | None] | None:
    ends: list[int | None] = []
    for node, children in enumerate(searched.tree.children()):
        below = sum(searched.right[child] for child in children)
        rolled = searched.right[node] > below
        ends.append(None if not rolled else 0 if searched.correct[node] else 1)
    found = quality_values(searched.tree.parents, ends)
    if found is None:
        return None
    # A step without outcomes is not known to be wrong.
    return [value if searched.outcomes[node] else None for node, value in enumerate(found)]


def _dual(searched: Searched, soft: Sequence[float | None], penalty: float) -> list[float | None]:
    found: list[list[float]] = [[] for _ in soft]
    for leaf, children in enumerate(searched.tree.children()):
        if children or leaf == ROOT:
            continue
        path = [node for node in searched.tree.path(leaf)[1:] if soft[node] is not None]
        labels = dual_sided([value for node in path if (value := soft[node]) is not None], penalty=penalty)
        for node, label in zip(path, labels, strict=True):
            found[node].append(label)
    return [math.fsum(labels) / len(labels) if labels else None for labels in found]
