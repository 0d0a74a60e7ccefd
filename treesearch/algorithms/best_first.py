"""Best-first search over steps: always expand the open path of highest value.

Tree-of-thoughts style best-first search (Koh et al. 2024, arXiv 2407.01476; Tree-PLV's collection). With
several works in flight the best paths that nobody is expanding yet are taken. When no open path is left, the
root is asked for fresh steps, until `max_solutions` are finished or the budget is spent.

With a calibrated value, which says how likely a path is to end well, `restart_below` = r asks the root
sooner: while the best open path is worth less than r / k after k expansions of the root. Going down a path
that is known to be poor costs more than another look for a better beginning, and each look that found none
makes the next one less promising.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from treesearch.algorithms.base import Stepwise, add_siblings, require
from treesearch.algorithms.beam import path_rank
from treesearch.algorithms.expand import expand, expansion_cost
from treesearch.answers import RuleName, path_value
from treesearch.events import Closed, Event, Expanded, Issued, StopReason
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy
from treesearch.tree import NO_PARENT, Node, Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class BestFirst(Stepwise):
    """Expand the best open path `expansion` ways until `max_solutions` are finished (None: budget only)."""

    name: ClassVar[str] = "best-first"
    default_value: ClassVar[str] = "logprob"
    ended_by: ClassVar[str] = "max_solutions"
    until_budget: ClassVar[Mapping[str, Any]] = {"max_solutions": None, "max_restarts": 1_000_000}

    expansion: int = 4
    root_expansion: int | None = None
    """Steps asked for at the root (None: `expansion`); first steps not tried are not made up for below."""
    restart_below: float = 0.0
    """Worth of the best open path below which the root is asked for fresh steps; 0 is never."""
    max_solutions: int | None = 1
    max_depth: int = 40
    max_restarts: int = 64
    """How often the root is expanded at most."""
    answer: RuleName = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("expansion", "max_depth", "max_restarts"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        wide = self.root_expansion is None or self.root_expansion >= 1
        require("root_expansion", self.root_expansion, wide, "at least 1")
        require("restart_below", self.restart_below, self.restart_below >= 0, "at least 0")
        ok = self.max_solutions is None or self.max_solutions >= 1
        require("max_solutions", self.max_solutions, ok, "at least 1")

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Search; the order of expansion follows from the values in the tree."""
        self.require_end(tree.meter.budget)

        def plan(tree: Tree) -> Work | StopReason | None:
            if self.solved(tree, policy, value):
                return StopReason.SOLVED
            if self.max_solutions is not None and sum(1 for _ in tree.leaves()) >= self.max_solutions:
                return StopReason.COMPLETED
            node = self.next_node(tree)
            if not isinstance(node, Node):
                return node
            return Work(node.id, expansion_cost(policy, value, tree.path(node.id), self._width(node)))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            node = tree.nodes[issued.node]
            made = await expand(tree, policy, value, issued, self._width(node))

            def events(tree: Tree) -> list[Event]:
                added = add_siblings(tree, node.id, made.steps, made.scores, value)
                dead: list[Event] = [] if added or node.children else [Closed(node.id)]
                return [Expanded(node.id), *added, *dead]

            return Outcome(made.usage, events)

        return await run_in_order(tree, plan, perform, in_flight=self.in_flight)

    def _width(self, node: Node) -> int:
        return (self.root_expansion or self.expansion) if node.parent == NO_PARENT else self.expansion

    def _begins_again(self, tree: Tree, best: Node) -> bool:
        root = tree.root
        if not self.restart_below or root.pending or root.expansions >= self.max_restarts:
            return False
        value = path_value(tree, best.id, self.aggregate)
        return value is not None and value < self.restart_below / root.expansions

    def next_node(self, tree: Tree) -> Node | StopReason | None:
        """The best open path that is not being expanded; the root again where there is none."""
        root = tree.root
        if root.expansions == 0:
            return None if root.pending else root
        free = [n for n in tree.frontier() if not n.pending and n.depth < self.max_depth]
        if free:
            best = min(free, key=lambda node: (*path_rank(tree, node, self), node.id))
            return root if self._begins_again(tree, best) else best
        if tree.in_flight:
            return None
        return root if root.expansions < self.max_restarts else StopReason.EXHAUSTED
