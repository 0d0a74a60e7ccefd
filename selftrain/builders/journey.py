"""Journeys: a walk through a searched tree that tries wrong branches, turns back, and arrives.

Contract: a journey follows a right solution from the prompt down. At states where the tree holds wrong steps
(siblings with at least `min_outcomes` outcomes, none right), it may first walk down one of them: at most
`branch_steps` steps, each time the child of highest worth, then the words of `turn_back`, in which
``{number}`` stands for the step (1 the first) that is tried again. It visits at most `max_branches` wrong
branches, the most tempting ones of the solution, at most `per_state` a state. The right solution is in it as
it was written, in order; without wrong branches and words it is the shortcut, which with `shortcuts` is a
trace of its own (kind `shortcut`). Wrong branches are learned too, as in the paper, unless `train_wrong` is
false.

The right solutions are taken best first, at most `max_traces` a problem.

Source: O1 Replication Journey, part 1 (arXiv 2410.18982): depth-first traversal with at most K wrong branches
before the right one; shortcuts as the comparison. Deviation: there a model writes the pieces anew as one
coherent thought; here they are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selftrain.builders.base import Tally, require, require_cap
from selftrain.builders.chains import Composer, ComposingBuilder, wrong_children
from selftrain.builders.solutions import Solution, best_right
from selftrain.builders.values import Rule
from selftrain.data.record import Trace, TrainingTree
from selftrain.data.searched import Searched


@dataclass(frozen=True, kw_only=True)
class Journey(ComposingBuilder):
    """Wrong branches, turning back, and the right solution (O1 Replication Journey, arXiv 2410.18982)."""

    name: ClassVar[str] = "journey"

    max_traces: int | None = 1
    value: Rule = "worth"
    max_branches: int = 3
    per_state: int = 1
    branch_steps: int = 4
    min_outcomes: int = 1
    turn_back: str = "That does not work. Back to step {number}."
    train_wrong: bool = True
    shortcuts: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_cap("max_traces", self.max_traces)
        for name in ("max_branches", "per_state", "branch_steps", "min_outcomes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        taken = best_right(searched, self.value, self.max_traces, tally)
        if not taken:
            return None
        composer = self.composer(searched)
        traces: list[Trace] = []
        for one in taken:
            branches = self._branches(searched, one)
            if branches:
                traces.append(self._walk(composer, one, branches))
            else:
                tally.drop("no_wrong")
            if self.shortcuts:
                end = composer.steps(0, one.path, last=True)[-1]
                traces.append(Trace(node=end, right=True, kind="shortcut"))
        return composer.tree(traces, builder=self.name)

    def _branches(self, searched: Searched, one: Solution) -> list[tuple[int, int]]:
        """Depths and first steps of the wrong branches to visit, in the order of the walk."""
        found = [
            (searched.downwards(wrong), depth, rank, wrong)
            for depth, step in enumerate(one.path)
            for rank, wrong in enumerate(
                wrong_children(searched, searched.tree.parents[step], step, self.min_outcomes)
            )
            if rank < self.per_state
        ]
        chosen = sorted(found)[: self.max_branches]
        return [(depth, wrong) for depth, _, wrong in sorted((d, rank, w) for _, d, rank, w in chosen)]

    def _walk(self, composer: Composer, one: Solution, branches: list[tuple[int, int]]) -> Trace:
        at, untrained = 0, list[int]()
        for depth, step in enumerate(one.path):
            for wrong in [first for place, first in branches if place == depth]:
                walked = composer.steps(at, self._down(composer.searched, wrong))
                untrained += walked
                at = composer.say(walked[-1], self.turn_back.replace("{number}", str(depth + 1)))
            at = composer.step(at, step, last=depth == len(one.path) - 1)
        return Trace(
            node=at, right=True, untrained=() if self.train_wrong else tuple(untrained), kind=self.name
        )

    def _down(self, searched: Searched, first: int) -> list[int]:
        """The branch from its first step on, along the children of highest worth."""
        children, found = searched.tree.children(), [first]
        while children[found[-1]] and len(found) < self.branch_steps:
            below = sorted(
                children[found[-1]], key=lambda one: (searched.downwards(one), searched.texts[one])
            )
            found.append(below[0])
        return found
