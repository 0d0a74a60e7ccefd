"""Exploration and exploitation: B-STaR's metrics by hand, and against going through all draws."""

from __future__ import annotations

import math
import time
from itertools import combinations, permutations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.evaluation.subsets import best_of_n, pass_at_n
from selftrain.monitors import Sample, diversity, exploration, pass_at_k_s, reward, reward_at_k_s
from selftrain.monitors.exploration import equations
from tasks.errors import UsageError

NAMES = st.lists(st.sampled_from("abcd"), max_size=6)
GRADED = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=5)


def sample(text: str, right: bool, score: float | None = None) -> Sample:
    return Sample(text=text, right=right, answer="1" if right else text, score=score)


def test_pass_at_k_s_by_hand() -> None:
    # Of 4 samples two are the same right solution and one is another; the pairs with both kinds are 2 of 6.
    assert pass_at_k_s(["a", "a", "b"], 4, 2, 2) == pytest.approx(2 / 6)
    assert pass_at_k_s(["a", "a", "b"], 4, 2, 1) == 1.0
    assert pass_at_k_s(["a", "a", "a"], 4, 3, 2) == 0.0
    assert pass_at_k_s([], 4, 4, 1) == 0.0
    assert pass_at_k_s(["a", "b", "c"], 4, 3, 3) == pytest.approx(1 / 4)


@given(NAMES, st.integers(1, 3), st.data())
def test_pass_at_k_s_is_the_mean_over_all_draws(right: list[str], wrong: int, data: st.DataObject) -> None:
    samples = len(right) + wrong
    k = data.draw(st.integers(1, samples))
    s = data.draw(st.integers(1, k))
    everything = [*right, *([None] * wrong)]
    draws = [len({name for name in draw if name is not None}) >= s for draw in combinations(everything, k)]
    assert pass_at_k_s(right, samples, k, s) == pytest.approx(fmean(draws))


@given(NAMES, st.integers(1, 3), st.data())
def test_with_s_of_one_it_is_unbiased_pass_at_k(right: list[str], wrong: int, data: st.DataObject) -> None:
    samples = len(right) + wrong
    k = data.draw(st.integers(1, samples))
    assert pass_at_k_s(right, samples, k, 1) == pytest.approx(
        pass_at_n([True] * len(right) + [False] * wrong, k)
    )


def test_reward_at_k_s_by_hand() -> None:
    # Ranked: right, wrong, right, right. Pairs of which both are right: {1,3}, {1,4}, {3,4} of 6.
    rewards, right = [0.9, 0.7, 0.5, 0.1], [True, False, True, True]
    assert reward_at_k_s(rewards, right, 2, 2) == pytest.approx(3 / 6)
    # Of three, the two best are right only where the wrong one is not drawn: {1,3,4} of 4.
    assert reward_at_k_s(rewards, right, 3, 2) == pytest.approx(1 / 4)
    assert reward_at_k_s(rewards, right, 4, 1) == 1.0
    assert reward_at_k_s([0.5, 0.5], [True, False], 2, 1) == pytest.approx(1 / 2)


@settings(max_examples=60)
@given(GRADED, st.data())
def test_reward_at_k_s_is_the_mean_over_all_draws_and_orders_of_equals(
    graded: list[tuple[float, bool]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(graded)))
    s = data.draw(st.integers(1, k))
    won = [
        all(right for _, right in sorted(order, key=lambda one: -one[0])[:s])
        for draw in combinations(graded, k)
        for order in permutations(draw)
    ]
    found = reward_at_k_s([worth for worth, _ in graded], [right for _, right in graded], k, s)
    assert found == pytest.approx(fmean(won))


@given(GRADED, st.data())
def test_with_s_of_one_it_is_best_of_k(graded: list[tuple[float, bool]], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(graded)))
    rewards, right = [worth for worth, _ in graded], [right for _, right in graded]
    assert reward_at_k_s(rewards, right, k, 1) == pytest.approx(
        best_of_n(rewards, list(map(float, right)), k)
    )


def test_a_reward_that_is_the_grade_can_pick_whatever_was_found() -> None:
    query = [sample(f"t{number}", number % 3 == 0, 0.1 * number) for number in range(8)]
    found = exploration([query], ks=(4,), s=2, rule="answer")
    assert found["best-of-4"] == pytest.approx(found["pass@4"])
    assert found["reward@4-2"] == pytest.approx(found["pass@4-2"])


@pytest.mark.parametrize(("k", "s"), [(0, 1), (2, 3), (5, 1), (2, 0)])
def test_impossible_draws_are_refused(k: int, s: int) -> None:
    with pytest.raises(UsageError, match="must hold"):
        pass_at_k_s(["a"], 4, k, s)
    with pytest.raises(UsageError, match="must hold"):
        reward_at_k_s([1.0] * 4, [True] * 4, k, s)
    with pytest.raises(UsageError, match="more than all"):
        pass_at_k_s(["a", "b"], 1, 1, 1)


def test_figures_take_the_queries_that_have_enough_samples_and_say_how_many() -> None:
    full = [sample("a", True, 0.2), sample("b", False, 0.8)]
    found = exploration([full, [sample("c", True, 0.5)]], ks=(1, 2, 4), s=2)
    assert found == {
        "queries": 2, "queries@1": 2, "queries@2": 1, "queries@4": 0,
        "pass@1": 0.75, "best-of-1": 0.75, "pass@2": 1.0, "best-of-2": 0.0,
    }  # fmt: skip


def test_without_scores_there_is_exploration_and_no_exploitation() -> None:
    found = exploration([[sample("a", True), sample("b", True, 0.5)]], ks=(2,), s=2)
    assert (found["pass@2"], "best-of-2" in found) == (1.0, False)


def test_rewards_by_rule() -> None:
    good, unscored = sample("a", True, 0.5), sample("b", True)
    assert [reward(good, rule, weight=0.2) for rule in ("answer", "answer+score", "score")] == [1.0, 1.1, 0.5]
    assert [reward(unscored, rule) for rule in ("answer", "answer+score", "score")] == [1.0, 1.0, None]


def test_diversity_by_hand() -> None:
    queries = [
        [
            sample("3 + 5 = 8\n", True),
            sample("3 + 5 = 8\n", True),
            sample("5+3 = 8\n", True),
            sample("x", False),
        ],
        [sample("no sums", False), sample("y", False)],
    ]
    assert diversity(queries) == {
        "right": 3 / 6,
        "solved": 1 / 2,
        "distinct": 2 / 3,
        "distinct_equations": 2 / 3,
        "answers": (2 + 2) / 2,
    }
    assert diversity([]) == {}


def test_equations_are_read_from_countdown_and_from_prose() -> None:
    assert equations("8 - 3 = 5\n11 * 5 = 55\n") == ["8-3=5", "11*5=55"]
    assert equations("She pays $1,000 / 4 = $250 for it, so x = 250.") == ["1000/4=250"]


def test_a_hostile_text_is_read_in_no_time() -> None:
    began = time.perf_counter()
    assert equations("1. 3 + 4 = 7\n2) 7 * 2 = 14") == ["3+4=7", "7*2=14"]
    assert equations("There are 12\n3 + 4 = 7") == ["3+4=7"]
    assert equations("He has 5. 3 + 4 = 7. Then 2.5 * 2 = 5, so 5 + 1 = 6.") == ["3+4=7", "2.5*2=5", "5+1=6"]
    assert equations("1 " * 20_000) == []
    assert equations("1" * 20_000 + " = 2") == ["1" * 80 + "=2"]
    assert time.perf_counter() - began < 5


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 1)), max_size=6), max_size=4
    )
)
def test_all_figures_are_shares_and_more_draws_find_no_less(
    rows: list[list[tuple[str, bool, float]]],
) -> None:
    queries = [[sample(*one) for one in row] for row in rows]
    found = exploration(queries, ks=(1, 2, 4), s=2)
    assert all(0 <= found[name] <= 1 + 1e-12 for name in found if "queries" not in name)
    assert all(math.isfinite(one) for one in (*found.values(), *diversity(queries).values()))
    same = exploration([query for query in queries if len(query) >= 4], ks=(1, 2, 4), s=2)
    if "pass@4" in same:
        assert same["pass@1"] <= same["pass@2"] + 1e-12 <= same["pass@4"] + 2e-12
        assert same["pass@4-2"] <= same["pass@4"] + 1e-12
