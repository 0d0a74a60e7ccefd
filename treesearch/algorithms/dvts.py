"""DVTS, diverse verifier tree search: independent greedy searches side by side.

Beeching, Tunstall and Rush 2024 (*Scaling test-time compute with open models*, Hugging Face
search-and-learn). `n` beams are split into n / beam_width subtrees. Each begins at the root and knows nothing
of the others: at every step it asks for `beam_width` next steps, keeps the best one by the value source and
closes the rest. So one early step that scores well cannot crowd out the others, as it can in beam search.

The tree is the only state: a subtree is an open child of the root and what lies below it, and every node has
at most one open child, the one kept. Equal first steps of two subtrees are two nodes. The seeds of a subtree
come from its number and depth, so within its budget its samples do not depend on the other subtrees.

With `n` None subtrees are begun until the budget is spent, so that DVTS can be compared with other methods
at equal tokens. Look-ahead is not here: the `rollout` value source does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from treesearch.algorithms.base import Stepwise, add_siblings, require
from treesearch.algorithms.expand import Children, expansion_cost, propose_and_score
from treesearch.answers import RuleName, aggregate
from treesearch.events import Added, Closed, Event, Expanded, Issued, Scored, StopReason
from treesearch.inorder import Outcome, Work, run_in_order
from treesearch.policy import Policy, normalised_logprob
from treesearch.seeds import derive
from treesearch.tree import ROOT, Node, Tree
from treesearch.values.base import Value


@dataclass(frozen=True, kw_only=True)
class DVTS(Stepwise):
    """`n` / `beam_width` greedy searches, each keeping the best of `beam_width` next steps."""

    name: ClassVar[str] = "dvts"
    default_value: ClassVar[str] = "logprob"
    ended_by: ClassVar[str] = "n"
    until_budget: ClassVar[Mapping[str, Any]] = {"n": None}

    n: int | None = 16
    beam_width: int = 4
    num_iterations: int = 40
    answer: RuleName = "vote"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beam_width", "num_iterations"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        whole = self.n is None or (self.n >= 1 and self.n % self.beam_width == 0)
        require("n", self.n, whole, f"a multiple of beam_width ({self.beam_width})")

    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Search every subtree to its end; which step each keeps is in the tree."""
        self.require_end(tree.meter.budget)

        def plan(tree: Tree) -> Work | StopReason | None:
            if self.solved(tree, policy, value):
                return StopReason.SOLVED
            node = self.next_node(tree)
            if not isinstance(node, Node):
                return node
            return Work(node.id, expansion_cost(policy, value, tree.path(node.id), self.beam_width))

        async def perform(tree: Tree, issued: Issued) -> Outcome:
            node = tree.nodes[issued.node]
            made = await propose_and_score(
                tree,
                policy,
                value,
                tree.path(node.id),
                self.beam_width,
                issued.cost,
                derive(tree.seed, "subtree", self._subtree(tree, issued), node.depth),
            )
            return Outcome(made.usage, lambda tree: self._events(tree, node, made, value))

        return await run_in_order(tree, plan, perform, in_flight=self.in_flight)

    def next_node(self, tree: Tree) -> Node | StopReason | None:
        """The end of the oldest subtree that can go on, else the root for a new one."""
        busy = {issued.node for issued in tree.in_flight.values()}
        for tip in self.tips(tree):
            open_end = not tip.finished and not tip.expansions and tip.depth < self.num_iterations
            if open_end and tip.id not in busy:
                return tip
        begun = tree.root.expansions + _at_root(tree)
        if self.n is None or begun < self.n // self.beam_width:
            return tree.root
        return None if tree.in_flight else StopReason.COMPLETED

    def tips(self, tree: Tree) -> Iterator[Node]:
        """The last kept node of every subtree, in the order of beginning."""
        for head in tree.children(ROOT):
            tip: Node | None = None if head.closed else head
            while tip is not None and tip.children:
                tip = next((child for child in tree.children(tip.id) if not child.closed), None)
            if tip is not None:
                yield tip

    def _subtree(self, tree: Tree, issued: Issued) -> int:
        """The number of the subtree that a work belongs to, counted from 0 in the order of beginning."""
        if issued.node == ROOT:
            earlier = [w for w, other in tree.in_flight.items() if other.node == ROOT and w < issued.work]
            return tree.root.expansions + len(earlier)
        *_, head, _ = tree.lineage(issued.node)
        return [child.id for child in tree.children(ROOT) if not child.closed].index(head.id)

    def _events(self, tree: Tree, node: Node, made: Children, value: Value) -> list[Event]:
        """The steps, of which all but the best are closed."""
        added = add_siblings(tree, node.id, made.steps, made.scores, value, merge=False)
        best = self._best(tree, node, added)
        new = range(len(tree.nodes), len(tree.nodes) + len(made.steps))
        return [Expanded(node.id), *added, *(Closed(child) for child in new if child != best)]

    def _best(self, tree: Tree, node: Node, added: Sequence[Event]) -> int | None:
        """Id of the new child whose path ranks first: by value, then by log-prob, then the older one."""
        values = {event.node: event.value for event in added if isinstance(event, Scored)}
        steps = [event.step for event in added if isinstance(event, Added)]
        before = [above.value for above in tree.lineage(node.id) if above.value is not None][::-1]
        path = tree.path(node.id)

        def rank(index: int) -> tuple[float, float, int]:
            scored = values.get(len(tree.nodes) + index)
            known = before if scored is None else [*before, scored]
            worth = -aggregate(known, self.aggregate) if known else float("inf")
            return worth, -normalised_logprob((*path, steps[index])), index

        best = min(range(len(steps)), key=rank, default=None)
        return None if best is None else len(tree.nodes) + best


def _at_root(tree: Tree) -> int:
    """How many works in flight begin a subtree."""
    return sum(issued.node == ROOT for issued in tree.in_flight.values())
