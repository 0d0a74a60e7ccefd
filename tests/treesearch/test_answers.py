"""Answer rules: pure functions over finished solutions."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_worlds import WALK

from tasks.errors import UsageError
from treesearch.algorithms.base import add_chain
from treesearch.answers import Candidate, aggregate, best, borda, candidates, choose, majority, vote
from treesearch.engines.base import FinishReason
from treesearch.events import Rolled, Scored, Step
from treesearch.tree import Tree

UNIT = st.floats(0, 1)
CANDIDATES = st.lists(
    st.builds(
        lambda vote, spelling, value, certainty: Candidate(vote + spelling, vote, value, certainty),
        st.sampled_from("abcd"),
        st.sampled_from(["", " ", "."]),
        st.none() | UNIT,
        st.none() | UNIT,
    ),
    max_size=12,
)


def winners(weights: dict[str, float]) -> set[str]:
    """All forms of largest weight, up to rounding."""
    top = max(weights.values())
    return {form for form, weight in weights.items() if math.isclose(weight, top, abs_tol=1e-9)}


def form_of(answer: str | None) -> str | None:
    return answer[0] if answer else None


@given(found=CANDIDATES)
def test_majority_is_the_argmax_of_the_multiset_and_the_first_found_of_equals(found: list[Candidate]) -> None:
    if not found:
        assert majority(found) is None
        return
    counts = Counter(candidate.vote for candidate in found)
    top = max(counts.values())
    first = next(candidate for candidate in found if counts[candidate.vote] == top)
    assert majority(found) == first.answer


@given(found=CANDIDATES)
def test_borda_with_power_zero_is_the_majority_of_those_with_a_certainty(found: list[Candidate]) -> None:
    sure = [candidate for candidate in found if candidate.certainty is not None]
    assert borda(found, power=0) == majority(sure or found)


@given(found=CANDIDATES, power=st.sampled_from([200.0, 1e6, math.inf]))
def test_borda_with_a_large_power_is_the_most_certain_one(found: list[Candidate], power: float) -> None:
    sure = [candidate for candidate in found if candidate.certainty is not None]
    if sure:
        top = max(sure, key=lambda candidate: candidate.certainty or 0.0)
        assert form_of(borda(found, power=power)) == top.vote


@given(found=CANDIDATES, power=st.floats(0, 3))
def test_borda_casts_n_minus_r_plus_one_to_the_power_p_votes(found: list[Candidate], power: float) -> None:
    sure = [candidate for candidate in found if candidate.certainty is not None]
    if not sure:
        return
    ranked = sorted(sure, key=lambda candidate: -(candidate.certainty or 0.0))
    weights: dict[str, float] = {}
    for rank, candidate in enumerate(ranked, 1):
        weights[candidate.vote] = weights.get(candidate.vote, 0.0) + (len(sure) - rank + 1) ** power
    assert form_of(borda(found, power=power)) in winners(weights)


def test_one_candidate_listed_twice_has_two_ranks() -> None:
    a, b = Candidate("a", "a", None, 0.9), Candidate("b", "b", None, 0.95)
    # Ranks 3 for b, 2 and 1 for a. With p = 2 that is 9 against 4 + 1; with p = 0.9, 2.69 against 1.87 + 1.
    assert borda([a, a, b], power=2.0) == "b"
    assert borda([a, a, b], power=0.9) == "a"


@given(found=CANDIDATES, value=st.floats(0.01, 1))
def test_a_vote_of_equal_values_is_the_majority(found: list[Candidate], value: float) -> None:
    alike = [Candidate(c.answer, c.vote, value, c.certainty) for c in found]
    counts = Counter(candidate.vote for candidate in found)
    if found:
        assert form_of(vote(alike)) in winners(dict(counts))
    unknown = [Candidate(c.answer, c.vote, None, c.certainty) for c in found]
    assert vote(unknown) == majority(found)


@given(found=CANDIDATES)
def test_a_vote_sums_the_values_of_each_form(found: list[Candidate]) -> None:
    weights: dict[str, float] = {}
    for candidate in found:
        weight = 1.0 if candidate.value is None else candidate.value
        weights[candidate.vote] = weights.get(candidate.vote, 0.0) + weight
    if weights and max(weights.values()) > 0:
        assert form_of(vote(found)) in winners(weights)
    else:
        assert vote(found) == majority(found)


@given(found=CANDIDATES)
def test_best_has_the_largest_value(found: list[Candidate]) -> None:
    values = [candidate.value for candidate in found if candidate.value is not None]
    if not values:
        assert best(found) == majority(found)
    else:
        assert best(found) in {c.answer for c in found if c.value == max(values)}


@given(found=CANDIDATES, data=st.data())
def test_the_order_of_finding_only_breaks_ties(found: list[Candidate], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(found))
    counts = Counter(candidate.vote for candidate in found)
    if found and len(winners(dict(counts))) == 1:
        assert form_of(majority(found)) == form_of(majority(shuffled))
    values = [c.value for c in found if c.value is not None]
    if values and values.count(max(values)) == 1:
        assert best(found) == best(shuffled)
    certainties = [c.certainty for c in found if c.certainty is not None]
    if len(set(certainties)) == len(certainties):
        weights: dict[str, float] = {}
        ranked = sorted((c for c in found if c.certainty is not None), key=lambda c: c.certainty or 0.0)
        for rank, candidate in enumerate(ranked, 1):
            weights[candidate.vote] = weights.get(candidate.vote, 0.0) + rank**0.5
        if weights and len(winners(weights)) == 1:
            assert form_of(borda(found)) == form_of(borda(shuffled))


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_aggregates_are_what_they_are_called(values: list[float]) -> None:
    assert aggregate(values, "min") == sorted(values)[0]
    assert aggregate(values, "last") == values[len(values) - 1]
    assert aggregate(values, "mean") == pytest.approx(math.fsum(values) / len(values))
    product = 1.0
    for value in values:
        product *= value
    assert aggregate(values, "product") == pytest.approx(product)


def test_a_path_without_values_has_no_aggregate_and_a_wrong_name_is_refused() -> None:
    with pytest.raises(UsageError, match="no step values"):
        aggregate([], "min")
    with pytest.raises(UsageError, match="did you mean 'mean'"):
        aggregate([0.5], "maen")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown answer rule"):
        choose(Tree(problem=WALK), "loudest")  # type: ignore[arg-type]


def tree_with(*paths: tuple[str | None, list[float | None]]) -> Tree:
    """A tree with one chain a path: its answer, and the values of its steps."""
    tree = Tree(problem=WALK)
    for answer, values in paths:
        steps = [
            Step(f"{answer}{i}", (1, 2), (0.0, 0.0), FinishReason.STOP, i / 10) for i in range(len(values))
        ]
        end = Step("end", (1,), (0.0,), FinishReason.END, 0.7, answer, answer)
        first = len(tree.nodes)
        tree.commit(add_chain(tree, 0, [*steps[:-1], end], None))
        tree.commit([Scored(first + i, value) for i, value in enumerate(values) if value is not None])
    return tree


def test_candidates_are_leaves_with_an_answer_and_roll_outs_in_the_order_of_finding() -> None:
    tree = tree_with(("a", [0.5, 0.2, 0.8]), (None, [1.0]), ("b", [None, None]))
    tree.commit([Rolled(1, "text", 3, "c", "c", 0.25), Rolled(1, "text", 3, None, None, 0.0)])
    found = candidates(tree, "min")
    assert [(c.answer, c.value) for c in found] == [("a", 0.2), ("b", None), ("c", 0.25)]
    # Certainty of a path: token-weighted over its steps, 2 tokens each and 1 for the last.
    assert found[0].certainty == pytest.approx((2 * 0.0 + 2 * 0.1 + 1 * 0.7) / 5)
    assert found[2].certainty is None
    by_aggregate = {how: candidates(tree, how)[0].value for how in ("min", "last", "mean", "product")}
    assert by_aggregate == {
        "min": 0.2,
        "last": 0.8,
        "mean": pytest.approx(0.5),
        "product": pytest.approx(0.08),
    }


def test_a_tree_without_a_finished_solution_has_no_answer() -> None:
    for rule in ("majority", "best", "vote", "borda"):
        assert choose(Tree(problem=WALK), rule) is None


def test_the_rules_disagree_where_they_should() -> None:
    tree = tree_with(("a", [0.1]), ("a", [0.1]), ("b", [0.9]))
    assert [choose(tree, rule) for rule in ("majority", "best", "vote")] == ["a", "b", "b"]
