"""Solutions to imitate and graded ones: filters, caps, diversity, presets, policy filtration."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
from builder_worlds import Step, chain_ids, chain_text, opened, samples, searched, trace_texts, trees
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.builders.diversity import edit_distance, ngram_distance, spread_out
from selftrain.builders.graded import Filtered, reliability
from selftrain.builders.traces import Traces
from selftrain.data.searched import Searched
from tasks.errors import UsageError

SEQUENCES = st.lists(st.integers(0, 3), max_size=8)


def levenshtein(one: list[int], other: list[int]) -> int:
    """The textbook recursion."""
    if not one or not other:
        return len(one) + len(other)
    if one[-1] == other[-1]:
        return levenshtein(one[:-1], other[:-1])
    return 1 + min(
        levenshtein(one[:-1], other), levenshtein(one, other[:-1]), levenshtein(one[:-1], other[:-1])
    )


@settings(max_examples=40)
@given(one=SEQUENCES.map(lambda x: x[:5]), other=SEQUENCES.map(lambda x: x[:5]))
def test_the_edit_distance_is_levenshteins_over_the_longer_length(one: list[int], other: list[int]) -> None:
    longest = max(len(one), len(other), 1)
    assert edit_distance(one, other) == pytest.approx(levenshtein(one, other) / longest)


@settings(max_examples=40)
@given(one=SEQUENCES, other=SEQUENCES)
def test_distances_are_symmetric_in_0_to_1_and_0_for_equal_sequences(
    one: list[int], other: list[int]
) -> None:
    for distance in (edit_distance, ngram_distance):
        assert distance(one, other) == pytest.approx(distance(other, one))
        assert 0 <= distance(one, other) <= 1
        assert distance(one, one) == 0


def test_the_n_gram_distance_is_one_less_the_shared_share() -> None:
    # abcd has abc and bcd, bcde has bcd and cde: one of three is shared.
    assert ngram_distance([1, 2, 3, 4], [2, 3, 4, 5]) == pytest.approx(1 - 1 / 3)


@settings(max_examples=30)
@given(items=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=7))
def test_greedy_choice_takes_the_farthest_each_time(items: list[list[int]]) -> None:
    taken, near = spread_out(items, lambda x: x, edit_distance, count=None, least=0.0)
    assert near == 0
    assert sorted(map(tuple, taken)) == sorted(map(tuple, items))
    assert taken[0] == items[0]
    reached = [min(edit_distance(taken[k], before) for before in taken[:k]) for k in range(1, len(taken))]
    for k, distance in enumerate(reached, 1):
        assert distance == max(min(edit_distance(x, y) for y in taken[:k]) for x in taken[k:])
    assert all(first >= second for first, second in pairwise(reached))


def test_only_right_solutions_are_kept_the_best_first() -> None:
    tree = samples(("low", True, 0.1), ("wrong", False, 1.0), ("high", True, 0.9), ("none", True, None))
    built = opened("sft", pick="value", max_traces=2)([tree])
    assert trace_texts(built.trees) == ["high", "low"]
    assert built.trees[0].traces[0].right is True
    assert built.counts == {"dropped.cap": 1, "kept.sft": 2}


def test_diverse_choice_prefers_a_different_solution_to_a_better_copy() -> None:
    tree = samples(("aaaaaaaa", True, 0.9), ("aaaaaaab", True, 0.8), ("zyxwvuts", True, 0.1))
    for pick in ("ngram", "edit"):
        assert trace_texts(opened("sft", pick=pick, max_traces=2)([tree]).trees) == ["aaaaaaaa", "zyxwvuts"]
    assert trace_texts(opened("sft", pick="value", max_traces=2)([tree]).trees) == ["aaaaaaaa", "aaaaaaab"]


def test_solutions_too_close_to_those_kept_are_left_out_and_counted() -> None:
    tree = samples(("aaaaaaaa", True, 0.9), ("aaaaaaab", True, 0.8), ("zyxwvuts", True, 0.1))
    built = opened("sft", pick="edit", min_distance=0.5, max_traces=None)([tree])
    assert trace_texts(built.trees) == ["aaaaaaaa", "zyxwvuts"]
    assert built.counts == {"dropped.similar": 1, "kept.sft": 2}


def test_one_text_in_other_steps_is_a_duplicate_unless_steps_are_told_apart() -> None:
    tree = searched(
        Step(text="ab", correct=True, value=0.5),
        Step(text="a", value=0.1),
        Step(parent=2, text="b", correct=True, value=0.4),
    )
    assert opened("sft")([tree]).counts == {"dropped.duplicate": 1, "kept.sft": 1}
    assert opened("sft", distinct="steps")([tree]).counts == {"kept.sft": 2}


def test_rest_mcts_wants_a_value_of_02_and_50_tokens() -> None:
    tree = samples(
        ("x" * 50, True, 0.2),
        ("y" * 60, True, 0.1),
        ("z" * 48, True, 0.9),
        ("v" * 49, True, 0.8),
        ("w" * 70, True, None),
    )
    built = opened("rest-mcts")([tree])
    # The end-of-text token is the fiftieth of v's.
    assert trace_texts(built.trees) == ["v" * 49, "x" * 50]
    assert built.counts == {
        "dropped.low_value": 1,
        "dropped.no_value": 1,
        "dropped.too_short": 1,
        "kept.rest-mcts": 2,
    }


def test_rejection_fine_tuning_keeps_all_and_rest_em_ten() -> None:
    tree = samples(*((f"solution {number}", True, None) for number in range(15)), ("wrong", False, None))
    assert opened("rft")([tree]).counts == {"kept.rft": 15}
    assert opened("rest-em")([tree]).counts == {"dropped.cap": 5, "kept.rest-em": 10}


def test_problems_without_right_solutions_are_counted() -> None:
    assert opened("sft")([samples(("a", False, 1.0))]).counts == {"dropped.no_right": 1}
    assert opened("nft")([samples(("a", True, 1.0))]).counts == {"dropped.no_wrong": 1}


@settings(max_examples=40)
@given(tree=trees(graded=True))
def test_what_is_kept_is_right_distinct_and_as_it_was_generated(tree: Searched) -> None:
    for made in Traces(max_traces=None)([tree]).trees:
        texts = [chain_text(made, trace.node) for trace in made.traces]
        assert len(set(texts)) == len(texts)
        paths = [tree.tree.path(node)[1:] for node in tree.solutions if tree.correct[node]]
        generated = {tuple(token for one in path for token in tree.tree.segments[one]) for path in paths}
        assert {chain_ids(made, trace.node) for trace in made.traces} <= generated


def test_graded_traces_weigh_as_often_as_they_were_found() -> None:
    tree = samples(("a", True, None), ("b", False, None), ("b", False, None), ("b", False, None))
    found = {chain_text(made, t.node): t for made in opened("nft")([tree]).trees for t in made.traces}
    assert (found["a"].weight, found["a"].right) == (1.0, True)
    assert (found["b"].weight, found["b"].right) == (3.0, False)
    once = opened("nft", repeats=False)([tree]).trees[0].traces
    assert [trace.weight for trace in once] == [1.0, 1.0]


def test_one_text_found_in_other_steps_weighs_for_all_of_them() -> None:
    tree = searched(
        Step(text="ab", correct=True),
        Step(text="a"),
        Step(parent=2, text="b", correct=True),
        Step(text="c", correct=False),
    )
    assert [trace.weight for trace in opened("nft")([tree]).trees[0].traces] == [2.0, 1.0]


def test_a_cap_of_graded_traces_takes_both_sides_in_turn() -> None:
    tree = samples(*((f"r{n}", True, 1 - n / 10) for n in range(4)), ("w0", False, 0.5), ("w1", False, 0.4))
    built = opened("nft", max_traces=4)([tree])
    assert trace_texts(built.trees) == ["r0", "w0", "r1", "w1"]
    assert built.counts == {"dropped.cap": 2, "kept.nft": 4}


@pytest.mark.parametrize(
    ("keep", "texts"), [("best", {"d"}), ("best-worst", {"d", "a"}), ("best-random", {"d", "?"})]
)
def test_policy_filtration_keeps_the_ends_of_the_ranking(keep: str, texts: set[str]) -> None:
    tree = samples(("a", False, 0.1), ("b", True, 0.2), ("c", False, 0.3), ("d", True, 0.4))
    found = opened("pf-ppo", keep=keep)([tree])
    made = trace_texts(found.trees)
    assert len(made) == len(texts)
    assert made[0] == "d"
    assert texts <= {*made, "?"}
    assert found.counts["dropped.rejected"] == 4 - len(texts)
    assert opened("pf-ppo", keep=keep)([tree]) == found


def test_the_random_other_depends_on_the_seed_and_on_equal_rewards_it_is_still_one() -> None:
    forest = [samples(*((f"{n}", True, 0.5) for n in range(6)), problem=name) for name in "abcdefgh"]
    found = {seed: trace_texts(opened("pf-ppo", seed=seed)(forest).trees) for seed in (0, 1)}
    assert found[0] != found[1]
    assert all(len(texts) == 16 for texts in found.values())


def test_filtering_raises_r2_where_a_reward_is_right_at_its_ends_only() -> None:
    generator = random.Random(0)
    forest: list[Searched] = []
    for number in range(60):
        rewards = sorted(generator.random() for _ in range(5))
        right = [False, *(generator.random() < 0.5 for _ in range(3)), True]
        ends = [(f"s{k}", right[k], rewards[k]) for k in range(5)]
        forest.append(samples(*ends, problem=f"p{number}"))

    class All(Filtered):
        def chosen(self, problem, found):  # type: ignore[no-untyped-def]
            return list(found)

    unfiltered = reliability(forest, All())
    assert reliability(forest, Filtered(keep="best-worst")) > unfiltered
    with pytest.raises(UsageError, match="at least two graded solutions"):
        reliability([], Filtered())


def test_r2_is_1_for_a_reward_that_is_the_grade_and_0_for_a_constant_one() -> None:
    graded = [samples(("a", True, 1.0), ("b", False, 0.0), problem=f"p{n}") for n in range(4)]
    constant = [samples(("a", True, 0.5), ("b", False, 0.5), problem=f"p{n}") for n in range(4)]
    against = [samples(("a", False, 1.0), ("b", True, 0.0), problem=f"p{n}") for n in range(4)]
    builder = Filtered(keep="best-worst")
    assert reliability(against, builder, groups=2) == pytest.approx(1.0), "it is the square"
    assert reliability(graded, builder, groups=2) == pytest.approx(1.0)
    assert reliability(constant, builder, groups=2) == 0.0


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.1])
def test_r2_of_a_constant_reward_is_0_whatever_its_means_round_to(value: float) -> None:
    draw = random.Random(0)
    for _ in range(20):
        trees = [samples(("a", draw.random() < 0.5, value), problem=f"p{n}") for n in range(33)]
        assert reliability(trees, Filtered(keep="best")) == 0.0


def test_a_least_distance_is_refused_where_none_is_measured() -> None:
    with pytest.raises(UsageError, match="min_distance must be 0 with pick=value"):
        opened("rft", min_distance=0.5)
    opened("rft", min_distance=0.5, pick="edit")


def test_all_pairs_of_a_spread_are_at_least_the_least_distance_apart() -> None:
    items = [[n] * 6 for n in range(5)] + [[0] * 5 + [n] for n in range(5)]
    taken, near = spread_out(items, lambda x: x, edit_distance, count=None, least=0.5)
    assert all(edit_distance(x, y) >= 0.5 for x, y in combinations(taken, 2))
    assert near == len(items) - len(taken)
