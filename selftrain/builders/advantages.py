"""Advantages of the steps of a state among each other, for direct advantage regression.

``A_i = V_i - (1 / M) sum_j V_j`` over the M different children of a state that have a value; they sum to 0.

Contract: children without a value, or with fewer than `min_count` visits or outcomes behind it, are left out;
of children with one text, the one with most behind its value stays. States whose advantages span less than
`min_spread` are left out. With `max_states`, those of the largest spread stay.

Source: Direct Advantage Policy Optimization (arXiv 2412.18279, section 3; not the later "DAPO"): a critic
trained on 16 completions a step gives V, spread at least 0.1, six of 32 solutions a problem.

Deviation: the paper caps solutions, not states; here whole states are kept or left out, because all children
of a state are trained together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from selftrain.builders.base import Builder, Tally, require, require_cap
from selftrain.builders.pairing import ROUNDING, valued_children
from selftrain.builders.values import Rule
from selftrain.data.record import Advantages, TrainingTree
from selftrain.data.searched import Searched


@dataclass(frozen=True, kw_only=True)
class DirectAdvantages(Builder):
    """Children of a state against their mean value (direct advantage, arXiv 2412.18279)."""

    name: ClassVar[str] = "advantages"

    value: Rule = "worth"
    min_spread: float = 0.1
    min_count: int = 1
    max_states: int | None = None

    def __post_init__(self) -> None:
        require_cap("max_states", self.max_states)
        require("min_spread", self.min_spread, self.min_spread >= 0, "at least 0")
        require("min_count", self.min_count, self.min_count >= 1, "at least 1")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        found: list[tuple[float, tuple[str, ...], Advantages]] = []
        for state, children in enumerate(searched.tree.children()):
            if not children:
                continue
            valued = valued_children(searched, children, self.value, self.min_count, tally)
            if len(valued) < 2:
                tally.drop("single")
                continue
            span = valued[0][1] - valued[-1][1]
            if span < self.min_spread - ROUNDING:
                tally.drop("spread")
                continue
            path = tuple(searched.texts[node] for node in searched.tree.path(state)[1:])
            found.append((-span, path, _centred(state, valued)))
        found.sort(key=lambda entry: entry[:2])
        tally.drop("cap", len(found) - len(found[: self.max_states]))
        return self.tree(searched, advantages=[one for _, _, one in found[: self.max_states]])


def _centred(state: int, valued: Sequence[tuple[int, float]]) -> Advantages:
    mean = math.fsum(value for _, value in valued) / len(valued)
    return Advantages(
        state=state,
        nodes=tuple(node for node, _ in valued),
        advantages=tuple(value - mean for _, value in valued),
    )
