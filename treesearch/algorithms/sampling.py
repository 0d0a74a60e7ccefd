"""Greedy decoding, best-of-N and self-consistency: whole solutions sampled from the root.

They are trees of depth one in spirit; the solutions are still kept as chains of steps, so that the same
viewers, answer rules and training builders read them. Samples are asked for in one request of `n`; where
the budget cannot hold the longest possible n, in waves of as many as it surely holds.

Best-of-N: Cobbe et al. 2021 (arXiv 2110.14168). Self-consistency: Wang et al. 2022 (arXiv 2203.11171).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from treesearch.algorithms.base import Algorithm, require
from treesearch.algorithms.solutions import sample_solutions, solutions_cost
from treesearch.answers import RuleName
from treesearch.events import Issued, StopReason
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy
from treesearch.seeds import derive
from treesearch.tree import ROOT, Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class BestOfN(Algorithm):
    """Sample `n` solutions (None: until the budget is spent), return the one of highest value."""

    name: ClassVar[str] = "best-of-n"
    default_value: ClassVar[str] = "logprob"
    ended_by: ClassVar[str] = "n"
    until_budget: ClassVar[Mapping[str, Any]] = {"n": None}

    n: int | None = 16
    answer: RuleName = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("n", self.n, self.n is None or self.n >= 1, "at least 1")

    temperature: ClassVar[float | None] = None
    """Overrides the policy's temperature."""

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Sample until `n` solutions are in the tree."""
        self.require_end(tree.meter.budget)
        room = policy.room((), whole=True) * policy.price

        def wave(left: int | None) -> int:
            n = self.n - len(tree.root.children) if self.n is not None else _WAVE
            if left is not None:
                n = min(n, left // room)
                while n > 1 and solutions_cost(policy, value, n).tokens > left:
                    n -= 1
            return max(1, n)

        def plan(tree: Tree) -> Work | StopReason | None:
            if self.n is not None and len(tree.root.children) >= self.n:
                return StopReason.COMPLETED
            return Work(ROOT, solutions_cost(policy, value, wave(tree.meter.left("tokens"))))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            return await sample_solutions(
                tree,
                policy,
                value,
                min(wave(issued.cost.tokens), issued.cost.nodes),
                grant=issued.cost,
                seed=derive(tree.seed, ROOT, len(tree.root.children)),
                temperature=self.temperature,
            )

        return await run_in_order(tree, plan, perform)


_WAVE = 64
"""Samples of one request where `n` is None and no token budget says less."""


@dataclass(frozen=True, kw_only=True)
class SelfConsistency(BestOfN):
    """Sample `n` solutions and return the answer that most of them give (majority vote)."""

    name: ClassVar[str] = "self-consistency"
    default_value: ClassVar[str] = "none"
    answer: RuleName = "majority"


@dataclass(frozen=True, kw_only=True)
class Greedy(BestOfN):
    """One solution at temperature 0."""

    name: ClassVar[str] = "greedy"
    default_value: ClassVar[str] = "none"
    until_budget: ClassVar[Mapping[str, Any]] = {}
    temperature: ClassVar[float | None] = 0.0
    n: int | None = 1
    answer: RuleName = "majority"
