"""Trees of one problem become one, and equal siblings one node, with everything known of them added up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builder_worlds import Step, opened, samples, searched, trace_texts, trees
from hypothesis import given, settings

from selftrain.builders import merge
from selftrain.builders.merge import by_problem
from selftrain.data.searched import Searched
from tasks.errors import DataError


def test_equal_siblings_add_up_their_outcomes_and_visits_and_average_their_values() -> None:
    tree = searched(
        Step(text="a\n", value=0.2, q=0.5, visits=1, rolls=(1, 2)),
        Step(text="a\n", value=0.6, q=0.8, visits=3, rolls=(0, 1)),
        Step(parent=1, text="b", correct=True),
        Step(parent=2, text="c", correct=False),
    )
    found = merge([tree])
    assert found.places == ((0, 1, 1, 2, 3),)
    one = found.searched
    assert one.texts[1:] == ("a\n", "b", "c")
    assert one.tree.parents == (-1, 0, 1, 1)
    assert (one.outcomes[1], one.right[1], one.visits[1]) == (5, 2, 4)
    assert one.q[1] == pytest.approx((0.5 + 3 * 0.8) / 4)
    assert one.values[1] == pytest.approx(0.4)
    assert one.outcomes[0] == tree.outcomes[0]


def test_a_step_that_ended_the_text_is_not_the_one_that_did_not() -> None:
    tree = searched(Step(text="a", correct=True), Step(text="a"))
    assert merge([tree]).searched is tree


def test_a_tree_without_equal_siblings_keeps_the_numbers_of_the_search() -> None:
    tree = searched(Step(text="a\n"), Step(text="b\n"), Step(parent=1, text="c", correct=True))
    assert by_problem([tree])[0] is tree


def test_two_trees_of_a_problem_are_one_tree_below_one_prompt() -> None:
    one = searched(Step(text="a\n"), Step(parent=1, text="b", correct=True))
    two = searched(Step(text="a\n"), Step(parent=1, text="c", correct=False))
    found = merge([one, two])
    assert found.searched.texts[1:] == ("a\n", "b", "c")
    assert found.places == ((0, 1, 2), (0, 1, 3))


def test_a_cap_counts_a_problem_once_however_many_trees_it_has() -> None:
    forest = [
        samples(("one", True, 0.1)),
        samples(("two", True, 0.9)),
        samples(("one", True, 0.1), problem="q"),
    ]
    built = opened("sft", max_traces=1, pick="value")(forest)
    assert trace_texts(built.trees) == ["two", "one"]
    assert built.counts == {"dropped.cap": 1, "kept.sft": 2}


def test_stored_log_probs_are_those_of_the_first_that_has_them() -> None:
    without = searched(Step(text="a", correct=True), stored=False)
    with_them = searched(Step(text="a", correct=True))
    assert merge([without, with_them]).searched.tree.logprobs[1] == with_them.tree.logprobs[1]
    assert merge([without, without]).searched.tree.logprobs[1] is None


def test_trees_of_different_problems_are_never_one() -> None:
    with pytest.raises(DataError, match="not of one problem"):
        merge([samples(("a", True, None)), samples(("a", True, None), problem="q")])


@settings(max_examples=40)
@given(tree=trees())
def test_merging_loses_no_outcome_and_leaves_no_equal_siblings(tree: Searched) -> None:
    one = merge([tree, tree]).searched
    assert (one.outcomes[0], one.right[0], one.visits[0]) == (
        2 * tree.outcomes[0],
        2 * tree.right[0],
        2 * tree.visits[0],
    )
    for children in one.tree.children():
        keys = [(one.tree.segments[node], one.finished[node]) for node in children]
        assert len(set(keys)) == len(keys)
    assert merge([one]).searched is one


def test_which_log_probs_stay_does_not_depend_on_the_order_of_the_trees() -> None:
    one = samples(("a", True, 0.5), ("b", False, 0.1))
    assert one.tree.logprobs
    moved = tuple(stored and tuple(log_prob - 1e-3 for log_prob in stored) for stored in one.tree.logprobs)
    two = replace(one, tree=replace(one.tree, logprobs=moved))
    assert by_problem([one, two]) == by_problem([two, one])
