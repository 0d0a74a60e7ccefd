"""Rows as tensors, and where in them each edge's log-probs are found.

Contract: `pack` turns trees into the batches of one or several forward passes. Edges have the numbers of
`EdgeIndex`, the same in every pass; each wanted edge is read in exactly one of them.

A log-prob is read at the place that *predicts* its token: for the first token of a step that is the last
token of the parent, which for all but the first child is not the token stored before it. A plain shift by
one is wrong here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from selftrain.packing.edges import EdgeIndex
from selftrain.packing.layout import Row, rows
from selftrain.packing.tree import TokenTree
from tasks.errors import UsageError
from treesearch.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One forward pass over B rows, padded at their ends to T tokens, in which M log-probs are read.

    `ids`, `positions` (depth in tokens) and `ends` (where the subtree of the token's node ends in its row)
    are ``[B, T]``. Token q sees token k of its row if and only if ``k <= q < ends[k]``: its own path and
    nothing else. Padding sees itself. `reads` [M] are the places in ``[B * T]`` that predict the tokens
    `targets` [M], and `owners` [M] the edges that these belong to. `known` [N] says which edges the pass
    gives a value: those that it reads, and prompts.
    """

    ids: Tensor
    positions: Tensor
    ends: Tensor
    reads: Tensor
    targets: Tensor
    owners: Tensor
    known: Tensor
    row_lengths: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Tokens of the longest path."""
        return int(self.positions.max()) + 1

    @property
    def tokens(self) -> int:
        """Tokens of the rows, without padding."""
        return sum(self.row_lengths)

    def to(self, device: torch.device | str) -> Batch:
        """The batch with its tensors on `device`."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = value.to(device) if isinstance(value, Tensor) else value
        return Batch(**moved)


def pack(
    trees: Sequence[TokenTree],
    *,
    row_tokens: int | None = None,
    rows_a_pass: int | None = None,
    wanted: Sequence[Collection[int]] | None = None,
    pad_id: int = 0,
) -> list[Batch]:
    """The forward passes that read the log-probs of the `wanted` nodes (None: of all) of `trees`.

    Rows are at most `row_tokens` long (None: a tree is never cut), a pass has at most `rows_a_pass` of them
    (None: all rows in one pass). `UsageError` where nothing is wanted, or a path alone is longer than a
    row.
    """
    if (row_tokens is not None and row_tokens < 1) or (rows_a_pass is not None and rows_a_pass < 1):
        raise UsageError(f"row_tokens and rows_a_pass must be at least 1, got {row_tokens} and {rows_a_pass}")
    filled = rows(trees, row_tokens=row_tokens, wanted=wanted)
    if not filled:
        raise UsageError("no edge is wanted, so there is nothing to pack")
    index = EdgeIndex(trees)
    size = rows_a_pass or len(filled)
    return [_batch(index, filled[at : at + size], pad_id) for at in range(0, len(filled), size)]


def _batch(index: EdgeIndex, filled: Sequence[Row], pad_id: int) -> Batch:
    width = max(row.tokens for row in filled)
    ids = torch.full((len(filled), width), pad_id, dtype=torch.long)
    positions = torch.zeros_like(ids)
    ends = torch.arange(1, width + 1).repeat(len(filled), 1)
    reads: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    known = torch.zeros(index.count, dtype=torch.bool)
    known[index.edges((tree, ROOT) for tree in range(len(index.trees)))] = True
    for number, row in enumerate(filled):
        for place in row.places:
            segment = index.trees[place.tree].segments[place.node]
            span = slice(place.start, place.stop)
            ids[number, span] = torch.tensor(segment, dtype=torch.long)
            positions[number, span] = torch.arange(place.depth, place.depth + len(segment))
            ends[number, span] = place.end
            if place.counted:
                edge = index.edge(place.tree, place.node)
                known[edge] = True
                places = (place.before, *range(place.start, place.stop - 1))[: len(segment)]
                reads.extend(number * width + at for at in places)
                targets.extend(segment)
                owners.extend([edge] * len(segment))
    return Batch(
        ids=ids,
        positions=positions,
        ends=ends,
        reads=torch.tensor(reads, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        owners=torch.tensor(owners, dtype=torch.long),
        known=known,
        row_lengths=tuple(row.tokens for row in filled),
    )
