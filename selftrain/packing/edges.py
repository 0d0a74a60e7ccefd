"""Edges of several token trees under one numbering, and sums along paths of them.

Contract: an edge is the step from a node's parent to the node. The edges of a list of trees are numbered
tree by tree, node by node: `EdgeIndex.edge(tree, node)`. Number ``edge(tree, 0)`` belongs to the prompt,
which nobody is trained to write; its log-prob is 0, so that whole paths may be summed from the root. Every
quantity an edge has (log-prob, stored log-prob, length, advantage) is one tensor ``[N]`` in this numbering,
and what a loss needs is picked from it or summed along a chain of edges::

    log pi(path) = sum over edges of the path of log pi(edge)

An edge without a value is NaN, so that using it by mistake shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from selftrain.packing.tree import TokenTree
from tasks.errors import UsageError
from treesearch.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """C chains of edges, flat: `edges` [K] are edge numbers, `owner` [K] the chain of each, below `count`."""

    edges: Tensor
    owner: Tensor
    count: int

    def sums(self, values: Tensor) -> Tensor:
        """Sums ``[C]`` of the edges' `values` ``[N]`` along each chain, differentiable; 0 for empty ones."""
        edges, owner = self.edges.to(values.device), self.owner.to(values.device)
        return values.new_zeros(self.count).index_add(0, owner, values[edges])


class EdgeIndex:
    """Numbers of the edges of `trees`, ``0 .. count - 1``."""

    def __init__(self, trees: Sequence[TokenTree]) -> None:
        self.trees = tuple(trees)
        self._first = list(accumulate((len(tree) for tree in trees), initial=0))

    @property
    def count(self) -> int:
        """N: the number of nodes of all trees."""
        return self._first[-1]

    def edge(self, tree: int, node: int) -> int:
        """Number of the edge to `node` of tree number `tree`; `UsageError` if there is none."""
        if not 0 <= tree < len(self.trees) or not 0 <= node < len(self.trees[tree]):
            raise UsageError(f"there is no node {node} of tree {tree} among {len(self.trees)} trees")
        return self._first[tree] + node

    def edges(self, places: Iterable[tuple[int, int]]) -> Tensor:
        """Edge numbers ``[C]`` of (tree, node) pairs."""
        return torch.tensor([self.edge(*place) for place in places], dtype=torch.long)

    def chains(self, spans: Iterable[tuple[int, int, int]]) -> Chains:
        """The chains of (tree, above, node): the edges below `above` down to `node`, one of its descendants.

        ``(tree, 0, node)`` is the whole path. `UsageError` where `above` is not on the path.
        """
        edges: list[int] = []
        owner: list[int] = []
        count = 0
        for tree, above, node in spans:
            self.edge(tree, node)
            try:
                below = self.trees[tree].below(above, node)
            except UsageError as error:
                raise UsageError(f"tree {tree}: {error}") from None
            edges.extend(self._first[tree] + one for one in below)
            owner.extend([count] * len(below))
            count += 1
        return Chains(
            edges=torch.tensor(edges, dtype=torch.long),
            owner=torch.tensor(owner, dtype=torch.long),
            count=count,
        )

    def lengths(self) -> Tensor:
        """Tokens of each edge ``[N]``; 0 for prompts."""
        return torch.tensor(
            [0 if node == ROOT else len(ids) for tree in self.trees for node, ids in enumerate(tree.segments)]
        )

    def stored(self) -> Tensor:
        """Sums ``[N]`` of the log-probs stored at generation time, in float32; NaN where none are stored.

        These are what off-policy DPO (Agent Q, arXiv 2408.07199) takes as the reference: the behaviour
        policy's own probabilities, at temperature 1, whatever the reference model has become since.
        """
        found: list[float] = []
        for tree in self.trees:
            entries = tree.logprobs or (None,) * len(tree)
            found.append(0.0)
            found.extend(math.nan if one is None else math.fsum(one) for one in entries[1:])
        return torch.tensor(found, dtype=torch.float32)
