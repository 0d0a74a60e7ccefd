"""Which nodes of which trees stand where in which row.

Contract: `rows` places the nodes that are wanted, and everything above them, so that

- each wanted node is *counted* in exactly one place, and every ancestor of a placed node stands in the same
  row;
- within a row the nodes of a tree are in depth-first order, so that a subtree is one stretch of tokens. A
  token therefore sees another one if and only if it is not before it and still inside the other's subtree;
- a tree longer than a row is cut at nodes, and each further piece repeats the ancestors of its first node,
  not counted again. It is cut above a subtree that would fit into a piece of its own rather than inside it,
  which repeats less. Pieces then fill the rows, the longest first, each into the first row with room.

The same trees give the same rows. No tensors here. Sources: tree packing as in Tree Training (arXiv
2511.00413); first-fit decreasing: Johnson (1973). Deviation: Tree Training restores gradients of split
trees by hand; here a repeated ancestor is simply computed again, and autograd adds the parts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from selftrain.packing.tree import TokenTree
from tasks.errors import UsageError
from treesearch.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node in a row.

    Its tokens are at ``start .. stop - 1`` of the row; its subtree ends before `end`. `depth` is the depth
    in tokens of its first token. `before` is the place of the token that predicts its first token: the last
    one of its parent, wherever that stands (-1 for a prompt). `counted`: whether its log-probs are read
    here.
    """

    tree: int
    node: int
    start: int
    stop: int
    end: int
    depth: int
    before: int
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row: its places in order. Empty segments have places too."""

    places: tuple[Place, ...]

    @property
    def tokens(self) -> int:
        """Length of the row, without padding."""
        return self.places[-1].stop


_Piece = list[tuple[int, bool]]
"""Nodes of one tree in depth-first order, and whether each is counted."""


def rows(
    trees: Sequence[TokenTree],
    *,
    row_tokens: int | None = None,
    wanted: Sequence[Collection[int]] | None = None,
) -> list[Row]:
    """The rows of `trees`, each at most `row_tokens` long (None: as long as the longest tree, uncut).

    `wanted` names for each tree the nodes whose log-probs are asked for (None: all); others are left out
    unless they are above one. `UsageError` if a path to a wanted node alone is longer than a row.
    """
    if wanted is not None and len(wanted) != len(trees):
        raise UsageError(f"wanted names nodes of {len(wanted)} trees, but there are {len(trees)}")
    pieces: list[tuple[int, int, _Piece]] = []
    for number, tree in enumerate(trees):
        asked = set(range(1, len(tree))) if wanted is None else set(wanted[number]) - {ROOT}
        for piece in _pieces(tree, number, asked, row_tokens):
            pieces.append((sum(len(tree.segments[node]) for node, _ in piece), number, piece))
    limit = row_tokens or max((size for size, _, _ in pieces), default=0)
    return [_row(trees, filled) for filled in _fill(pieces, limit)]


def _pieces(tree: TokenTree, number: int, asked: set[int], row_tokens: int | None) -> list[_Piece]:
    """The tree's nodes, cut where the next one does not fit, or its subtree only into a fresh piece."""
    kept = tree.with_ancestors(asked)
    order = [node for node in tree.depth_first() if node in kept]
    depths, below = tree.starts(), _subtree_tokens(tree, order)
    done: list[_Piece] = []
    piece, size = _Piece(), 0
    for node in order:
        length = len(tree.segments[node])
        if row_tokens is not None and (
            size + length > row_tokens or depths[node] + below[node] <= row_tokens < size + below[node]
        ):
            done.append(piece)
            piece = [(above, False) for above in tree.path(node)[:-1]]
            size = depths[node]
            if size + length > row_tokens:
                raise UsageError(
                    f"tree {number}: the path to node {node} is {size + length} tokens, a row holds "
                    f"{row_tokens}; raise row_tokens or leave the node out"
                )
        piece.append((node, node in asked))
        size += length
    return [trimmed for one in (*done, piece) if (trimmed := _trim(one))]


def _subtree_tokens(tree: TokenTree, order: Sequence[int]) -> dict[int, int]:
    """Tokens of each node of `order` (depth-first) and of those of them below it."""
    found = {node: len(tree.segments[node]) for node in order}
    for node in reversed(order):
        if node != ROOT:
            found[tree.parents[node]] += found[node]
    return found


def _trim(piece: _Piece) -> _Piece:
    """The piece without what stands behind its last counted node."""
    stop = max((index + 1 for index, (_, counted) in enumerate(piece) if counted), default=0)
    return piece[:stop]


def _fill(pieces: list[tuple[int, int, _Piece]], limit: int) -> list[list[tuple[int, _Piece]]]:
    """First-fit decreasing; pieces of equal size keep their order."""
    filled: list[list[tuple[int, _Piece]]] = []
    room: list[int] = []
    for size, number, piece in sorted(pieces, key=lambda one: -one[0]):
        at = next((index for index, left in enumerate(room) if left >= size), None)
        if at is None:
            at = len(filled)
            filled.append([])
            room.append(limit)
        filled[at].append((number, piece))
        room[at] -= size
    return filled


def _row(trees: Sequence[TokenTree], filled: Sequence[tuple[int, _Piece]]) -> Row:
    places: list[Place] = []
    at = 0
    for number, piece in filled:
        added = _places(trees[number], number, piece, at)
        places.extend(added)
        at = added[-1].stop
    return Row(places=tuple(places))


def _places(tree: TokenTree, number: int, piece: _Piece, at: int) -> list[Place]:
    """Places of a piece whose first token is at `at`."""
    depths = tree.starts()
    start: dict[int, int] = {}
    last: dict[int, int] = {}
    """Place of the last token of the path to each node."""
    for node, _ in piece:
        start[node] = at
        at += len(tree.segments[node])
        last[node] = at - 1 if tree.segments[node] else last[tree.parents[node]]
    end = {node: start[node] + len(tree.segments[node]) for node, _ in piece}
    for node, _ in reversed(piece):
        if node != ROOT:
            end[tree.parents[node]] = max(end[tree.parents[node]], end[node])
    return [
        Place(
            tree=number,
            node=node,
            start=start[node],
            stop=start[node] + len(tree.segments[node]),
            end=end[node],
            depth=depths[node],
            before=-1 if node == ROOT else last[tree.parents[node]],
            counted=counted,
        )
        for node, counted in piece
    ]
