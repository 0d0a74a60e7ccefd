"""Right solutions with one wrong step that is noticed and put right.

Contract: in a right solution a state is chosen where the tree also holds a wrong step: a sibling of the right
one with at least `min_outcomes` outcomes, none of them right. The trace is the solution up to the state, the
wrong step, the words of `reflection`, the right step, and the rest. The wrong step is read, not learned
(`Trace.untrained`). Without wrong step and reflection the trace is the original solution, byte for byte.

The right solutions are taken best first, each with the wrong step of highest value in it; at most
`max_traces` a problem. With `originals` the solutions themselves are traces too (kind `original`).

Source: S3c-Math (arXiv 2409.01524): spontaneous step-level self-correction, original traces mixed in, the
loss on the wrong step masked. Deviation: wrong steps and their failures come from the search, not from
sampling alternatives at a chosen step; the reflection is fixed words, not a model's.
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
class SelfCorrection(ComposingBuilder):
    """A wrong step, words of doubt, the right step and the rest (S3c-Math, arXiv 2409.01524)."""

    name: ClassVar[str] = "self-correction"

    max_traces: int | None = 4
    value: Rule = "worth"
    min_outcomes: int = 2
    reflection: str = "Wait, that step is wrong. Let me do it again."
    originals: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_cap("max_traces", self.max_traces)
        require("min_outcomes", self.min_outcomes, self.min_outcomes >= 1, "at least 1")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        taken = best_right(searched, self.value, self.max_traces, tally)
        if not taken:
            return None
        composer = self.composer(searched)
        traces: list[Trace] = []
        for one in taken:
            trace = self._corrected(composer, one)
            if trace is None:
                tally.drop("no_wrong")
            else:
                traces.append(trace)
        if self.originals:
            ends = [composer.steps(0, one.path, last=True)[-1] for one in taken]
            traces += [Trace(node=node, right=True, kind="original") for node in ends]
        return composer.tree(traces, builder=self.name)

    def _corrected(self, composer: Composer, one: Solution) -> Trace | None:
        searched = composer.searched
        found = [
            (searched.downwards(wrong), depth, wrong)
            for depth, step in enumerate(one.path)
            for wrong in wrong_children(searched, searched.tree.parents[step], step, self.min_outcomes)[:1]
        ]
        if not found:
            return None
        _, depth, wrong = min(found)
        at = composer.steps(0, one.path[:depth])[-1] if depth else 0
        mistake = composer.step(at, wrong)
        said = composer.say(mistake, self.reflection)
        end = composer.steps(said, one.path[depth:], last=True)[-1]
        return Trace(node=end, right=True, untrained=(mistake,), kind=self.name)
