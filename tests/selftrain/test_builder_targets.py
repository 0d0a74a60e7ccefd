"""Targets of steps and advantages among siblings, against formulas worked out another way."""

from __future__ import annotations

import math

import pytest
from builder_worlds import END, Step, opened, searched, trees
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.builders import Built
from selftrain.builders.merge import merge
from selftrain.builders.targets import Targets
from selftrain.data.record import Target
from selftrain.data.searched import Searched

FEW = settings(max_examples=40)


def targets_of(built: Built) -> dict[int, Target]:
    return {one.node: one for tree in built.trees for one in tree.targets}


def values_of(rule: str, tree: Searched, **more: object) -> dict[int, float]:
    return {node: one.value for node, one in targets_of(opened("targets", rule=rule, **more)([tree])).items()}


def family() -> Searched:
    """Two first steps; the first leads to a right and a wrong end, the second to a wrong one."""
    return searched(
        Step(text="a\n", q=0.6, visits=4),
        Step(text="b\n", q=-0.5, visits=1),
        Step(parent=1, text="c", correct=True, q=1.5, visits=2),
        Step(parent=1, text="d", correct=False),
        Step(parent=2, text="e", correct=False),
    )


def test_soft_is_the_share_of_right_outcomes_and_hard_whether_there_is_one() -> None:
    assert values_of("soft", family()) == {1: 0.5, 2: 0.0, 3: 1.0, 4: 0.0, 5: 0.0}
    assert values_of("hard", family()) == {1: 1.0, 2: 0.0, 3: 1.0, 4: 0.0, 5: 0.0}
    first = targets_of(opened("targets")([family()]))[1]
    assert (first.right, first.completions, first.kind) == (1, 2, "soft")


def test_backed_up_values_are_cut_to_0_to_1_and_need_a_visit() -> None:
    built = opened("targets", rule="tree")([family()])
    assert {node: one.value for node, one in targets_of(built).items()} == {1: 0.6, 2: 0.0, 3: 1.0}
    assert built.counts == {"dropped.no_value": 2, "kept.tree": 3}


def test_steps_with_few_outcomes_get_no_target() -> None:
    built = opened("targets", min_outcomes=2)([family()])
    assert set(targets_of(built)) == {1}
    assert built.counts == {"dropped.few_outcomes": 4, "kept.soft": 1}


def brute_quality(tree: Searched) -> dict[int, float]:
    """ReST-MCTS* by its definition: m by looking at every right leaf below, from the nearest that has one."""
    right = [node for node in tree.solutions if tree.correct[node]]

    def remaining(node: int) -> int | None:
        ways = [
            len(tree.tree.path(leaf)) - len(tree.tree.path(node))
            for leaf in right
            if node in tree.tree.path(leaf)
        ]
        return min(ways, default=None)

    found = {0: 0.0}
    for node in range(1, len(tree.tree)):
        before = found[tree.tree.parents[node]]
        own = remaining(node)
        near = next(one for one in reversed(tree.tree.path(node)) if remaining(one) is not None)
        m = own if own is not None else remaining(near) or 0
        found[node] = max(before + (1 - before) / (m + 1) * (1 if own is not None else -1), 0.0)
    return found


@FEW
@given(tree=trees(graded=True))
def test_quality_values_are_those_of_the_definition(tree: Searched) -> None:
    from dataclasses import replace

    # Without roll-outs, of which a searched tree keeps no length.
    count = len(tree.tree)
    outcomes, right = [0] * count, [0] * count
    for node in range(count - 1, -1, -1):
        outcomes[node] += tree.finished[node]
        right[node] += tree.correct[node] is True
        if node:
            outcomes[tree.tree.parents[node]] += outcomes[node]
            right[tree.tree.parents[node]] += right[node]
    one = merge([replace(tree, outcomes=tuple(outcomes), right=tuple(right))]).searched
    built = opened("targets", rule="quality")([one])
    if not one.right[0]:
        assert built.trees == ()
        return
    wanted = brute_quality(one)
    for node, target in targets_of(built).items():
        assert target.value == pytest.approx(wanted[node])
        assert 0 <= target.value <= 1
    assert set(targets_of(built)) == {node for node in range(1, len(one.tree)) if one.outcomes[node]}


def test_on_a_right_chain_of_k_steps_the_quality_of_step_k_is_k_over_all() -> None:
    chain = searched(
        Step(text="a\n"),
        Step(parent=1, text="b\n"),
        Step(parent=2, text="c\n"),
        Step(parent=3, text="d", correct=True),
    )
    assert values_of("quality", chain) == pytest.approx({1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0})


def test_a_wrong_step_has_a_lower_quality_than_its_right_sibling() -> None:
    found = values_of("quality", family())
    assert found[2] < found[1]
    assert found[4] < found[3]


def test_a_right_roll_out_counts_as_one_further_step() -> None:
    rolled = searched(Step(text="a\n", rolls=(1, 2)), Step(text="b\n", rolls=(0, 2)))
    # One step, then the roll-out: m is 1 at a and 2 at the question.
    assert values_of("quality", rolled) == pytest.approx({1: 0.5, 2: 0.0})


def test_a_step_without_outcomes_is_not_called_wrong() -> None:
    tree = searched(Step(text="a", correct=True), Step(text="b\n"))
    built = opened("targets", rule="quality")([tree])
    assert {node: one.value for node, one in targets_of(built).items()} == {1: 1.0}
    assert built.counts == {"dropped.no_value": 1, "kept.quality": 1}


def test_a_problem_without_a_right_outcome_has_no_quality() -> None:
    built = opened("targets", rule="quality")([searched(Step(text="a", correct=False))])
    assert built.counts == {"dropped.no_right": 1}


@FEW
@given(tree=trees(graded=True))
def test_dual_sided_labels_are_soft_ones_without_a_penalty_and_in_range_with_one(tree: Searched) -> None:
    assert values_of("dual", tree, penalty=0) == pytest.approx(values_of("soft", tree))
    soft = values_of("soft", tree)
    for node, value in values_of("dual", tree, penalty=0.7).items():
        assert 0 <= value <= soft[node] + 1e-12


def test_dual_sided_labels_leave_rising_chains_alone_and_punish_a_fall() -> None:
    def chain(*shares: tuple[int, int]) -> Searched:
        """Steps one below the other with these shares of right outcomes at each alone."""
        return searched(
            *(Step(parent=n, text=f"{n}\n", rolls=shares[n]) for n in range(len(shares))),
        )

    rising = chain((0, 4), (1, 2), (2, 2))
    soft = values_of("soft", rising)
    assert sorted(soft.values()) == list(soft.values())
    assert values_of("dual", rising, penalty=0.5) == pytest.approx(soft)
    # 0.4, 0.25, 0: the middle step loses 0.15 and does not win it back.
    falling = chain((1, 1), (1, 2), (0, 2))
    assert values_of("soft", falling) == pytest.approx({1: 2 / 5, 2: 1 / 4, 3: 0})
    assert values_of("dual", falling, penalty=0.5) == pytest.approx(
        {1: 2 / 5, 2: 1 / 4 - 0.5 * (2 / 5 - 1 / 4), 3: 0}
    )


def test_a_step_that_two_solutions_share_has_the_mean_of_its_dual_sided_labels() -> None:
    tree = searched(
        Step(text="a\n", rolls=(3, 3)),
        Step(parent=1, text="b\n", rolls=(0, 1)),
        Step(parent=2, text="c", correct=True),
        Step(parent=2, text="d", correct=False),
    )
    soft = values_of("soft", tree)
    # To c the dip is won back, to d it is not.
    expected = (soft[2] + soft[2] - 0.5 * (soft[1] - soft[2])) / 2
    assert values_of("dual", tree)[2] == pytest.approx(expected)


def test_targets_of_a_rule_say_how_each_node_is_valued() -> None:
    assert Targets(rule="soft").values(family()) == [1 / 3, 0.5, 0.0, 1.0, 0.0, 0.0]


def test_advantages_are_values_less_their_mean_in_each_state() -> None:
    tree = searched(
        Step(text="a\n", value=0.9),
        Step(text="b\n", value=0.3),
        Step(text="c\n", value=0.6),
        Step(parent=1, text="d\n", value=0.5),
        Step(parent=1, text="e\n", value=0.55),
        Step(parent=2, text="f\n", value=0.4),
    )
    built = opened("advantages")([tree])
    found = built.trees[0].advantages
    assert [one.state for one in found] == [0]
    assert dict(zip(found[0].nodes, found[0].advantages, strict=True)) == pytest.approx(
        {1: 0.3, 2: -0.3, 3: 0.0}
    )
    assert built.counts == {"dropped.single": 1, "dropped.spread": 1, "kept.advantages": 1}


def test_children_of_one_text_are_one_in_a_states_mean() -> None:
    twins = searched(Step(text="a\n", value=1.0), Step(text="a\n", value=1.0), Step(text="b\n", value=0.0))
    found = opened("advantages")([twins]).trees[0].advantages[0]
    assert found.advantages == (0.5, -0.5)


@FEW
@given(
    tree=trees(),
    rule=st.sampled_from(["q", "value", "worth", "outcome"]),
    least=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_advantages_sum_to_zero_and_span_what_is_asked_for(tree: Searched, rule: str, least: float) -> None:
    built = opened("advantages", value=rule, min_spread=least)([tree])
    for made in built.trees:
        for found in made.advantages:
            assert math.fsum(found.advantages) == pytest.approx(0, abs=1e-12)
            assert max(found.advantages) - min(found.advantages) >= least - 1e-9
            assert len(found.nodes) >= 2
            said = {(made.texts[node], made.tree.segments[node][-1:] == (END,)) for node in found.nodes}
            assert len(said) == len(found.nodes)
            assert all(made.tree.parents[node] == found.state for node in found.nodes)


def test_a_cap_of_states_keeps_those_of_the_largest_spread() -> None:
    tree = searched(
        Step(text="a\n", value=0.5),
        Step(text="b\n", value=0.3),
        Step(parent=1, text="c\n", value=1.0),
        Step(parent=1, text="d\n", value=0.0),
    )
    built = opened("advantages", max_states=1)([tree])
    assert [one.state for one in built.trees[0].advantages] == [1]
    assert built.counts == {"dropped.cap": 1, "kept.advantages": 1}


@pytest.mark.parametrize("rule", ["soft", "hard", "quality", "dual"])
def test_solutions_that_nobody_graded_have_no_targets_for_want_of_a_gold(rule: str) -> None:
    tree = searched(Step(text="a", correct=True), Step(text="b", correct=False), graded=False)
    assert opened("targets", rule=rule)([tree]).counts == {"dropped.no_gold": 1}
    assert opened("targets", rule=rule)([searched(Step(text="a\n"))]).counts == {"dropped.no_solution": 1}
