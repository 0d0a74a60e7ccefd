"""Pairs of sibling steps: Tree-PLV, step-level Q, Agent Q, and what a pair tells the loss."""

from __future__ import annotations

from itertools import combinations

import pytest
from builder_worlds import Step, opened, searched, trees
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.builders import Built
from selftrain.builders.agent_q import AgentQ
from selftrain.builders.merge import merge
from selftrain.data.record import Pair
from selftrain.data.searched import Searched

FEW = settings(max_examples=40)


def steps_of(built: Built) -> list[tuple[str, str]]:
    """Texts of the chosen and the rejected step of all pairs."""
    return [(tree.texts[p.chosen], tree.texts[p.rejected]) for tree in built.trees for p in tree.pairs]


def pairs_of(built: Built) -> list[Pair]:
    return [pair for tree in built.trees for pair in tree.pairs]


def three(*rolls: tuple[int, int]) -> Searched:
    """A question with one step for each of `rolls`, named a, b, c."""
    return searched(*(Step(text=f"{'abcd'[n]}\n", rolls=roll) for n, roll in enumerate(rolls)))


def test_tree_plv_pairs_siblings_whose_shares_differ_by_alpha_at_least() -> None:
    built = opened("tree-plv", alpha=0.375)([three((8, 8), (5, 8), (2, 8))])
    assert steps_of(built) == [("a\n", "c\n"), ("a\n", "b\n"), ("b\n", "c\n")]
    assert [(pair.q_chosen, pair.q_rejected) for pair in pairs_of(built)] == [
        (1, 0.25),
        (1, 0.625),
        (0.625, 0.25),
    ]
    assert built.counts == {"kept.tree-plv": 3}
    larger = opened("tree-plv", alpha=0.5)([three((8, 8), (5, 8), (2, 8))])
    assert steps_of(larger) == [("a\n", "c\n")]
    assert larger.counts == {"dropped.gap": 2, "kept.tree-plv": 1}


def test_an_alpha_above_one_gives_nothing_and_ties_never_pair() -> None:
    assert opened("tree-plv", alpha=1 + 1e-6)([three((8, 8), (0, 8))]).counts == {"dropped.gap": 1}
    assert opened("tree-plv")([three((4, 8), (2, 4))]).counts == {"dropped.tie": 1}


def test_one_text_in_two_tokenisations_never_pairs() -> None:
    from dataclasses import replace

    from selftrain.packing import TokenTree

    tree = three((8, 8), (0, 8))
    twin = replace(tree, texts=(tree.texts[0], "a\n", "a\n"))
    assert twin.tree.segments[1] != twin.tree.segments[2]
    assert opened("tree-plv")([twin]).counts == {"dropped.duplicate": 1}
    ended = replace(
        twin,
        tree=TokenTree(segments=(*tree.tree.segments[:2], (*tree.tree.segments[1], 1)), parents=(-1, 0, 0)),
        finished=(False, False, True),
    )
    assert opened("tree-plv")([ended]).counts == {"dropped.duplicate": 1}


def test_of_one_text_in_two_tokenisations_the_one_that_is_known_better_speaks() -> None:
    from dataclasses import replace

    tree = three((0, 8), (2, 2), (4, 8))
    twins = replace(tree, texts=(tree.texts[0], "a\n", "a\n", "c\n"))
    built = opened("tree-plv")([twins])
    assert steps_of(built) == [("c\n", "a\n")]
    assert pairs_of(built)[0].rejected == 1
    assert built.counts == {"dropped.duplicate": 1, "kept.tree-plv": 1}


def test_a_least_number_of_outcomes_keeps_noise_out() -> None:
    built = opened("tree-plv", min_count=4)([three((8, 8), (0, 8), (1, 2))])
    assert steps_of(built) == [("a\n", "b\n")]
    assert built.counts["dropped.few_outcomes"] == 1


@FEW
@given(tree=trees(graded=True), alpha=st.sampled_from([0.2, 0.375, 0.5, 1.0]))
def test_tree_plv_has_every_pair_with_the_gap_and_no_other(tree: Searched, alpha: float) -> None:
    one = merge([tree]).searched
    wanted: set[tuple[str, str, int]] = set()
    for state, children in enumerate(one.tree.children()):
        for x, y in combinations([child for child in children if one.outcomes[child]], 2):
            share = {node: one.right[node] / one.outcomes[node] for node in (x, y)}
            high, low = sorted((x, y), key=lambda node: -share[node])
            if share[high] - share[low] >= alpha - 1e-12 and one.texts[x] != one.texts[y]:
                wanted.add((one.texts[high], one.texts[low], state))
    built = opened("tree-plv", alpha=alpha)([tree])
    found = {(t.texts[p.chosen], t.texts[p.rejected], p.above) for t in built.trees for p in t.pairs}
    twins = built.counts.get("dropped.duplicate", 0)
    assert found <= wanted
    assert twins or found == wanted


@FEW
@given(tree=trees(graded=True))
def test_a_larger_alpha_takes_pairs_away_and_adds_none(tree: Searched) -> None:
    found = [
        set(steps_and_states(opened("tree-plv", alpha=alpha)([tree]))) for alpha in (0.1, 0.3, 0.7, 1.01)
    ]
    assert found[0] >= found[1] >= found[2] >= found[3]
    assert not found[3]


def steps_and_states(built: Built) -> list[tuple[int, int, int]]:
    return [(pair.above, pair.chosen, pair.rejected) for pair in pairs_of(built)]


def deep() -> Searched:
    """A right solution a-b-c with siblings of lower, equal and unknown value."""
    return searched(
        Step(text="a\n", q=0.9, visits=5),
        Step(text="x\n", q=0.2, visits=3),
        Step(text="y\n", q=0.5, visits=2),
        Step(parent=1, text="b\n", q=0.8, visits=4),
        Step(parent=1, text="z\n", q=0.8, visits=1),
        Step(parent=4, text="c", correct=True, q=1.0, visits=2),
        Step(parent=4, text="w", correct=False),
    )


def test_step_q_pairs_the_best_path_with_its_worst_siblings_and_skips_ties() -> None:
    built = opened("step-q")([deep()])
    assert steps_of(built) == [("a\n", "x\n")]
    pair = pairs_of(built)[0]
    assert (pair.q_chosen, pair.q_rejected, pair.visits_chosen, pair.visits_rejected) == (0.9, 0.2, 5, 3)
    assert built.counts == {
        "dropped.no_value": 1,
        "dropped.single": 1,
        "dropped.tie": 1,
        "kept.step-q": 1,
    }


def test_the_best_path_is_that_of_the_best_right_solution_or_of_the_highest_value() -> None:
    tree = searched(
        Step(text="a", correct=True, q=0.6, visits=2),
        Step(text="b", correct=False, q=0.9, visits=2),
        Step(text="c", correct=True, q=0.1, visits=2),
    )
    assert steps_of(opened("step-q")([tree])) == [("a", "c")]
    assert steps_of(opened("step-q", best="value")([tree])) == [("b", "c")]
    wrong = searched(Step(text="b", correct=False, q=0.9, visits=2), Step(text="c\n", q=0.1, visits=1))
    assert opened("step-q")([wrong]).counts == {"dropped.no_right": 1}
    assert steps_of(opened("step-q", best="value")([wrong])) == [("b", "c\n")]


def test_step_q_prefers_nothing_that_is_worth_less_than_all_its_siblings() -> None:
    tree = searched(
        Step(text="a\n", q=0.1, visits=1),
        Step(text="b\n", q=0.5, visits=1),
        Step(parent=1, text="c", correct=True, q=1.0, visits=1),
    )
    assert opened("step-q")([tree]).counts == {"dropped.gap": 1, "dropped.single": 1}


def mixed_tree() -> Searched:
    return searched(
        Step(text="a\n", q=0.9, visits=4, value=0.1),
        Step(text="b\n", q=0.3, visits=4, value=0.5),
        Step(text="c\n", value=0.2),
    )


def test_agent_q_mixes_the_search_and_the_critic_and_takes_the_critic_alone_where_nothing_was_visited() -> (
    None
):
    mixed = AgentQ(alpha=0.25).mixed(mixed_tree(), [1, 2, 3])
    assert mixed == {1: 0.25 * 0.9 + 0.75 * 0.1, 2: 0.25 * 0.3 + 0.75 * 0.5, 3: 0.2}


def test_agent_q_with_alpha_one_is_the_search_and_with_alpha_zero_the_critics_ranks() -> None:
    only = opened("agent-q", alpha=1.0, theta=0.0)([mixed_tree()])
    assert steps_of(only) == [("a\n", "b\n")]
    assert only.counts == {"dropped.no_value": 1, "kept.agent-q": 1}
    ranks = opened("agent-q", alpha=0.0, theta=0.0, critic="rank")([mixed_tree()])
    assert steps_of(ranks) == [("b\n", "a\n"), ("b\n", "c\n"), ("c\n", "a\n")]
    assert [pair.q_chosen for pair in pairs_of(ranks)] == [1, 1, 0.5]
    assert [pair.q_rejected for pair in pairs_of(ranks)] == [1 / 3, 0.5, 1 / 3]


def test_equal_scores_share_the_better_rank() -> None:
    tree = searched(Step(text="a\n", value=0.5), Step(text="b\n", value=0.5), Step(text="c\n", value=0.1))
    assert AgentQ(alpha=0.0, critic="rank").mixed(tree, [1, 2, 3]) == {1: 1, 2: 1, 3: 1 / 3}


@FEW
@given(tree=trees(), alpha=st.sampled_from([0.0, 0.5, 1.0]), critic=st.sampled_from(["value", "rank"]))
def test_agent_qs_pairs_shrink_as_theta_grows_with_and_without_a_cap(
    tree: Searched, alpha: float, critic: str
) -> None:
    for cap in (None, 2):
        found: list[set[tuple[int, int, int]]] = []
        for theta in (0.0, 0.2, 0.5, 1.0):
            built = opened("agent-q", alpha=alpha, theta=theta, critic=critic, max_pairs=cap)([tree])
            found.append(set(steps_and_states(built)))
            for pair in pairs_of(built):
                assert pair.q_chosen is not None
                assert pair.q_rejected is not None
                assert pair.q_chosen - pair.q_rejected > theta
        assert found[0] >= found[1] >= found[2] >= found[3]


def test_a_cap_keeps_the_largest_gaps() -> None:
    built = opened("tree-plv", max_pairs=1)([three((8, 8), (4, 8), (0, 8))])
    assert steps_of(built) == [("a\n", "c\n")]
    assert built.counts == {"dropped.cap": 2, "kept.tree-plv": 1}


def test_a_pair_may_carry_its_gap_as_weight_or_offset_and_its_visits_as_smoothing() -> None:
    tree = searched(Step(text="a\n", q=0.9, visits=3), Step(text="b\n", q=0.4, visits=1))
    plain = pairs_of(opened("tree-plv", value="q")([tree]))[0]
    assert (plain.weight, plain.offset, plain.smoothing) == (1.0, 0.0, 0.0)
    told = pairs_of(
        opened("tree-plv", value="q", gap_weight=True, gap_offset=2, visit_smoothing=True)([tree])
    )[0]
    assert told.weight == pytest.approx(0.5)
    assert told.offset == pytest.approx(1.0)
    # MCTS-DPO: 1 / (N+ / N- + 1).
    assert told.smoothing == pytest.approx(1 / (3 / 1 + 1))


def test_smoothing_by_visits_is_at_most_one_half_and_zero_without_visits() -> None:
    tree = searched(Step(text="a\n", q=0.9, visits=1), Step(text="b\n", q=0.4, visits=9))
    assert pairs_of(opened("tree-plv", value="q", visit_smoothing=True)([tree]))[0].smoothing == 0.5
    unvisited = three((8, 8), (0, 8))
    assert pairs_of(opened("tree-plv", visit_smoothing=True)([unvisited]))[0].smoothing == 0.0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("q", [("a\n", "b\n")]),
        ("value", [("b\n", "a\n")]),
        ("worth", [("a\n", "b\n")]),
        ("outcome", [("b\n", "a\n")]),
    ],
)
def test_the_value_rule_decides_which_step_is_better(rule: str, expected: list[tuple[str, str]]) -> None:
    tree = searched(
        Step(text="a\n", q=0.9, visits=1, value=0.1, rolls=(0, 4)),
        Step(text="b\n", q=0.2, visits=1, value=0.8, rolls=(4, 4)),
    )
    assert steps_of(opened("tree-plv", value=rule)([tree])) == expected


def test_the_mean_log_prob_of_a_path_needs_all_of_it_stored() -> None:
    tree = searched(Step(text="a\n"), Step(parent=1, text="b\n"))
    from selftrain.builders.values import node_value

    stored = [value for node in (1, 2) for value in tree.tree.logprobs[node] or ()]
    assert node_value(tree, 2, "logprob") == pytest.approx(sum(stored) / 4)
    assert node_value(searched(Step(text="a\n"), stored=False), 1, "logprob") is None
    assert node_value(tree, 0, "logprob") is None


@pytest.mark.parametrize(("high", "low"), [(0.8, 0.7), (0.6, 0.5), (0.4, 0.3), (0.3, 0.2)])
def test_a_gap_of_theta_is_no_more_than_theta_whatever_it_rounds_to(high: float, low: float) -> None:
    tree = searched(Step(text="a\n", value=high), Step(text="b\n", value=low))
    assert opened("agent-q", alpha=0, theta=0.1)([tree]).counts == {"dropped.gap": 1}
