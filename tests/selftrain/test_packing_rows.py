"""Where the nodes of trees stand in rows: properties of the placing, the mask, and the numbering of edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packing_worlds import token_trees

from selftrain.packing import EdgeIndex, TokenTree, dense_mask, pack, rows
from tasks.errors import UsageError

FORESTS = st.lists(token_trees(), min_size=1, max_size=4)


def longest_path(trees: list[TokenTree]) -> int:
    return max(s + len(i) for tree in trees for s, i in zip(tree.starts(), tree.segments, strict=True))


@settings(max_examples=60, deadline=None)
@given(FORESTS, st.integers(0, 30) | st.none(), st.data())
def test_every_wanted_edge_is_counted_once_and_stands_below_its_whole_path(
    trees: list[TokenTree], room: int | None, data: st.DataObject
) -> None:
    wanted = [data.draw(st.sets(st.integers(1, len(tree) - 1))) for tree in trees]
    limit = None if room is None else longest_path(trees) + room
    counted: list[tuple[int, int]] = []
    for row in rows(trees, row_tokens=limit, wanted=wanted):
        assert limit is None or row.tokens <= limit
        here: dict[tuple[int, int], int] = {}
        at = 0
        for place in row.places:
            assert place.start == at
            at = place.stop
            tree = trees[place.tree]
            assert place.stop - place.start == len(tree.segments[place.node])
            assert place.depth == tree.starts()[place.node]
            if place.node == 0:
                here = {}
                assert place.before == -1
            else:
                assert place.before == here[place.tree, tree.parents[place.node]]
            last = place.stop - 1 if place.stop > place.start else place.before
            here[place.tree, place.node] = last
            if place.counted:
                counted.append((place.tree, place.node))
    assert sorted(counted) == [
        (number, node) for number, nodes in enumerate(wanted) for node in sorted(nodes)
    ]


@settings(max_examples=60, deadline=None)
@given(FORESTS, st.integers(0, 30) | st.none())
def test_a_token_sees_the_tokens_of_its_own_path_up_to_itself_and_nothing_else(
    trees: list[TokenTree], room: int | None
) -> None:
    limit = None if room is None else longest_path(trees) + room
    filled = rows(trees, row_tokens=limit)
    (batch,) = pack(trees, row_tokens=limit, pad_id=50)
    seen = dense_mask(batch)[:, 0]
    for number, row in enumerate(filled):
        width = batch.ids.shape[1]
        assert (seen[number, row.tokens :] == torch.eye(width, dtype=torch.bool)[row.tokens :]).all()
        assert (batch.ids[number, row.tokens :] == 50).all()
        piece = -1
        starts: dict[tuple[int, int], int] = {}
        for place in row.places:
            piece += place.node == 0
            starts[piece, place.node] = place.start
            tree = trees[place.tree]
            path = [
                starts[piece, one] + offset
                for one in tree.path(place.node)
                for offset in range(len(tree.segments[one]))
            ]
            for at in range(place.start, place.stop):
                visible = seen[number, at].nonzero().flatten().tolist()
                assert visible == [one for one in path if one <= at]
                assert int(batch.positions[number, at]) == len(visible) - 1


def test_the_rows_of_a_small_tree_are_those_worked_out_by_hand() -> None:
    tree = TokenTree(segments=((1, 2), (3,), (4,), (), (5,), (6, 7)), parents=(-1, 0, 1, 1, 3, 0))
    (batch,) = pack([tree])
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 3, 2, 3]]
    assert batch.ends.tolist() == [[7, 7, 5, 4, 5, 7, 7]]
    assert batch.reads.tolist() == [1, 2, 2, 1, 5]
    assert batch.targets.tolist() == [3, 4, 5, 6, 7]
    assert batch.owners.tolist() == [1, 2, 4, 5, 5]
    assert (batch.depth, batch.tokens) == (4, 7)


def test_short_trees_share_a_row_and_a_long_one_is_cut_with_its_ancestors_repeated() -> None:
    short = TokenTree(segments=((1, 2), (3, 4)), parents=(-1, 0))
    assert [row.tokens for row in rows([short] * 5, row_tokens=8)] == [8, 8, 4]
    long = TokenTree(segments=((1, 2), (3,), (4, 5), (6, 7)), parents=(-1, 0, 1, 1))
    first, second = rows([long], row_tokens=5)
    assert [(p.node, p.counted) for p in first.places] == [(0, False), (1, True), (2, True)]
    assert [(p.node, p.counted) for p in second.places] == [(0, False), (1, False), (3, True)]


def test_a_tree_is_cut_above_a_subtree_that_fits_into_a_row_of_its_own_rather_than_inside_it() -> None:
    # three chains of 2 + 2 tokens below a prompt of 2: a cut inside the second would repeat its first node
    chains = TokenTree(segments=((1, 1),) * 7, parents=(-1, 0, 1, 0, 3, 0, 5))
    assert [row.tokens for row in rows([chains], row_tokens=9)] == [6, 6, 6]
    assert [row.tokens for row in rows([chains], row_tokens=10)] == [10, 6]
    # where it fits into no row, its own subtrees are looked at
    assert [row.tokens for row in rows([chains], row_tokens=6)] == [6, 6, 6]
    comb = TokenTree(segments=((1, 1),) * 5, parents=(-1, 0, 1, 1, 0))
    assert [row.tokens for row in rows([comb], row_tokens=6)] == [6, 6, 4]


def test_a_path_longer_than_a_row_is_an_error_that_names_it() -> None:
    tree = TokenTree(segments=((1, 2), (3, 4), (5,)), parents=(-1, 0, 1))
    with pytest.raises(UsageError, match="tree 0: the path to node 2 is 5 tokens, a row holds 4"):
        pack([tree], row_tokens=4)
    assert pack([tree], row_tokens=4, wanted=[{1}])[0].tokens == 4


def test_asking_for_nothing_or_for_nodes_that_are_not_there_is_an_error() -> None:
    tree = TokenTree(segments=((1,), (2,)), parents=(-1, 0))
    with pytest.raises(UsageError, match="no edge is wanted"):
        pack([tree], wanted=[[]])
    with pytest.raises(UsageError, match="nodes 0 to 1, not 7"):
        pack([tree], wanted=[[7]])
    with pytest.raises(UsageError, match="of 1 trees, but there are 2"):
        pack([tree, tree], wanted=[[1]])
    with pytest.raises(UsageError, match="at least 1"):
        pack([tree], row_tokens=0)


@settings(max_examples=40, deadline=None)
@given(FORESTS)
def test_sums_along_chains_are_the_sums_over_the_edges_of_the_path(trees: list[TokenTree]) -> None:
    index = EdgeIndex(trees)
    values = torch.arange(index.count, dtype=torch.float64) + 0.5
    spans = [(t, a, n) for t, tree in enumerate(trees) for n in range(len(tree)) for a in tree.path(n)]
    found = index.chains(spans).sums(values)
    for (number, above, node), value in zip(spans, found.tolist(), strict=True):
        below = [one for one in trees[number].path(node) if one not in trees[number].path(above)]
        assert value == pytest.approx(sum(float(values[index.edge(number, one)]) for one in below))


def test_lengths_and_stored_log_probs_have_the_numbers_of_the_edges() -> None:
    one = TokenTree(segments=((1,), (2, 3), (4,)), parents=(-1, 0, 0), logprobs=(None, (-1.0, -0.5), None))
    other = TokenTree(segments=((1, 1), ()), parents=(-1, 0))
    index = EdgeIndex([one, other])
    assert index.count == 5
    assert index.lengths().tolist() == [0, 2, 1, 0, 0]
    assert index.edges([(0, 1), (1, 1)]).tolist() == [1, 4]
    stored = index.stored().tolist()
    assert stored[:2] == [0.0, -1.5]
    assert stored[3] == 0.0
    assert math.isnan(stored[2])
    assert math.isnan(stored[4])


def test_an_edge_or_a_chain_that_does_not_exist_is_an_error() -> None:
    index = EdgeIndex([TokenTree(segments=((1,), (2,), (3,)), parents=(-1, 0, 0))])
    with pytest.raises(UsageError, match="no node 3 of tree 0"):
        index.edge(0, 3)
    with pytest.raises(UsageError, match="node 1 is not on the path to node 2"):
        index.chains([(0, 1, 2)])
