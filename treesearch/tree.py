"""The search tree: the only state of a search, a pure fold over its events.

Contract: `commit` is the one way to change a tree; it hands the record to the tree's sink (the journal)
and then applies it, and `Tree.fold` applies the same records to a new tree with the same result. Node ids
are small integers in the order of adding; node 0 is the root and stands for the question. Nothing here
calls a model, reads a clock (but for the meter's seconds) or draws a random number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tasks.base import Problem
from treesearch.budget import Budget, Meter, Usage
from treesearch.engines.base import FinishReason
from treesearch.events import (
    Added,
    Backed,
    BackupRule,
    Cancelled,
    Closed,
    Event,
    Expanded,
    Issued,
    Record,
    Rolled,
    Scored,
    Settled,
    Step,
    Stopped,
    StopReason,
)

ROOT = 0
NO_PARENT = -1
Sink = Callable[[Record], None]


@dataclass(slots=True)
class Node:
    """One step and its statistics.

    `value` is the value source's score, None before scoring. `visits` counts the returns backed up through
    the node and `q` is what the backup rule makes of them; `total` is their sum. `pending` counts the works
    in flight at or below it. `prior` is the policy's probability among its siblings. `expansions` counts how
    often children were asked for; those of the newest expansion have ids from `expanded_at` on. A closed node
    is never selected again.
    """

    id: int
    parent: int
    depth: int
    step: Step | None
    prior: float = 1.0
    value: float | None = None
    visits: int = 0
    total: float = 0.0
    q: float = 0.0
    pending: int = 0
    expansions: int = 0
    expanded_at: int = 0
    closed: bool = False
    children: list[int] = field(default_factory=list[int])

    @property
    def finished(self) -> bool:
        """Whether the path to this node is a whole solution: the model ended the text itself."""
        return self.step is not None and self.step.finish is FinishReason.END


@dataclass(frozen=True, slots=True)
class Completion:
    """A roll-out's result, kept at the node that it started from."""

    node: int
    text: str
    tokens: int
    answer: str | None
    vote: str | None
    reward: float | None


def _drop(record: Record) -> None:
    """The sink of a tree without a journal."""


@dataclass(kw_only=True)
class Tree:
    """A search tree for one problem. `seed` is the root of every random choice made for it."""

    problem: Problem
    seed: int = 0
    meter: Meter = field(default_factory=Meter, compare=False)
    nodes: list[Node] = field(default_factory=lambda: [Node(ROOT, NO_PARENT, 0, None)])
    completions: list[Completion] = field(default_factory=list[Completion])
    works: int = 0
    """How many works were issued so far; the number of the next one."""
    in_flight: dict[int, Issued] = field(default_factory=dict[int, Issued])
    """Works issued and not settled, in order."""
    cancelled: int = 0
    """How many works were given up in flight; `usage` holds nothing of them."""
    stop: StopReason | None = None
    best_finished: float = -math.inf
    """Largest value of a finished solution, roll-outs included."""
    votes: dict[str, int] = field(default_factory=dict[str, int])
    """How many finished solutions, roll-outs included, give each answer, by canonical form."""
    sink: Sink = field(default=_drop, compare=False, repr=False)

    @classmethod
    def fold(
        cls, problem: Problem, records: Iterable[Record], *, seed: int = 0, budget: Budget | None = None
    ) -> Tree:
        """The tree that `records` made."""
        tree = cls(problem=problem, seed=seed, meter=Meter(budget=budget or Budget()))
        for record in records:
            tree.apply(record)
        return tree

    def commit(self, record: Record) -> None:
        """Write a record to the journal and apply it."""
        self.sink(record)
        self.apply(record)

    def apply(self, record: Record) -> None:
        """Apply events in order, without writing them."""
        for event in record:
            _APPLY[type(event)](self, event)

    @property
    def usage(self) -> Usage:
        """What the search used so far."""
        return self.meter.used

    @property
    def root(self) -> Node:
        """Node 0: the question, before any step."""
        return self.nodes[ROOT]

    def path(self, node: int) -> tuple[Step, ...]:
        """The steps from the root to `node`, in order."""
        steps: list[Step] = []
        while (step := self.nodes[node].step) is not None:
            steps.append(step)
            node = self.nodes[node].parent
        return tuple(reversed(steps))

    def lineage(self, node: int) -> Iterator[Node]:
        """`node`, its parent, and so on up to the root."""
        while node != NO_PARENT:
            yield self.nodes[node]
            node = self.nodes[node].parent

    def text(self, node: int) -> str:
        """The solution so far: the texts of the path's steps joined."""
        return "".join(step.text for step in self.path(node))

    def children(self, node: int) -> list[Node]:
        """The children of `node`, in the order of adding."""
        return [self.nodes[child] for child in self.nodes[node].children]

    def leaves(self) -> Iterator[Node]:
        """Finished nodes, in the order of adding."""
        return (node for node in self.nodes if node.finished)

    def frontier(self) -> Iterator[Node]:
        """Nodes that could be expanded: open, not finished, without children."""
        return (n for n in self.nodes if not n.closed and not n.finished and not n.children)


def _issued(tree: Tree, event: Issued) -> None:
    tree.works = event.work + 1
    tree.in_flight[event.work] = event
    tree.meter.reserve(event.cost)
    for node in tree.lineage(event.node):
        node.pending += 1
    tree.stop = None


def _settled(tree: Tree, event: Settled) -> None:
    issued = tree.in_flight.pop(event.work)
    tree.meter.settle(issued.cost, event.usage)
    for node in tree.lineage(issued.node):
        node.pending -= 1


def _cancelled(tree: Tree, event: Cancelled) -> None:
    _settled(tree, Settled(event.work, Usage()))
    tree.cancelled += 1


def _added(tree: Tree, event: Added) -> None:
    node = Node(len(tree.nodes), event.parent, tree.nodes[event.parent].depth + 1, event.step, event.prior)
    tree.nodes[event.parent].children.append(node.id)
    tree.nodes.append(node)
    if node.finished and event.step.answer is not None:
        _count_vote(tree, event.step.vote)


def _scored(tree: Tree, event: Scored) -> None:
    node = tree.nodes[event.node]
    node.value = event.value
    if node.finished:
        tree.best_finished = max(tree.best_finished, event.value)


def _rolled(tree: Tree, event: Rolled) -> None:
    tree.completions.append(
        Completion(event.node, event.text, event.tokens, event.answer, event.vote, event.reward)
    )
    if event.reward is not None:
        tree.best_finished = max(tree.best_finished, event.reward)
    if event.answer is not None:
        _count_vote(tree, event.vote)


def _count_vote(tree: Tree, vote: str | None) -> None:
    if vote is not None:
        tree.votes[vote] = tree.votes.get(vote, 0) + 1


def _backed(tree: Tree, event: Backed) -> None:
    for node in tree.lineage(event.node):
        node.visits += 1
        node.total += event.value
        if event.rule is BackupRule.MEAN:
            node.q = node.total / node.visits
        elif event.rule is BackupRule.MAX:
            node.q = event.value if node.visits == 1 else max(node.q, event.value)
        elif node.id == event.node:
            node.q = event.value
        else:
            node.q = weighted_mean(tree.children(node.id))


def weighted_mean(children: Sequence[Node]) -> float:
    """Sum of N_c q_c over the sum of N_c (ReST-MCTS*, arXiv 2406.03816); 0 without a visit."""
    visits = sum(child.visits for child in children)
    return sum(child.visits * child.q for child in children) / visits if visits else 0.0


def _expanded(tree: Tree, event: Expanded) -> None:
    node = tree.nodes[event.node]
    node.expansions += 1
    node.expanded_at = len(tree.nodes)


def _closed(tree: Tree, event: Closed) -> None:
    tree.nodes[event.node].closed = True


def _stopped(tree: Tree, event: Stopped) -> None:
    tree.stop = event.reason


_APPLY: dict[type[Event], Callable[[Tree, Event], None]] = {
    Issued: _issued,
    Settled: _settled,
    Cancelled: _cancelled,
    Added: _added,
    Scored: _scored,
    Rolled: _rolled,
    Backed: _backed,
    Expanded: _expanded,
    Closed: _closed,
    Stopped: _stopped,
}  # type: ignore[dict-item]
