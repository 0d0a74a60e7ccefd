"""Several trees of one problem as one tree, and equal siblings as one node.

Contract: `merge` puts trees of one prompt under one root. Siblings of equal token ids are one node: outcomes,
right ones and visits are added, `q` is the mean weighted by visits (which for a mean backup is the mean of
all returns), `value` the mean of those known; a grade, an answer or stored log-probs are those of the first
that has them. `places` say which node each old one became. What is known of a step does not depend on the
order of the trees, only the numbering does.

A tree without equal siblings, alone, is returned as it is, so that its nodes keep the search's numbers.

Deviation: where a search backs up a maximum, the mean of two siblings' maxima is not one. Searches that drop
repeated steps (all but plain sampling) have nothing to merge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from selftrain.data.searched import Searched
from selftrain.packing.tree import Ids, TokenTree
from tasks.errors import DataError
from treesearch.tree import NO_PARENT, ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The tree, and for each of the trees given the new number of each of its nodes."""

    searched: Searched
    places: tuple[tuple[int, ...], ...]


def by_problem(searched: Sequence[Searched]) -> list[Searched]:
    """One tree a problem, in the order of first occurrence, without equal siblings."""
    found: dict[str, list[Searched]] = {}
    for one in searched:
        found.setdefault(one.problem.id, []).append(one)
    return [merge(sorted(trees, key=_rank)).searched for trees in found.values()]


def _rank(one: Searched) -> tuple[object, ...]:
    stored = [each or () for each in one.tree.logprobs]
    return one.tree.parents, one.tree.segments, one.right, one.visits, one.q, stored


def merge(trees: Sequence[Searched]) -> Merged:
    """The trees as one; `DataError` if they are not of one problem and one prompt."""
    first = trees[0]
    for other in trees[1:]:
        if other.problem.id != first.problem.id or other.problem.question != first.problem.question:
            raise DataError(f"trees of {first.problem.id!r} and {other.problem.id!r} are not of one problem")
        if other.tree.segments[ROOT] != first.tree.segments[ROOT]:
            raise DataError(
                f"the trees of problem {first.problem.id!r} have different prompts; they can be one tree "
                "only where the policies were asked alike"
            )
    places, nodes = _place(trees)
    if len(trees) == 1 and len(nodes) == len(first.tree):
        return Merged(searched=first, places=places)
    return Merged(searched=_merged(trees, nodes), places=places)


@dataclass(slots=True)
class _Node:
    parent: int
    ids: Ids
    finished: bool
    origins: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


def _place(trees: Sequence[Searched]) -> tuple[tuple[tuple[int, ...], ...], list[_Node]]:
    nodes: list[_Node] = []
    index: dict[tuple[int, Ids], int] = {}
    places: list[tuple[int, ...]] = []
    for number, one in enumerate(trees):
        new: list[int] = []
        for node, ids in enumerate(one.tree.segments):
            parent = NO_PARENT if node == ROOT else new[one.tree.parents[node]]
            key = (parent, ids)
            if key not in index:
                index[key] = len(nodes)
                nodes.append(_Node(parent, ids, one.finished[node]))
            nodes[index[key]].origins.append((number, node))
            new.append(index[key])
        places.append(tuple(new))
    return tuple(places), nodes


def _merged(trees: Sequence[Searched], nodes: Sequence[_Node]) -> Searched:
    def of(node: _Node, name: str) -> list[object]:
        return [getattr(trees[tree], name)[old] for tree, old in node.origins]

    def total(name: str) -> tuple[int, ...]:
        return tuple(sum(getattr(trees[tree], name)[old] for tree, old in node.origins) for node in nodes)

    def known(name: str) -> tuple[object, ...]:
        return tuple(next((one for one in of(node, name) if one is not None), None) for node in nodes)

    first = trees[0]
    return Searched(
        problem=first.problem,
        tree=TokenTree(
            segments=tuple(node.ids for node in nodes),
            parents=tuple(node.parent for node in nodes),
            logprobs=tuple(_stored(trees, node) for node in nodes),
        ),
        texts=tuple(str(of(node, "texts")[0]) for node in nodes),
        finished=tuple(node.finished for node in nodes),
        correct=known("correct"),  # pyright: ignore[reportArgumentType] - a grade or None
        answers=known("answers"),  # pyright: ignore[reportArgumentType] - a text or None
        outcomes=total("outcomes"),
        right=total("right"),
        values=tuple(_mean([trees[tree].values[old] for tree, old in node.origins]) for node in nodes),
        q=tuple(_weighted(trees, node) for node in nodes),
        visits=total("visits"),
    )


def _stored(trees: Sequence[Searched], node: _Node) -> tuple[float, ...] | None:
    for tree, old in node.origins:
        logprobs = trees[tree].tree.logprobs
        if logprobs and logprobs[old] is not None:
            return logprobs[old]
    return None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _weighted(trees: Sequence[Searched], node: _Node) -> float:
    visits = sum(trees[tree].visits[old] for tree, old in node.origins)
    if not visits:
        return 0.0
    return math.fsum(trees[tree].visits[old] * trees[tree].q[old] for tree, old in node.origins) / visits
