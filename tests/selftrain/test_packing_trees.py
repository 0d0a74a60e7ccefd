"""From a searched tree to token ids: what the policy generated, and end-of-text only where the text ended."""

from __future__ import annotations

import pytest

from selftrain.packing import TokenTree, token_tree
from tasks.base import Problem
from tasks.errors import DataError, UsageError
from treesearch.engines.base import FinishReason
from treesearch.events import Added, Step
from treesearch.tree import Tree

END, STOP, LENGTH = FinishReason.END, FinishReason.STOP, FinishReason.LENGTH


def searched(*steps: tuple[int, tuple[int, ...], FinishReason], stored: bool = True) -> Tree:
    tree = Tree(problem=Problem(id="p", question="q"))
    for parent, ids, finish in steps:
        logprobs = tuple(-0.5 for _ in ids) if stored else ()
        tree.commit([Added(parent, Step("text", ids, logprobs, finish), 1.0)])
    return tree


def test_segments_are_what_the_policy_generated_with_its_log_probs() -> None:
    tree = searched((0, (5, 6), STOP), (0, (7, 1), END), (1, (8,), LENGTH))
    found = token_tree(tree, [3, 4], end_ids=[1])
    assert found.segments == ((3, 4), (5, 6), (7, 1), (8,))
    assert found.parents == (-1, 0, 0, 1)
    assert found.logprobs == (None, (-0.5, -0.5), (-0.5, -0.5), (-0.5,))
    assert found.depth_first() == [0, 1, 3, 2]


def test_only_a_finished_step_without_an_end_token_gets_one_and_its_log_probs_count_as_unknown() -> None:
    tree = searched((0, (5,), END), (0, (6,), STOP), (0, (7,), LENGTH), (0, (8, 2), END))
    found = token_tree(tree, [3], end_ids=[1, 2])
    assert found.segments[1:] == ((5, 1), (6,), (7,), (8, 2))
    assert found.logprobs[1] is None
    assert found.logprobs[4] == (-0.5, -0.5)


@pytest.mark.parametrize(
    ("ids", "finish"), [((5, 1), STOP), ((5, 1), LENGTH), ((1, 5), STOP), ((1, 5, 1), END)]
)
def test_an_end_token_where_the_text_did_not_end_is_an_error(
    ids: tuple[int, ...], finish: FinishReason
) -> None:
    with pytest.raises(DataError, match="node 1 holds an end-of-text token where the text did not end"):
        token_tree(searched((0, ids, finish)), [3], end_ids=[1])


def test_a_server_without_log_probs_leaves_none_stored() -> None:
    found = token_tree(searched((0, (5, 6), STOP), stored=False), [3], end_ids=[1])
    assert found.logprobs == (None, None)


def test_a_step_without_tokens_stays_a_node() -> None:
    found = token_tree(searched((0, (), LENGTH)), [3], end_ids=[1])
    assert found.segments == ((3,), ())
    assert len(found) == 2


def test_parts_that_do_not_fit_together_are_errors() -> None:
    for message, segments, parents, logprobs in (
        ("at least one token", ((),), (-1,), ()),
        ("begin with -1", ((1,), (2,)), (0, 0), ()),
        ("parents come before children", ((1,), (2,), (3,)), (-1, 2, 0), ()),
        ("2 segments but 1 entries", ((1,), (2,)), (-1, 0), (None,)),
        ("node 1 has 1 tokens but 2 stored", ((1,), (2,)), (-1, 0), (None, (-1.0, -2.0))),
    ):
        with pytest.raises(UsageError, match=message):
            TokenTree(segments=segments, parents=parents, logprobs=logprobs)
    with pytest.raises(UsageError, match="end_ids is empty"):
        token_tree(searched(), [1], end_ids=[])
