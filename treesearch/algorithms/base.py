"""The algorithm seam: a frozen dataclass of hyper-parameters and one ``async __call__(tree, policy, value)``.

Contract (`tests/treesearch/test_algorithm_contract.py` holds it for every algorithm alike):

- What it does next depends on the tree, its own frozen fields and seeds derived from the tree's seed and
  the node, on nothing else. Called on a tree that is partly searched, it goes on from there.
- It changes the tree only through `Tree.commit`, in practice through `treesearch.inorder.run_in_order`.
- It counts nothing itself: the tree's meter holds the budget.
- The answer rule (`answer`, `borda_power`) is for `final_answer` alone: the search does not read it.

To write your own: subclass `Algorithm` as a frozen, keyword-only dataclass, give it a `name`, write
`__call__`; register it under the entry point group `treesearch.algorithms` to name it on the command line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tasks.errors import UsageError
from treesearch.answers import AggregateName, RuleName, choose
from treesearch.budget import Budget
from treesearch.events import Added, Event, Rolled, Scored, Step, StopReason, rounded
from treesearch.policy import Policy, priors
from treesearch.tree import Tree
from treesearch.values.base import Score, Value


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """Searches one tree.

    `answer` is the rule that picks the final answer, `aggregate` how a path's step values become its value,
    `borda_power` the p of the Borda rule.
    """

    name: ClassVar[str]
    default_value: ClassVar[str] = "none"
    """The value source used when none is named."""
    ended_by: ClassVar[str] = ""
    """The setting that ends a search without a budget unless it is None; empty where every search ends."""
    until_budget: ClassVar[Mapping[str, Any]] = {}
    """Settings under which the search goes on until its budget is spent, for comparisons at equal tokens."""

    answer: RuleName = "majority"
    aggregate: AggregateName = "last"
    borda_power: float = 0.5

    def __post_init__(self) -> None:
        require("answer", self.answer, self.answer in ("majority", "best", "vote", "borda"), "a rule's name")
        known = self.aggregate in ("min", "last", "mean", "product")
        require("aggregate", self.aggregate, known, "min, last, mean or product")
        require("borda_power", self.borda_power, self.borda_power >= 0, "at least 0")

    @abstractmethod
    async def __call__(self, tree: Tree, policy: Policy, value: Value) -> StopReason:
        """Search until done or out of budget; commits and returns why it stopped."""

    def require_end(self, budget: Budget) -> None:
        """Raise `UsageError` where neither the setting `ended_by` nor `budget` would end a search."""
        if self.ended_by and getattr(self, self.ended_by) is None and budget == Budget():
            raise UsageError(f"nothing would end this search: give {self.ended_by} or a budget")

    def final_answer(self, tree: Tree) -> str | None:
        """The answer that the tree gives under this algorithm's rule; None if nothing was finished."""
        return choose(tree, self.answer, how=self.aggregate, power=self.borda_power)


@dataclass(frozen=True, kw_only=True)
class Stepwise(Algorithm):
    """An algorithm that grows its tree step by step, with several works in flight, until a gate is passed."""

    gate: float | None = None
    """Stop when a finished path has this value; None takes the value source's own, if it has one."""
    in_flight: int = 4
    """How many works of one tree run at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in_flight", self.in_flight, self.in_flight >= 1, "at least 1")

    def solved(self, tree: Tree, policy: Policy, value: Value) -> bool:
        """Whether a finished path has passed the gate."""
        gate = value.gate(policy) if self.gate is None else self.gate
        return gate is not None and tree.best_finished >= gate


def require(name: str, value: object, ok: bool, wanted: str) -> None:
    """Raise `UsageError` unless a hyper-parameter is valid."""
    if not ok:
        raise UsageError(f"{name} must be {wanted}, got {value!r}")


def add_chain(
    tree: Tree, parent: int, chain: Sequence[Step], value: float | None, *, shift: int = 0
) -> list[Event]:
    """Events that add `chain` below `parent`, the last node scored with `value`.

    `shift` is how many nodes earlier events of the same record add.
    """
    events: list[Event] = []
    node = parent
    for offset, step in enumerate(chain):
        events.append(Added(node, step, 1.0))
        node = len(tree.nodes) + shift + offset
    if value is not None and chain:
        events.append(Scored(node, rounded(value)))
    return events


def add_siblings(
    tree: Tree,
    parent: int,
    steps: Sequence[Step],
    scores: Sequence[Score],
    value: Value,
    *,
    merge: bool = True,
) -> list[Event]:
    """Events that add `steps` as children of `parent` with priors, scores and the roll-outs behind them.

    With `merge` a step whose exact text a child of `parent` already has is left out, unless both finish
    differently.
    """
    older = tree.children(parent) if merge else []
    known = {(s.text, s.finish) for child in older if (s := child.step) is not None}
    kept = [
        (step, score)
        for step, score in zip(steps, scores, strict=True)
        if (step.text, step.finish) not in known
    ]
    events: list[Event] = []
    shares = priors([step for step, _ in kept])
    for offset, ((step, score), prior) in enumerate(zip(kept, shares, strict=True)):
        node = len(tree.nodes) + offset
        events.append(Added(parent, step, rounded(prior)))
        settled = value.settle(tree, score)
        if settled is not None:
            events.append(Scored(node, rounded(settled)))
        events.extend(rolled(node, score))
    return events


def rolled(node: int, score: Score, *, before: str = "", tokens_before: int = 0) -> list[Event]:
    """The roll-outs behind a score, as events at `node`; `before` is what lies between `node` and them."""
    return [
        Rolled(node, before + done.text, tokens_before + done.tokens, done.answer, done.vote, done.reward)
        for done in score.rollouts
        if done.tokens > 0
    ]


def distinct(steps: Sequence[Step]) -> list[Step]:
    """The steps without repeats of the same text and finish, first ones kept."""
    seen: dict[tuple[str, str], Step] = {}
    for step in steps:
        seen.setdefault((step.text, step.finish), step)
    return list(seen.values())
