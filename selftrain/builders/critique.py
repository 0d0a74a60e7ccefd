"""A wrong attempt, what a critic says of it, and a right solution: learning to make use of critique.

Contract: a record is the problem, a wrong solution (read, not learned), the critique, and a right solution
from the start. Critiques come from `critic`, a function of the searched tree and a solution's nodes that
gives words, or None for "nothing is wrong", which makes no record; without one, the critic names the first
step after which no outcome was right, in the words of `critique` (``{number}``: the step, 1 the first). The
refinement is the best right solution below the state before that step, else the best of all. The critique is
learned with `train_critique`.

Right solutions are traces of their own first (kind `sft`), at most `max_traces`, as `sft` with `pick` = value
takes them; wrong ones follow, best first, at most ``ceil(max_refinements (1 - rate))`` with the problem's
share of right solutions: harder problems give more. With a critic that finds nothing wrong, what is left is
rejection sampling.

Source: critique-in-the-loop self-improvement (Xi et al., arXiv 2411.16579, section 4): correct samples, and
correct refinements of wrong ones, with more attempts for harder problems. Deviations: refinements are not
sampled with the critique in the prompt but taken from the same tree, and the critique stays in the record;
the paper trains on refined solutions alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from selftrain.builders.base import Tally, optional_input, require, require_cap
from selftrain.builders.chains import Composer, ComposingBuilder
from selftrain.builders.solutions import Solution, distinct, graded, solutions
from selftrain.builders.values import Rule
from selftrain.data.record import Trace, TrainingTree
from selftrain.data.searched import Searched

Critic = Callable[[Searched, Sequence[int]], str | None]


@dataclass(frozen=True, kw_only=True)
class CritiqueRefine(ComposingBuilder):
    """A wrong attempt, its critique and a right solution (critique in the loop, arXiv 2411.16579)."""

    name: ClassVar[str] = "critique-refine"

    max_traces: int | None = 4
    max_refinements: int = 4
    value: Rule = "worth"
    critique: str = "Step {number} is wrong. Let me solve it again."
    train_critique: bool = True
    critic: Critic | None = field(
        default=None,
        repr=False,
        hash=False,
        metadata=optional_input("criticises a solution: a searched tree and its nodes"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_cap("max_traces", self.max_traces)
        require("max_refinements", self.max_refinements, self.max_refinements >= 1, "at least 1")

    def build(self, searched: Searched, tally: Tally) -> TrainingTree | None:
        """See the module."""
        if not graded(searched, tally):
            return None
        found = distinct(solutions(searched, self.value), tally)
        right = [one for one in found if one.right]
        wrong = [one for one in found if one.right is False]
        if not right:
            tally.drop("no_right")
            return None
        composer = self.composer(searched)
        kept = right[: self.max_traces]
        tally.drop("cap", len(right) - len(kept))
        traces = [
            Trace(node=composer.steps(0, one.path, last=True)[-1], right=True, kind="sft") for one in kept
        ]
        misses, hits = (sum(one.times for one in side) for side in (wrong, right))
        most = math.ceil(self.max_refinements * misses / (hits + misses))
        refined = [self._refined(composer, one, right, tally) for one in wrong[:most]]
        tally.drop("cap", len(wrong) - len(refined))
        traces += [trace for trace in refined if trace is not None]
        return composer.tree(traces, builder=self.name)

    def _refined(
        self, composer: Composer, wrong: Solution, right: Sequence[Solution], tally: Tally
    ) -> Trace | None:
        searched = composer.searched
        error = first_error(searched, wrong.path)
        if self.critic is not None:
            words = self.critic(searched, wrong.path)
        else:
            words = None if error is None else self.critique.replace("{number}", str(error + 1))
        if words is None:
            tally.drop("no_error")
            return None
        state = 0 if error is None else searched.tree.parents[wrong.path[error]]
        better = next((one for one in right if state in (0, *one.path)), right[0])
        attempt = composer.steps(0, wrong.path)
        said = composer.say(attempt[-1], words)
        end = composer.steps(said, better.path, last=True)[-1]
        untrained = tuple(attempt) if self.train_critique else (*attempt, said)
        return Trace(node=end, right=True, untrained=untrained, kind=self.name)


def first_error(searched: Searched, path: Sequence[int]) -> int | None:
    """Index of the first step of `path` with outcomes of which none is right; None where there is none."""
    return next(
        (index for index, node in enumerate(path) if searched.outcomes[node] and not searched.right[node]),
        None,
    )
