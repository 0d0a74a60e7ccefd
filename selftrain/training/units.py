"""Forward passes of a batch of trees, and which process takes which.

Contract: `units` groups trees so that each group is one forward pass of at most `pass_tokens` padded tokens,
a longer tree alone making a pass of its own; with `row_tokens` a tree longer than that is a unit by itself,
cut into rows and several passes (`selftrain.packing.backward` ties these together). Only the wanted nodes and
those above them are packed. `shares` deals trees to processes, the longest first, each to the one with the
fewest tokens. Neither changes the gradient beyond rounding, because losses are divided by the whole batch's
divisors (`mixture`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.data.record import TrainingTree
from selftrain.packing import Batch, EdgeIndex, pack
from selftrain.training.config import TrainConfig
from selftrain.training.reads import named_nodes, tokens_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A tree that is learned from: its records, the nodes that they name, and its packed length in tokens.

    `reference` [nodes] are the reference's log-prob sums by edge, NaN where none are needed.
    """

    tree: TrainingTree
    wanted: frozenset[int]
    tokens: int
    reference: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Trees whose passes belong together, their edges' numbers, and the reference's sums ``[N]`` of these."""

    items: tuple[Item, ...]
    index: EdgeIndex
    batches: list[Batch]

    @property
    def trees(self) -> list[TrainingTree]:
        """The trees, in the order of the edges."""
        return [item.tree for item in self.items]

    @property
    def tokens(self) -> int:
        """Tokens of the passes, without padding."""
        return sum(batch.tokens for batch in self.batches)

    def references(self, device: torch.device) -> Tensor:
        """Log-prob sums of the reference by edge ``[N]``."""
        return torch.cat([item.reference for item in self.items]).to(device)


def make_item(tree: TrainingTree) -> Item:
    """The tree with what its records need, and no reference yet."""
    wanted = named_nodes(tree)
    return Item(
        tree=tree,
        wanted=wanted,
        tokens=tokens_of(tree, tree.tree.with_ancestors(wanted)),
        reference=torch.full((len(tree.tree),), torch.nan),
    )


def units(items: Sequence[Item], config: TrainConfig) -> list[Unit]:
    """The units of `items`, the shortest trees first; see the module."""
    whole = [item for item in items if not config.row_tokens or item.tokens <= config.row_tokens]
    cut = [item for item in items if config.row_tokens and item.tokens > config.row_tokens]
    groups: list[list[Item]] = []
    for item in sorted(whole, key=lambda one: one.tokens):
        if groups and (len(groups[-1]) + 1) * item.tokens <= config.pass_tokens:
            groups[-1].append(item)
        else:
            groups.append([item])
    return [_unit(group, config) for group in (*groups, *([item] for item in cut))]


def _unit(items: Sequence[Item], config: TrainConfig) -> Unit:
    trees = [item.tree.tree for item in items]
    cut = config.row_tokens and items[0].tokens > config.row_tokens
    batches = pack(
        trees,
        row_tokens=config.row_tokens if cut else None,
        rows_a_pass=max(1, config.pass_tokens // config.row_tokens) if cut else None,
        wanted=[item.wanted for item in items],
    )
    return Unit(items=tuple(items), index=EdgeIndex(trees), batches=batches)


def shares(items: Sequence[Item], count: int) -> list[list[Item]]:
    """What each of `count` processes takes of `items`; a share may be empty."""
    found: list[list[Item]] = [[] for _ in range(count)]
    load = [0] * count
    for item in sorted(items, key=lambda one: -one.tokens):
        least = load.index(min(load))
        found[least].append(item)
        load[least] += item.tokens
    return found
