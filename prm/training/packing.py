"""Token rows of a forward pass: one row a path, or one row a tree of paths that share their beginnings.

Contract: `plain_rows` gives each path a row of its own. `tree_rows` stores the paths with one prompt as a
tree: each distinct segment below the same parent once, a token's position is its depth in the tree, and it
attends to its ancestors and itself only. Every token then sees exactly what it would see in a row of its own,
so outputs and gradients are equal up to rounding (tests hold 1e-5), and a prefix shared by many solutions is
computed once.

A child's first token is predicted by the last token of its parent, not by the token stored before it.

The mask is dense and boolean, ``[rows, 1, T, T]``, for torch's scaled dot-product attention. Idea: tree
packing as in Tree Training (arXiv 2511.00413); no recurrent or sliding-window layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prm.training.layout import Path
from prm.training.rows import Ids


@dataclass(slots=True)
class Segment:
    """A stored segment: where its tokens are in the row, and its parent segment (-1 for the prompt)."""

    start: int
    stop: int
    depth: int
    parent: int


@dataclass(slots=True)
class TokenRow:
    """Tokens of one row and its segments; `paths` maps a path's number to its segments in order."""

    tokens: list[int] = field(default_factory=list[int])
    segments: list[Segment] = field(default_factory=list[Segment])
    paths: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    _known: dict[tuple[int, Ids], int] = field(default_factory=dict[tuple[int, Ids], int])

    def add(self, number: int, path: Path) -> None:
        """Store `path` under `number`, sharing the segments that are there already."""
        parent, depth, found = -1, 0, list[int]()
        for ids in path:
            index = self._known.get((parent, ids))
            if index is None:
                index = len(self.segments)
                start = len(self.tokens)
                self.tokens.extend(ids)
                self.segments.append(Segment(start, len(self.tokens), depth, parent))
                self._known[parent, ids] = index
            found.append(index)
            parent, depth = index, depth + len(ids)
        self.paths[number] = found

    @property
    def branches(self) -> bool:
        """Whether the row is a tree and not a chain."""
        return any(segment.parent != index - 1 for index, segment in enumerate(self.segments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Tensors of some rows: ids ``[B, T]``, and positions ``[B, T]`` and mask ``[B, 1, T, T]`` for trees."""

    rows: list[TokenRow]
    ids: Tensor
    positions: Tensor | None
    mask: Tensor | None


def plain_rows(paths: Sequence[Path]) -> list[TokenRow]:
    """One row a path."""
    rows: list[TokenRow] = []
    for number, path in enumerate(paths):
        row = TokenRow()
        row.add(number, path)
        rows.append(row)
    return rows


def tree_rows(paths: Sequence[Path]) -> list[TokenRow]:
    """One row a prompt."""
    rows: dict[Ids, TokenRow] = {}
    for number, path in enumerate(paths):
        rows.setdefault(path[0], TokenRow()).add(number, path)
    return list(rows.values())


def to_tensors(rows: Sequence[TokenRow], *, pad_id: int = 0) -> Packed:
    """Pad rows at their end and stack them.

    Chains need neither mask nor positions: attention is causal, so that no token sees the padding behind it.
    """
    width = max(len(row.tokens) for row in rows)
    ids = torch.tensor([row.tokens + [pad_id] * (width - len(row.tokens)) for row in rows])
    if not any(row.branches for row in rows):
        return Packed(rows=list(rows), ids=ids, positions=None, mask=None)
    positions = torch.zeros_like(ids)
    mask = torch.eye(width, dtype=torch.bool).repeat(len(rows), 1, 1, 1)
    for index, row in enumerate(rows):
        length = len(row.tokens)
        positions[index, :length] = _depths(row)
        mask[index, 0, :length, :length] = _ancestors(row)
    return Packed(rows=list(rows), ids=ids, positions=positions, mask=mask)


def _depths(row: TokenRow) -> Tensor:
    parts = [torch.arange(one.stop - one.start) + one.depth for one in row.segments]
    return torch.cat(parts)


def _ancestors(row: TokenRow) -> Tensor:
    """``[T, T]``: whether the token of the line sees the token of the column."""
    related = torch.zeros(len(row.segments), len(row.segments), dtype=torch.bool)
    owner = torch.empty(len(row.tokens), dtype=torch.long)
    for index, segment in enumerate(row.segments):
        if segment.parent >= 0:
            related[index] = related[segment.parent]
        related[index, index] = True
        owner[segment.start : segment.stop] = index
    return related[owner][:, owner].tril()
