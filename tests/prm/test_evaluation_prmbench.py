"""PRMBench: counts by kind, PRMScore by its definition, undefined figures as None."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from evaluation_worlds import TableScorer, write_lines

from prm.evaluation.prmbench import (
    ORIGINAL,
    Confusion,
    ModifiedSolution,
    choose_threshold,
    confusion,
    evaluate,
    read_prmbench,
    read_prmbench_scores,
    score_modified,
)
from tasks.errors import DataError


def row(kind: str, errors: list[int], *, idx: str = "p1_0", steps: int = 3) -> dict[str, Any]:
    return {
        "idx": idx,
        "classification": kind,
        "original_question": "q",
        "modified_question": "q changed",
        "original_process": ["right"] * 2,
        "modified_process": ["wrong" if i + 1 in errors else "right" for i in range(steps)],
        "error_steps": errors,
    }


def made(kind: str, errors: set[int], scores: list[float], *, idx: str = "0") -> ModifiedSolution:
    return ModifiedSolution(
        id=f"{kind}_{idx}",
        kind=kind,
        question="q",
        steps=("s",) * len(scores),
        errors=frozenset(errors),
        scores=tuple(scores),
    )


def test_steps_are_counted_from_zero_and_originals_come_with_redundancy(tmp_path: Path) -> None:
    rows = [row("redundency", [2]), row("circular", [1, 3], idx="circular_p1_0"), row("redundency", [1])]
    found = read_prmbench(write_lines(tmp_path / "b.jsonl", rows))
    assert [(e.id, sorted(e.errors)) for e in found] == [
        ("correct_p1_0", []),
        ("redundency_p1_0", [1]),
        ("circular_p1_0", [0, 2]),
    ]
    assert found[0].question == "q"
    assert found[1].question == "q changed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error_steps": [4]}, ":2: 'error_steps' must be whole numbers from 1 to 3, got 4"),
        ({"error_steps": [0]}, ":2: 'error_steps' must be whole numbers from 1 to 3, got 0"),
        ({"classification": "typo"}, ":2: unknown classification 'typo'"),
        ({"modified_process": []}, ":2: 'modified_process' must be a non-empty list"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = write_lines(tmp_path / "b.jsonl", [row("circular", [1]), row("circular", [1], idx="b") | change])
    with pytest.raises(DataError, match=message):
        read_prmbench(file)


def test_prm_score_is_the_mean_of_both_f1() -> None:
    counts = Confusion(right_right=6, right_wrong=2, wrong_right=1, wrong_wrong=3)
    precision, recall = 6 / 7, 6 / 8
    assert counts.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    precision, recall = 3 / 5, 3 / 4
    assert counts.negative_f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert counts.prm_score() == pytest.approx((counts.f1 + counts.negative_f1) / 2)  # type: ignore[operator]
    assert Confusion().prm_score() is None


def test_an_oracle_scores_one_an_anti_oracle_zero() -> None:
    good = [made("circular", {1}, [0.9, 0.1, 0.9]), made("deception", {0}, [0.2, 0.9])]
    found = evaluate(good, threshold=0.5)
    for name in ("prm_score", "right_step_accuracy", "wrong_step_accuracy", "first_error_accuracy", "auroc"):
        assert found["total"][name] == 1
    assert found["kinds"]["circular"]["prm_score"] == 1
    assert found["kinds"]["confidence"]["prm_score"] is None
    assert found["groups"] == {"simplicity": None, "soundness": None, "sensitivity": None}
    bad = [made("circular", {1}, [0.1, 0.9, 0.1])]
    assert evaluate(bad, threshold=0.5)["total"]["prm_score"] == 0


def test_a_kind_without_wrong_steps_is_judged_by_f1_alone() -> None:
    found = evaluate([made("multi_solutions", set(), [0.9, 0.1])], threshold=0.5)["kinds"]["multi_solutions"]
    assert found["negative_f1"] == 0
    assert found["prm_score"] == found["f1"] == pytest.approx(2 / 3)
    assert found["first_error_accuracy"] is None


def test_similarity_compares_with_the_original_and_originals_enter_nothing_else() -> None:
    solutions = [made(ORIGINAL, set(), [0.1, 0.1]), made("redundency", {0}, [0.9, 0.1])]
    found = evaluate(solutions, threshold=0.5)["total"]
    assert found["n"] == 1
    assert found["similarity"] == pytest.approx(0.5)


def test_the_chosen_threshold_is_the_best_score_and_comes_from_the_other_half() -> None:
    solutions = [made("circular", {1}, [0.8, 0.6], idx=str(i)) for i in range(30)]
    assert choose_threshold(solutions) == 0.8
    assert confusion(solutions, 0.8) == Confusion(right_right=30, wrong_wrong=30)
    found = evaluate(solutions)
    assert found["chosen_on"] == "one half of the questions"
    assert 0 < found["total"]["n"] < 30
    assert found["total"]["prm_score"] == 1


def test_scores_come_from_a_model_or_a_file(tmp_path: Path) -> None:
    solutions = read_prmbench(write_lines(tmp_path / "b.jsonl", [row("circular", [2])]))
    scorer = TableScorer(lambda question, steps: [0.9 if step == "right" else 0.1 for step in steps])
    assert evaluate(asyncio.run(score_modified(solutions, scorer)), threshold=0.5)["total"]["prm_score"] == 1
    scores = write_lines(tmp_path / "s.jsonl", [{"id": "circular_p1_0", "scores": [0.9, 0.1, 0.9]}])
    assert evaluate(read_prmbench_scores(scores, solutions), threshold=0.5)["total"]["prm_score"] == 1
    with pytest.raises(DataError, match="no record for 1 solutions, the first is 'circular_p1_0'"):
        read_prmbench_scores(write_lines(tmp_path / "s.jsonl", [{"id": "x", "scores": [1]}]), solutions)
