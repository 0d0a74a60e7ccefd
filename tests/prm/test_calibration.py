"""Calibration maps: rising, exact where they can be, and better than none on scores that are off."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.calibration import fit, fit_isotonic, fit_platt
from prm.checkpoint import sigmoid
from prm.evaluation.calibration import calibration_error
from prm.evaluation.discrimination import auroc
from tasks.errors import DataError, UsageError

KINDS = ("platt", "isotonic")
SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def _overconfident(count: int, seed: int) -> tuple[list[float], list[float]]:
    """Scores three times as far from one half, in logits, as the chance that the label is 1."""
    draw = np.random.Generator(np.random.PCG64(seed))
    logits = draw.normal(0.4, 1.0, count)
    labels = draw.random(count) < 1 / (1 + np.exp(-logits))
    return [sigmoid(3 * float(logit)) for logit in logits], [float(label) for label in labels]


@pytest.mark.parametrize("kind", KINDS)
@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_a_higher_score_never_becomes_a_lower_one_and_all_stay_in_range(
    kind: str, found: list[tuple[float, float]]
):
    calibration = fit(kind, [score for score, _ in found], [label for _, label in found])
    mapped = [calibration(score) for score in np.linspace(0, 1, 60)]
    assert all(0 <= value <= 1 for value in mapped)
    assert all(one <= two + 1e-12 for one, two in pairwise(mapped))


@pytest.mark.parametrize("kind", KINDS)
def test_the_calibration_error_falls_on_other_scores_of_the_same_model(kind: str):
    calibration = fit(kind, *_overconfident(3000, seed=0))
    scores, labels = _overconfident(3000, seed=1)
    mapped = [calibration(score) for score in scores]
    before, after = calibration_error(scores, labels), calibration_error(mapped, labels)
    assert before is not None
    assert after is not None
    assert before > 0.12
    assert after < 0.03
    assert auroc(mapped, [label > 0.5 for label in labels]) == pytest.approx(
        auroc(scores, [label > 0.5 for label in labels]), abs=0.01
    )


def test_platt_finds_the_slope_that_scores_were_stretched_by():
    calibration = fit_platt(*_overconfident(20000, seed=2))
    assert calibration.a == pytest.approx(1 / 3, abs=0.02)
    assert calibration.b == pytest.approx(0, abs=0.05)


def test_platt_is_a_stationary_point_of_the_cross_entropy_with_its_smoothed_targets():
    scores, labels = _overconfident(300, seed=3)
    calibration = fit_platt(scores, labels)
    right, wrong = sum(labels), len(labels) - sum(labels)
    targets = [label * (right + 1) / (right + 2) + (1 - label) / (wrong + 2) for label in labels]
    gaps = [calibration(score) - target for score, target in zip(scores, targets, strict=True)]
    logits = [math.log(score / (1 - score)) for score in scores]
    assert sum(gaps) == pytest.approx(0, abs=1e-4)
    assert sum(gap * logit for gap, logit in zip(gaps, logits, strict=True)) == pytest.approx(0, abs=1e-3)


def test_scores_that_are_worse_than_chance_become_one_constant():
    scores, labels = _overconfident(500, seed=4)
    for kind in KINDS:
        mapped = {
            round(fit(kind, scores, [1 - label for label in labels])(score), 2) for score in (0.2, 0.5, 0.8)
        }
        assert len(mapped) == 1


def test_isotonic_pools_neighbours_that_fall():
    calibration = fit_isotonic([0.1, 0.2, 0.3, 0.4], [0.0, 0.8, 0.4, 1.0])
    assert calibration.x == (0.1, 0.2, 0.3, 0.4)
    assert calibration.y == pytest.approx((0.0, 0.6, 0.6, 1.0))


def test_isotonic_counts_equal_scores_together():
    calibration = fit_isotonic([0.5, 0.5, 0.5, 0.9], [1.0, 0.0, 0.0, 1.0])
    assert calibration(0.5) == pytest.approx(1 / 3)


@given(SCORES)
@settings(max_examples=40, deadline=None)
def test_no_rising_map_through_the_same_scores_is_closer_to_the_labels(found: list[tuple[float, float]]):
    scores, labels = [score for score, _ in found], [label for _, label in found]
    fitted = fit_isotonic(scores, labels)
    mapped = [fitted(score) for score in scores]
    error = sum((value - label) ** 2 for value, label in zip(mapped, labels, strict=True))
    for other in (0.9, 0.99):
        mean = sum(labels) / len(labels)
        moved = [other * value + (1 - other) * mean for value in mapped]
        assert error <= sum((v - label) ** 2 for v, label in zip(moved, labels, strict=True)) + 1e-9
    assert sum(mapped) == pytest.approx(sum(labels), abs=1e-6)


def test_shares_are_labels_too():
    scores = [0.2] * 50 + [0.8] * 50
    calibration = fit_isotonic(scores, [0.35] * 50 + [0.6] * 50)
    assert (calibration(0.2), calibration(0.8)) == pytest.approx((0.35, 0.6))


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(DataError, match="a label for each score"):
        fit_platt([], [])
    with pytest.raises(DataError, match=r"scores .* in \[0, 1\]"):
        fit_isotonic([1.5], [1.0])
    with pytest.raises(DataError, match=r"labels .* in \[0, 1\]"):
        fit_isotonic([0.5], [float("nan")])
    with pytest.raises(UsageError, match="valid: isotonic, platt"):
        fit("spline", [0.5], [1.0])
