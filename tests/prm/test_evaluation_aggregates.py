"""Aggregates of step scores: exact at the edges, ordered as their means are, an error where undefined."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.aggregates import Aggregate, aggregate, applicable
from tasks.errors import UsageError

shares = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8)


@given(shares)
def test_the_means_are_ordered_and_inside_the_scores(scores: list[float]) -> None:
    of = {how: aggregate(scores, how) for how in Aggregate}
    low, high = min(scores), max(scores)
    assert of[Aggregate.MIN] == low
    assert of[Aggregate.MAX] == high
    assert of[Aggregate.LAST] == scores[-1]
    assert of[Aggregate.PRODUCT] <= of[Aggregate.MIN] * (1 + 1e-12)
    assert low * (1 - 1e-12) <= of[Aggregate.GEOMETRIC_MEAN] <= of[Aggregate.MEAN] * (1 + 1e-12)
    assert of[Aggregate.GEOMETRIC_MEAN] ** len(scores) == pytest.approx(of[Aggregate.PRODUCT])
    odds = 1 / (1 + math.exp(-of[Aggregate.MEAN_LOGIT]))
    assert low * (1 - 1e-9) <= odds <= high * (1 + 1e-9)


@given(st.floats(0.01, 0.99), st.integers(1, 6))
def test_equal_scores_have_themselves_as_every_mean(score: float, n: int) -> None:
    for how in set(Aggregate) - {Aggregate.PRODUCT, Aggregate.MEAN_LOGIT}:
        assert aggregate([score] * n, how) == pytest.approx(score)
    assert aggregate([score] * n, "mean_logit") == pytest.approx(math.log(score / (1 - score)))


@given(shares)
def test_one_step_is_its_own_aggregate(scores: list[float]) -> None:
    for how in set(Aggregate) - {Aggregate.MEAN_LOGIT}:
        assert aggregate(scores[:1], how) == pytest.approx(scores[0])


def test_a_zero_spoils_product_geometric_mean_and_mean_logit_exactly() -> None:
    for scores in ([0.0, 0.5], [1.0, 0.0]):
        assert aggregate(scores, "product") == 0.0
        assert aggregate(scores, "geometric_mean") == 0.0
        assert aggregate(scores, "mean_logit") == -math.inf
    assert aggregate([1.0, 0.5], "mean_logit") == math.inf
    assert aggregate([1.0, 1.0], "product") == 1.0


def test_a_product_underflows_where_the_geometric_mean_does_not() -> None:
    assert aggregate([0.01] * 400, "product") == 0.0
    assert aggregate([0.01] * 400, "geometric_mean") == pytest.approx(0.01)


@pytest.mark.parametrize("how", list(Aggregate))
def test_no_scores_and_scores_that_are_no_numbers_are_errors(how: Aggregate) -> None:
    with pytest.raises(UsageError, match="at least one step"):
        aggregate([], how)
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(UsageError, match="finite"):
            aggregate([0.5, bad], how)


def test_scores_outside_the_domain_are_refused_and_named_as_not_applicable() -> None:
    with pytest.raises(UsageError, match=r"got -0\.5"):
        aggregate([-0.5], "product")
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        aggregate([1.5], "mean_logit")
    assert aggregate([-0.5, 2.0], "mean") == 0.75
    assert applicable([[0.5], [-1.0, 3.0]]) == (Aggregate.MIN, Aggregate.MEAN, Aggregate.LAST, Aggregate.MAX)
    assert applicable([[0.5], [3.0]]) == tuple(how for how in Aggregate if how is not Aggregate.MEAN_LOGIT)
    assert applicable([[0.0, 1.0]]) == tuple(Aggregate)


def test_an_unknown_aggregate_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'product'"):
        aggregate([0.5], "prodct")
