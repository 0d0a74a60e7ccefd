"""Answer rules: pure functions from a tree's finished solutions to one answer.

A candidate is a finished leaf or a roll-out that gave an answer. Candidates with the same canonical form
(`Step.vote`) vote together; the answer returned is the first one written in that form. Ties go to the form
that was found first, so that the result does not depend on hashing.

- `majority`: every candidate counts 1 (self-consistency, arXiv 2203.11171).
- `best`: the candidate of highest value.
- `vote`: candidates weigh their value (weighted vote, arXiv 2408.03314); one without a value weighs 1.
- `borda`: candidates sorted by self-certainty, the one at rank r of N casts (N - r + 1)**p votes
  (arXiv 2502.18581, section 4.2); p = 0 is `majority`, p to infinity the most certain one.

A leaf's value aggregates the values of its path's steps: `min`, `last`, `mean` or `product`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.errors import UsageError, unknown_name
from treesearch.tree import Node, Tree

RuleName = Literal["majority", "best", "vote", "borda"]
AggregateName = Literal["min", "last", "mean", "product"]
_LARGEST_LOG = 700.0  # exp of it is still a float


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer, its canonical form, its value (None: unknown) and its self-certainty (None: unknown)."""

    answer: str
    vote: str
    value: float | None
    certainty: float | None


def aggregate(values: Sequence[float], how: AggregateName) -> float:
    """Combine step values along a path; `UsageError` for an empty path, which has no value."""
    if not values:
        raise UsageError("no step values to aggregate: the value source scored nothing on this path")
    if how == "min":
        return min(values)
    if how == "last":
        return values[-1]
    if how == "mean":
        return sum(values) / len(values)
    if how == "product":
        return math.prod(values)
    raise unknown_name("aggregate", how, ("min", "last", "mean", "product"))


def path_value(tree: Tree, node: int, how: AggregateName) -> float | None:
    """The aggregated value of the path to `node`; None where nothing on it was scored."""
    values = [step.value for step in tree.lineage(node) if step.value is not None]
    return aggregate(values[::-1], how) if values else None


def candidates(tree: Tree, how: AggregateName = "last") -> list[Candidate]:
    """Every finished leaf and roll-out of `tree` that has an answer, in the order of finding."""
    found = [_leaf_candidate(tree, leaf, how) for leaf in tree.leaves()]
    found += [
        Candidate(done.answer, done.vote, done.reward, None)
        for done in tree.completions
        if done.answer is not None and done.vote is not None
    ]
    return [candidate for candidate in found if candidate is not None]


def _leaf_candidate(tree: Tree, leaf: Node, how: AggregateName) -> Candidate | None:
    step = leaf.step
    if step is None or step.answer is None or step.vote is None:
        return None
    value = path_value(tree, leaf.id, how)
    sure = [(s.certainty, len(s.token_ids)) for s in tree.path(leaf.id) if s.certainty is not None]
    weight = sum(count for _, count in sure)
    certainty = sum(mean * count for mean, count in sure) / weight if weight else None
    return Candidate(step.answer, step.vote, value, certainty)


def majority(found: Sequence[Candidate]) -> str | None:
    """The answer that most candidates give."""
    return _heaviest(found, lambda _: 1.0)


def best(found: Sequence[Candidate]) -> str | None:
    """The answer of the candidate of highest value; majority if none has a value."""
    valued = [candidate for candidate in found if candidate.value is not None]
    if not valued:
        return majority(found)
    return max(valued, key=lambda candidate: candidate.value or 0.0).answer


def vote(found: Sequence[Candidate]) -> str | None:
    """The answer of largest total value; majority if every weight is 0."""
    chosen = _heaviest(found, lambda candidate: 1.0 if candidate.value is None else max(0.0, candidate.value))
    return chosen if chosen is not None else majority(found)


def borda(found: Sequence[Candidate], *, power: float = 0.5) -> str | None:
    """Borda vote by self-certainty; candidates without one are left out (majority if all are)."""
    sure = [candidate for candidate in found if candidate.certainty is not None]
    if not sure:
        return majority(found)
    order = sorted(range(len(sure)), key=lambda index: -(sure[index].certainty or 0.0))
    # Votes are scaled to at most 1 where (N - r + 1)**p would leave the range of floats: the same winner.
    scale = float(len(sure)) if power * math.log(len(sure) + 1) > _LARGEST_LOG else 1.0
    votes = [0.0] * len(sure)
    for rank, index in enumerate(order):
        votes[index] = ((len(order) - rank) / scale) ** power
    weights = iter(votes)
    return _heaviest(sure, lambda _: next(weights))


def choose(tree: Tree, rule: RuleName, *, how: AggregateName = "last", power: float = 0.5) -> str | None:
    """The tree's answer under a rule by name; None if no solution with an answer was finished."""
    found = candidates(tree, how)
    if rule == "majority":
        return majority(found)
    if rule == "best":
        return best(found)
    if rule == "vote":
        return vote(found)
    if rule == "borda":
        return borda(found, power=power)
    raise unknown_name("answer rule", rule, ("majority", "best", "vote", "borda"))


def _heaviest(found: Sequence[Candidate], weigh: Callable[[Candidate], float]) -> str | None:
    weights: dict[str, float] = {}
    first: dict[str, str] = {}
    for candidate in found:
        weights[candidate.vote] = weights.get(candidate.vote, 0.0) + weigh(candidate)
        first.setdefault(candidate.vote, candidate.answer)
    if not weights or max(weights.values()) <= 0:
        return None
    return first[max(weights, key=lambda key: weights[key])]
