"""Intervals and paired tests of comparisons: published values, brute force, and coverage by simulation."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treesearch.comparison.statistics import difference_interval, holm, mean_interval, paired_p
from treesearch.run.summary import wilson_interval

SHARES = st.lists(st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0]), min_size=1, max_size=40)


def outcomes(right: int, n: int) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_one_seed_gives_wilsons_interval_with_newcombes_published_values(
    right: int, n: int, low: float, high: float
) -> None:
    found = mean_interval(outcomes(right, n))
    assert found == pytest.approx((low, high), abs=5e-5)
    assert found == pytest.approx(wilson_interval(right, n), abs=1e-9)


@given(SHARES)
def test_the_interval_of_a_mean_holds_it_inside_zero_and_one_with_a_width(means: list[float]) -> None:
    low, high = mean_interval(means, per_problem=3)
    assert 0 <= low <= sum(means) / len(means) + 1e-12
    assert sum(means) / len(means) - 1e-12 <= high <= 1
    assert high - low > 0


@given(SHARES, st.integers(1, 5))
def test_seeds_never_make_the_interval_narrower_than_independent_trials_would(
    means: list[float], seeds: int
) -> None:
    p, n = sum(means) / len(means), len(means) * seeds
    narrow = wilson_interval(p * n, n)
    low, high = mean_interval(means, per_problem=seeds)
    assert high - low >= narrow[1] - narrow[0] - 1e-9


def test_seeds_that_always_agree_add_nothing() -> None:
    assert mean_interval(outcomes(7, 20), per_problem=5) == pytest.approx(mean_interval(outcomes(7, 20)))


def test_the_interval_covers_the_truth_where_pooled_answers_do_not() -> None:
    rng = random.Random(7)
    covered, pooled = 0, 0
    for _ in range(400):
        hard = [rng.betavariate(0.4, 0.6) for _ in range(60)]
        counts = [sum(rng.random() < p for _ in range(4)) for p in hard]
        low, high = mean_interval([count / 4 for count in counts], per_problem=4)
        covered += low <= 0.4 <= high
        low, high = wilson_interval(sum(counts), 240)
        pooled += low <= 0.4 <= high
    assert covered / 400 >= 0.93
    assert pooled / 400 < 0.8


def test_the_difference_has_bonett_and_prices_published_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation: 21 children, 1 and 7 discordant.
    differences = [1.0] + [-1.0] * 7 + [0.0] * 13
    assert difference_interval(differences) == pytest.approx((-0.508, -0.013), abs=5e-4)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=30))
def test_the_interval_of_a_difference_turns_with_its_sign_and_has_a_width(differences: list[float]) -> None:
    low, high = difference_interval(differences)
    assert -1 <= low < high <= 1
    turned = difference_interval([-difference for difference in differences])
    assert turned == pytest.approx((-high, -low))


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    rng = random.Random(3)
    covered = 0
    for _ in range(400):
        pairs: list[float] = []
        for _ in range(60):
            hard = rng.random()
            one = sum(rng.random() < hard for _ in range(3))
            other = sum(rng.random() < hard**2 for _ in range(3))
            pairs.append((one - other) / 3)
        low, high = difference_interval(pairs)
        covered += low <= 1 / 2 - 1 / 3 <= high
    assert covered / 400 >= 0.93


@pytest.mark.parametrize(("up", "down", "p"), [(1, 7, 18 / 256), (0, 6, 2 / 64), (5, 5, 1.0), (0, 0, 1.0)])
def test_with_one_seed_it_is_mcnemars_exact_test(up: int, down: int, p: float) -> None:
    assert paired_p([1] * up + [-1] * down + [0] * 9) == pytest.approx(p)


@given(st.integers(0, 60), st.integers(0, 60))
def test_with_one_seed_it_is_the_binomial_tail_doubled(up: int, down: int) -> None:
    n, few = up + down, min(up, down)
    tail = sum(Fraction(math.comb(n, k), 2**n) for k in range(few + 1))
    assert paired_p([1] * up + [-1] * down) == pytest.approx(float(min(1, 2 * tail)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), max_size=9))
def test_it_is_the_share_of_all_sign_flips_that_are_as_extreme(differences: list[int]) -> None:
    sizes = [abs(difference) for difference in differences]
    sums = [
        abs(sum(sign * size for sign, size in zip(signs, sizes, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(sizes))
    ]
    extreme = sum(found >= abs(sum(differences)) for found in sums)
    assert paired_p(differences) == pytest.approx(extreme / len(sums))


def test_it_keeps_its_level_and_is_quick_for_thousands_of_problems() -> None:
    rng = np.random.default_rng(5)
    rejected = sum(paired_p(list(rng.integers(-2, 3, size=40))) <= 0.05 for _ in range(400))
    assert rejected / 400 <= 0.07
    assert paired_p([5] * 700 + [-5] * 300 + [1, -1] * 500) < 1e-12


def test_holm_gives_the_values_of_rs_p_adjust() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(ps: list[float]) -> None:
    adjusted = holm(ps)
    for p, found in zip(ps, adjusted, strict=True):
        assert p <= found <= min(1.0, len(ps) * p) + 1e-12
    for first, second in itertools.combinations(range(len(ps)), 2):
        if ps[first] < ps[second]:
            assert adjusted[first] <= adjusted[second]
