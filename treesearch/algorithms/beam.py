"""Beam search over steps, guided by a value source.

At every level the `beam_width` best paths are kept and each unfinished one is expanded `expansion` ways
(Snell et al. 2024, arXiv 2408.03314; Hugging Face search-and-learn). Differences: a finished path that is
among the best of its level takes one of the places and is not expanded; the first level draws beam_width *
expansion steps in one request; paths of equal text are merged. A level waits for its own scores, never for
another problem.

`rounds` repeats the search (None: until the budget is spent), so that beam search can be compared with other
methods at equal tokens. A later round starts from the first steps that no earlier round went on with, fresh
samples among them; the search ends when there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from treesearch.algorithms.base import Algorithm, Stepwise, add_siblings, require
from treesearch.algorithms.expand import expand, expansion_cost
from treesearch.answers import RuleName, path_value
from treesearch.events import Event, Expanded, Issued, StopReason
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy, normalised_logprob
from treesearch.tree import ROOT, Node, Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class Beam(Stepwise):
    """Keep `beam_width` paths, expand each `expansion` ways, at most `max_steps` levels, `rounds` times."""

    name: ClassVar[str] = "beam"
    default_value: ClassVar[str] = "logprob"
    ended_by: ClassVar[str] = "rounds"
    until_budget: ClassVar[Mapping[str, Any]] = {"rounds": None}

    beam_width: int = 4
    expansion: int = 4
    max_steps: int = 40
    rounds: int | None = 1
    answer: RuleName = "vote"
    in_flight: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beam_width", "expansion", "max_steps"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("rounds", self.rounds, self.rounds is None or self.rounds >= 1, "at least 1")

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Search level by level; what is kept follows from the values in the tree."""
        self.require_end(tree.meter.budget)

        def plan(tree: Tree) -> Work | StopReason | None:
            if self.solved(tree, policy, value):
                return StopReason.SOLVED
            found = self.next_node(tree)
            if not isinstance(found, Node):
                return found
            path = tree.path(found.id)
            return Work(found.id, expansion_cost(policy, value, path, self._width(found)))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            node = tree.nodes[issued.node]
            made = await expand(tree, policy, value, issued, self._width(node))

            def events(tree: Tree) -> list[Event]:
                added = add_siblings(tree, node.id, made.steps, made.scores, value)
                return [Expanded(node.id), *added]

            return Outcome(made.usage, events)

        return await run_in_order(tree, plan, perform, in_flight=self.in_flight)

    def next_node(self, tree: Tree) -> Node | StopReason | None:
        """The next node to expand; None while a level is incomplete; COMPLETED after the last round."""
        root = tree.root
        if root.expansions == 0:
            return None if root.pending else root
        level = first = self._first_steps(tree)
        for _ in range(self.max_steps):
            kept = self.kept(tree, level)
            alive = [node for node in kept if not node.finished]
            todo = [node for node in alive if not node.expansions]
            for node in todo:
                if not node.pending:
                    return node
            if todo:
                return None
            if not alive:
                break
            level = self._children(tree, alive)
        if self.rounds is not None and root.expansions >= self.rounds:
            return StopReason.COMPLETED
        if root.expansions > 1 and not first:
            return StopReason.EXHAUSTED
        return None if root.pending else root

    def kept(self, tree: Tree, level: Sequence[Node]) -> list[Node]:
        """The best `beam_width` of a level: by value, then by log-prob, then the older one."""
        return sorted(level, key=lambda node: (*path_rank(tree, node, self), node.id))[: self.beam_width]

    def _first_steps(self, tree: Tree) -> list[Node]:
        """The first steps of this round: new ones, and older ones that no earlier round expanded."""
        since = tree.root.expanded_at
        return [
            child
            for child in tree.children(ROOT)
            if child.id >= since
            or (not child.finished and (not child.expansions or child.expanded_at >= since))
        ]

    def _width(self, node: Node) -> int:
        return self.expansion * (self.beam_width if node.id == ROOT else 1)

    def _children(self, tree: Tree, parents: Sequence[Node]) -> list[Node]:
        """Children of the newest expansion of each parent: those of this round."""
        return [
            child
            for parent in parents
            for child in tree.children(parent.id)
            if child.id >= parent.expanded_at
        ]


def path_rank(tree: Tree, node: Node, algorithm: Algorithm) -> tuple[float, float]:
    """Sort key of a path, best first: minus its aggregated value, minus its mean log-prob."""
    value = path_value(tree, node.id, algorithm.aggregate)
    return float("inf") if value is None else -value, -normalised_logprob(tree.path(node.id))
