"""AUROC and calibration: against their definitions, with intervals that cover, and by depth."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest
from evaluation_worlds import TableScorer, write_lines
from hypothesis import given
from hypothesis import strategies as st

from prm.evaluation.calibration import brier, calibration, calibration_error, reliability
from prm.evaluation.discrimination import auroc, auroc_interval
from prm.evaluation.steps import LabelledSteps, evaluate, read_labelled, score_labelled
from prm.training.heldout import step_metrics
from tasks.errors import DataError, UsageError

marked = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20)


@given(marked)
def test_auroc_is_the_chance_that_a_right_item_scores_higher(items: list[tuple[int, bool]]) -> None:
    good, bad = [s for s, r in items if r], [s for s, r in items if not r]
    found = auroc([s for s, _ in items], [r for _, r in items])
    if not good or not bad:
        assert found is None
        return
    pairs = [(g > b) + (g == b) / 2 for g in good for b in bad]
    assert found == pytest.approx(sum(pairs) / len(pairs))
    assert auroc([-s for s, _ in items], [r for _, r in items]) == pytest.approx(1 - found)


def test_oracle_anti_oracle_and_constant_scores() -> None:
    right = [True, False, True, False]
    assert auroc([0.9, 0.1, 0.8, 0.2], right) == 1
    assert auroc([0.1, 0.9, 0.2, 0.8], right) == 0
    assert auroc([0.5] * 4, right) == 0.5
    low, high = auroc_interval([0.9, 0.1, 0.8, 0.2], right) or (1, 0)
    assert low < 0.7
    assert high == 1


def test_shuffled_labels_drop_to_chance_and_the_interval_says_so() -> None:
    rng = random.Random(0)
    scores = [rng.random() for _ in range(2000)]
    low, high = auroc_interval(scores, [rng.random() < 0.4 for _ in scores]) or (1, 0)
    assert low < 0.5 < high
    assert high - low < 0.06


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Right items are N(1, 1), wrong ones N(0, 1): the true area is Phi(1 / sqrt 2) = 0.7602."""
    rng, inside = random.Random(1), 0
    for _ in range(200):
        right = [rng.random() < 0.5 for _ in range(80)]
        low, high = auroc_interval([rng.gauss(float(r), 1) for r in right], right) or (1, 0)
        inside += low <= 0.7602 <= high
    assert inside >= 182  # 95 % of 200 is 190; below 182 has a chance of 0.002


def test_items_of_one_group_are_not_taken_for_independent_evidence() -> None:
    rng = random.Random(2)
    scores, right, groups = list[float](), list[bool](), list[int]()
    for group in range(40):
        centre, is_right = rng.gauss(0, 1), rng.random() < 0.5
        for _ in range(10):  # ten copies of nearly the same evidence
            scores.append(centre + is_right + rng.gauss(0, 0.01))
            right.append(is_right)
            groups.append(group)
    alone, together = auroc_interval(scores, right), auroc_interval(scores, right, groups)
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


scored = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


@given(scored, st.integers(1, 12))
def test_ece_is_the_weighted_gap_of_the_bins(items: list[tuple[float, bool]], bins: int) -> None:
    scores, labels = [s for s, _ in items], [float(r) for _, r in items]
    table = reliability(scores, labels, bins=bins)
    assert sum(each.n for each in table) == len(items)
    for each in table:
        assert each.low <= each.score <= each.high + 1e-9 <= 1 + 1e-9
    found = calibration_error(scores, labels, bins=bins)
    assert found == pytest.approx(sum(each.n * abs(each.gap) for each in table) / len(items))
    assert 0 <= found <= 1
    assert abs(sum(scores) - sum(labels)) / len(items) <= found + 1e-9


def test_a_known_case_of_calibration() -> None:
    scores, labels = [0.95, 0.95, 0.05, 0.05], [1.0, 0.0, 0.0, 0.0]
    assert calibration_error(scores, labels) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert brier(scores, labels) == pytest.approx((0.05**2 + 0.95**2 + 2 * 0.05**2) / 4)
    assert calibration_error([1.0, 0.0], [1.0, 0.0]) == 0
    assert [(each.low, each.high) for each in reliability([1.0, 0.95], [1.0, 1.0])] == [(0.9, 1.0)]
    assert calibration_error([], []) is None
    assert calibration([1.5], [1.0]) == {"ece": None, "brier": None, "reliability": None}
    with pytest.raises(UsageError, match=r"got the score 1\.5"):
        reliability([1.5], [1.0])


def labelled(labels: list[float | None], scores: list[float], *, question: str = "q") -> LabelledSteps:
    return LabelledSteps(
        id="a", question=question, steps=("s",) * len(labels), labels=tuple(labels), scores=tuple(scores)
    )


def test_depths_are_told_apart_and_unlabelled_steps_left_out() -> None:
    found = evaluate(
        [
            labelled([1, 1, None], [0.9, 0.4, 0.1], question="a"),
            labelled([1, 0, 0], [0.8, 0.6, 0.1], question="b"),
            labelled([0, 0, 1], [0.1, 0.6, 0.9], question="c"),
        ],
        depths=2,
    )
    json.dumps(found, allow_nan=False)
    assert found["steps"]["n"] == 8
    assert [(e["depth"], e["or_more"], e["n"], e["auroc"]) for e in found["by_depth"]] == [
        (0, False, 3, 1.0),
        (1, False, 3, 0.0),
        (2, True, 2, 1.0),
    ]
    assert found["solutions"]["min"]["auroc"] == 0.5
    assert found["solutions"]["min"]["n_right"] == 1


def test_soft_labels_are_calibrated_against_their_own_value() -> None:
    found = evaluate([labelled([0.25, 0.75], [0.25, 0.75])])
    assert found["steps"]["ece"] == pytest.approx(0)
    assert found["steps"]["auroc"] == 1


def test_a_label_of_one_half_is_on_the_side_that_training_puts_it_on() -> None:
    scores, labels = [0.9, 0.8, 0.2, 0.1], [1.0, 0.5, 0.5, 0.0]
    found = evaluate([labelled(list(labels), scores)])
    assert found["steps"]["n_right"] == 1
    assert found["steps"]["auroc"] == step_metrics(list(zip(scores, labels, strict=True)))["auroc"] == 1.0


def test_rows_are_read_scored_and_checked(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "prompt": "q", "completions": ["a", "b"], "labels": [True, None], "scores": [0.5, 0.25]}
    ]
    file = write_lines(tmp_path / "l.jsonl", rows)
    (found,) = read_labelled(file, scored=True)
    assert (found.labels, found.scores) == ((1.0, None), (0.5, 0.25))
    scorer = TableScorer(lambda question, steps: [0.75] * len(steps))
    (found,) = asyncio.run(score_labelled(read_labelled(file), scorer))
    assert found.scores == (0.75, 0.75)
    for change, message in (
        ({"labels": [1]}, ":1: 1 labels for 2 completions"),
        ({"labels": [1, 2]}, r":1: 'labels' must hold numbers in \[0, 1\]"),
        ({"scores": [1]}, ":1: 1 scores for 2 completions"),
        ({"prompt": " "}, ":1: 'prompt' must be non-empty text"),
    ):
        with pytest.raises(DataError, match=message):
            read_labelled(write_lines(tmp_path / "l.jsonl", [rows[0] | change]), scored=True)
    with pytest.raises(UsageError, match="no step with a label"):
        evaluate([labelled([None], [0.5])])
