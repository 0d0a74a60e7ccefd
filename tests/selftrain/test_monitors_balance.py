"""The balance score: bounds and identities, figures by hand, the choice against going through the grid."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.monitors import (
    TEMPERATURES,
    THRESHOLDS,
    Sample,
    balance,
    balance_score,
    choose_configuration,
    wanted_samples,
)
from tasks.errors import UsageError

SAMPLES = st.builds(
    Sample,
    text=st.sampled_from("abcdef"),
    right=st.booleans(),
    score=st.none() | st.sampled_from([-0.5, -0.1, 0.0, 0.3, 0.8]),
)
QUERIES = st.lists(st.lists(SAMPLES, max_size=8), min_size=1, max_size=4)


def by_the_formula(queries: list[list[Sample]], threshold: float, wanted: int) -> float:
    """Equation 3, written out."""
    scores: list[float] = []
    for query in queries:
        selected = [one for one in query if one.right + (one.score or 0.0) > threshold]
        unique = len({one.text for one in selected if one.right})
        scores.append(min(unique / wanted, 1) * unique / len(selected) if selected else 0.0)
    return fmean(scores)


def test_the_papers_two_examples() -> None:
    # Two right ones of two, with 16 wanted; and 64 selected of which 16 are right.
    assert balance(2, 2, 16) == pytest.approx(1 / 8)
    assert balance(64, 16, 16) == pytest.approx(1 / 4)
    assert balance(0, 0, 8) == 0.0


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 20))
def test_it_is_in_the_unit_interval_and_one_only_with_enough_and_all_right(
    selected: int, right: int, wanted: int
) -> None:
    if right > selected:
        with pytest.raises(UsageError, match="cannot be"):
            balance(selected, right, wanted)
        return
    found = balance(selected, right, wanted)
    assert 0 <= found <= 1
    assert (found == 1) == (selected == right >= wanted)
    if selected:
        assert balance(selected + 1, right, wanted) <= found  # a duplicate or a wrong one


def test_n_star_is_rounded_up() -> None:
    assert (wanted_samples(64_000, 10_000), wanted_samples(5, 5)) == (7, 1)
    with pytest.raises(UsageError, match="at least 1"):
        wanted_samples(0, 3)


@given(QUERIES, st.lists(st.sampled_from([-1.0, -0.1, 0.0, 0.3, 1.0, 1.5]), min_size=1), st.integers(1, 4))
def test_the_scores_of_all_thresholds_are_the_formula(
    queries: list[list[Sample]], thresholds: list[float], wanted: int
) -> None:
    found = balance_score(queries, thresholds, wanted=wanted)
    assert found == {each: pytest.approx(by_the_formula(queries, each, wanted)) for each in set(thresholds)}


def test_a_reward_at_the_threshold_is_not_above_it_and_no_reward_is_never_selected() -> None:
    query = [Sample(text="a", right=True, score=0.5), Sample(text="b", right=True)]
    found = balance_score([query], [0.4, 0.5], wanted=1, rule="score")
    assert found == {0.4: 1.0, 0.5: 0.0}


@given(st.dictionaries(st.sampled_from([0.5, 0.7, 0.9]), QUERIES, min_size=1), st.integers(1, 4))
def test_the_choice_is_the_best_of_the_grid_and_the_lowest_of_equals(
    sampled: dict[float, list[list[Sample]]], wanted: int
) -> None:
    thresholds = [-0.5, 0.0, 0.4, 1.0]
    found = choose_configuration(sampled, thresholds, wanted=wanted)
    grid = {(heat, limit): found.scores[heat][limit] for heat in sampled for limit in thresholds}
    best = max(grid.values())
    assert (found.temperature, found.threshold) == min(
        place for place, score in grid.items() if score == best
    )
    assert (
        found.score
        == best
        == pytest.approx(
            max(
                by_the_formula(queries, limit, wanted) for queries in sampled.values() for limit in thresholds
            )
        )
    )


def test_a_threshold_that_drops_the_wrong_ones_and_a_temperature_that_repeats_less_are_chosen() -> None:
    dull = [[Sample(text="a", right=True, score=0.9)] * 4]
    lively = [[Sample(text=text, right=text != "z", score=0.9 if text != "z" else 0.1) for text in "abcz"]]
    found = choose_configuration({0.5: dull, 1.0: lively}, [0.0, 0.5], wanted=3)
    assert (found.temperature, found.threshold, found.score) == (1.0, 0.5, 1.0)


def test_the_grids_are_those_of_the_code() -> None:
    assert (TEMPERATURES[0], TEMPERATURES[1], TEMPERATURES[-1]) == (0.5, 0.55, 1.2)
    assert (THRESHOLDS[0], THRESHOLDS[1], THRESHOLDS[-1], len(THRESHOLDS)) == (-1.0, -0.99, 1.0, 201)


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(UsageError, match="no temperature"):
        choose_configuration({})
    with pytest.raises(UsageError, match="at least one query"):
        balance_score([], [0.0])
    with pytest.raises(UsageError, match="wanted"):
        balance(1, 1, 0)
