"""Adaptive self-consistency: sample one solution after another, stop when the vote is decided.

Adaptive-Consistency (Aggarwal et al. 2023, arXiv 2305.11860) with its beta and Dirichlet stops, and
early-stopping self-consistency's windows (Li et al. 2024, arXiv 2401.10480); see
`treesearch.algorithms.vote_stop`. Each sample is a request of its own; they are judged one by one in the
order of asking, never in that of arrival, which would favour short answers.

Samples run side by side. Without `speculate` there are never more in flight than it would take, at best, to
decide the vote: nothing is sampled in vain. With it `in_flight` samples are under way all the time, as in
its_hub's Beta-stopped self-consistency, and what is left of them when the vote is decided is cancelled: the
answer comes sooner and costs more. Both make the same votes, so the same tree but for the cancelled works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from treesearch.algorithms.base import Algorithm, require
from treesearch.algorithms.solutions import sample_solutions, solutions_cost
from treesearch.algorithms.vote_stop import RuleName, VoteStop
from treesearch.events import Issued, StopReason
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import ROOT, Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class AdaptiveSelfConsistency(Algorithm):
    """Sample until the vote is decided, `n` solutions at most (None: until the budget is spent)."""

    name: ClassVar[str] = "adaptive-self-consistency"
    default_value: ClassVar[str] = "none"
    ended_by: ClassVar[str] = "n"
    until_budget: ClassVar[Mapping[str, Any]] = {"n": None}

    n: int | None = 40
    stop: RuleName = "beta"
    threshold: float = 0.95
    window: int = 5
    in_flight: int = 8
    speculate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require("n", self.n, self.n is None or self.n >= 1, "at least 1")
        known = self.stop in ("beta", "dirichlet", "window")
        require("stop", self.stop, known, "beta, dirichlet or window")
        require("threshold", self.threshold, 0 <= self.threshold < 1, "at least 0 and below 1")
        for name in ("window", "in_flight"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Sample until the vote, `n` or the budget ends it."""
        self.require_end(tree.meter.budget)
        rule = VoteStop(rule=self.stop, threshold=self.threshold, window=self.window)

        def halt(tree: Tree) -> StopReason | None:
            return StopReason.CONFIDENT if rule.decided(sampled_votes(tree)) else None

        def plan(tree: Tree) -> Work | StopReason | None:
            if self.n is not None and len(tree.root.children) >= self.n:
                return StopReason.COMPLETED
            waiting = len(tree.in_flight)
            if self.n is not None and len(tree.root.children) + waiting >= self.n:
                return None
            if not self.speculate and waiting and rule.could_decide(sampled_votes(tree), waiting):
                return None
            return Work(ROOT, solutions_cost(policy, value, 1))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            seed = derive(tree.seed, ROOT, issued.work)
            return await sample_solutions(tree, policy, value, 1, grant=issued.cost, seed=seed)

        return await run_in_order(tree, plan, perform, in_flight=self.in_flight, halt=halt)


def sampled_votes(tree: Tree) -> list[str | None]:
    """The vote of every solution below the root, in the order of sampling; None where it has no answer."""
    return [_vote(tree, first) for first in tree.root.children]


def _vote(tree: Tree, node: int) -> str | None:
    """The vote at the end of a chain of steps."""
    while children := tree.nodes[node].children:
        node = children[0]
    step = tree.nodes[node].step
    return None if step is None else step.vote
