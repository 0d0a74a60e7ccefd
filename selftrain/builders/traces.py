"""Solutions to imitate: the best right ones of a problem, different from each other.

Contract: of the finished solutions that the gold calls right, those pass that have at least `min_tokens`
tokens and, where `min_value` is given, at least that value. Each text (or sequence of steps) counts once.
The best comes first; further ones are the next best (`pick` = value) or the ones farthest from those taken,
by edit distance or n-gram overlap of their tokens, and none nearer than `min_distance`. At most `max_traces`
a problem, so that easy problems do not swamp hard ones.

Presets: `rest-mcts` has the filters of ReST-MCTS* (arXiv 2406.03816): value at least 0.2, at least 50 tokens.
`rft` is rejection fine-tuning (arXiv 2308.01825): all different right solutions. `rest-em` is ReST-EM (arXiv
2312.06585): at most 10 right samples a problem.

Deviations: RFT tells reasoning paths apart by their lists of equations; here texts or steps. ReST-EM takes
10 samples as they come, here the best 10 by value, which without a value source are the first by text.
The repository of ReST-MCTS* counts the length of the text; here tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from selftrain.builders.base import Builder, Tally, require, require_cap
from selftrain.builders.diversity import DISTANCES, spread_out
from selftrain.builders.solutions import Same, Solution, distinct, graded, solutions
from selftrain.builders.values import Rule
from selftrain.data.record import Trace, TrainingTree
from selftrain.data.searched import Searched

Pick = Literal["value", "edit", "ngram"]


@dataclass(frozen=True, kw_only=True)
class Traces(Builder):
    """The best right solutions of a problem, different from each other (STaR, arXiv 2203.14465)."""

    name: ClassVar[str] = "sft"

    max_traces: int | None = 4
    value: Rule = "worth"
    pick: Pick = "ngram"
    min_distance: float = 0.0
    distinct: Same = "text"
    min_value: float | None = None
    min_tokens: int = 0

    def __post_init__(self) -> None:
        require_cap("max_traces", self.max_traces)
        require("min_distance", self.min_distance, 0 <= self.min_distance <= 1, "in [0, 1]")
        unread = self.pick == "value" and self.min_distance
        require("min_distance", self.min_distance, not unread, "0 with pick=value, which measures none")
        require("min_tokens", self.min_tokens, self.min_tokens >= 0, "at least 0")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not graded(searched, tally):
            return None
        right = [one for one in solutions(searched, self.value) if one.right]
        if not right:
            tally.drop("no_right")
            return None
        passed = distinct(self._filtered(right, tally), tally, self.distinct)
        taken = self._taken(passed, tally)
        return self.tree(searched, traces=[_trace(one, self.name) for one in taken])

    def _filtered(self, found: Sequence[Solution], tally: Tally) -> list[Solution]:
        passed: list[Solution] = []
        for one in found:
            if len(one.ids) < self.min_tokens:
                tally.drop("too_short")
            elif self.min_value is not None and one.value is None:
                tally.drop("no_value")
            elif self.min_value is not None and one.value is not None and one.value < self.min_value:
                tally.drop("low_value")
            else:
                passed.append(one)
        return passed

    def _taken(self, found: Sequence[Solution], tally: Tally) -> list[Solution]:
        if self.pick == "value":
            taken, near = list(found[: self.max_traces]), 0
        else:
            taken, near = spread_out(
                found,
                lambda one: one.ids,
                DISTANCES[self.pick],
                count=self.max_traces,
                least=self.min_distance,
            )
        tally.drop("similar", near)
        tally.drop("cap", len(found) - len(taken) - near)
        return taken


@dataclass(frozen=True, kw_only=True)
class RestMCTS(Traces):
    """Right solutions of value 0.2 and 50 tokens at least (ReST-MCTS*, arXiv 2406.03816)."""

    name: ClassVar[str] = "rest-mcts"

    max_traces: int | None = None
    pick: Pick = "value"
    min_value: float | None = 0.2
    min_tokens: int = 50


@dataclass(frozen=True, kw_only=True)
class RejectionFineTuning(Traces):
    """All different right solutions (RFT, arXiv 2308.01825)."""

    name: ClassVar[str] = "rft"

    max_traces: int | None = None
    pick: Pick = "value"


@dataclass(frozen=True, kw_only=True)
class RestEM(Traces):
    """At most ten right solutions a problem (ReST-EM, arXiv 2312.06585)."""

    name: ClassVar[str] = "rest-em"

    max_traces: int | None = 10
    pick: Pick = "value"


def _trace(one: Solution, kind: str) -> Trace:
    return Trace(node=one.node, right=one.right, kind=kind)
