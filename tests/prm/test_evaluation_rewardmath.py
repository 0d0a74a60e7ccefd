"""RewardMATH: ties count against the model, chance is where it should be, broken files are named."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from evaluation_worlds import TableScorer, write_lines

from prm.aggregates import Aggregate
from prm.evaluation.rewardmath import (
    RankedProblem,
    evaluate,
    rank,
    read_problems,
    read_scores,
    score_problems,
)
from tasks.errors import DataError, UsageError


def problem(right: float, wrong: list[float]) -> RankedProblem:
    return RankedProblem("p", (right,), tuple((score,) for score in wrong))


def test_a_tie_ranks_behind_and_a_constant_scorer_gets_nothing() -> None:
    assert rank(0.5, [0.5, 0.4, 0.6]) == 3
    found = evaluate([problem(0.5, [0.5] * 9)])
    for entry in found.values():
        assert entry is not None
        assert entry["accuracy"] == 0
        assert entry["mrr"] == pytest.approx(10)


def test_an_oracle_gets_everything_and_an_anti_oracle_the_last_rank() -> None:
    best, worst = evaluate([problem(0.9, [0.1] * 9)]), evaluate([problem(0.1, [0.9] * 9)])
    assert {(e["accuracy"], e["mrr"]) for e in best.values() if e} == {(100.0, 100.0)}
    assert {(e["accuracy"], round(e["mrr"], 9)) for e in worst.values() if e} == {(0.0, 10.0)}


def test_random_scores_are_at_the_chance_level_of_ten_percent_and_h10_over_ten() -> None:
    rng = random.Random(0)
    problems = [problem(rng.random(), [rng.random() for _ in range(9)]) for _ in range(2500)]
    entry = evaluate(problems)["min"]
    assert entry is not None
    low, high = entry["accuracy_ci95"]
    assert low < 10 < high
    assert entry["mrr"] == pytest.approx(100 * sum(1 / r for r in range(1, 11)) / 10, abs=1.5)


def test_every_aggregate_is_reported_and_one_outside_its_domain_is_null() -> None:
    assert list(evaluate([problem(0.5, [0.1])])) == [how.value for how in Aggregate]
    found = evaluate([problem(-2.0, [0.1])])
    assert [how for how, entry in found.items() if entry is None] == [
        "product",
        "geometric_mean",
        "mean_logit",
    ]
    with pytest.raises(UsageError, match="no problem"):
        evaluate([])


def test_aggregates_disagree_where_steps_do() -> None:
    found = evaluate([RankedProblem("p", (0.6, 0.6), ((0.1, 0.9),))])
    assert {how: entry["accuracy"] for how, entry in found.items() if entry} == {
        "min": 100,
        "product": 100,
        "geometric_mean": 100,
        "mean": 100,
        "mean_logit": 100,
        "last": 0,
        "max": 0,
    }


def test_published_scores_are_read_from_a_json_array_with_the_line_of_a_broken_record(tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    file.write_text(
        '[\n {"problem": "p", "score": [[0.5], [0.25, 1]]},\n {"problem": "q", "score": [[0.5]]}\n]'
    )
    with pytest.raises(DataError, match=r"scores\.json:3: 'score' must hold a right and at least one wrong"):
        read_scores(file)
    file.write_text('[\n {"problem": "p", "score": [[0.5], [0.25, 1]]}\n]')
    assert read_scores(file) == [RankedProblem("p", (0.5,), ((0.25, 1.0),))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "p", "score": [[0.5], [0.2]]}\n{"problem": "p"}\n', r":2: no key 'score'"),
        ('{"problem": "p", "score": [[0.5], ["x"]]}\n', r":1: 'score' must hold finite numbers, got 'x'"),
        ('{"problem": "p", "score": [[0.5], [NaN]]}\n', r":1: 'score' must hold finite numbers"),
        ('{"problem": "p", "score": [[0.5], []]}\n', r":1: 'score' must be a non-empty list"),
        ('\n\n{"problem": \n', r":3: not JSON"),
        ('[\n{"problem": "p", "score": [[0.5], [0.2]]}\n{"problem"', r":3: not JSON \(expected a comma"),
        ('[\n{"problem": "p", "score": [[0.5], [0.2]]},\n{"problem" 1}]', r":3: not JSON"),
        ("[\n\n 7]", r":3: expected a JSON object, found 7"),
        ("", r"the file is empty"),
        ("[]", r"no record"),
    ],
)
def test_a_broken_scores_file_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "scores.json"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_scores(file)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*check the path"):
        read_scores(tmp_path / "none.json")


def direct(problem_id: int, kind: str, steps: list[str]) -> dict[str, object]:
    return {
        "problem": f"p{problem_id}",
        "eval_solution": steps,
        "solution_type": kind,
        "problem_id": problem_id,
    }


def test_a_scorer_is_evaluated_on_the_direct_file(tmp_path: Path) -> None:
    rows = [direct(i, "chosen", ["good", "good"]) for i in range(3)]
    rows += [direct(i, "rejected", ["good", "bad"]) for i in range(3) for _ in range(9)]
    problems = read_problems(write_lines(tmp_path / "direct.json", rows))
    assert [(p.problem, len(p.wrong)) for p in problems] == [("p0", 9), ("p1", 9), ("p2", 9)]
    scorer = TableScorer(lambda question, steps: [0.9 if step == "good" else 0.2 for step in steps])
    found = evaluate(asyncio.run(score_problems(problems, scorer)))
    assert len(scorer.calls) == 30
    assert {how: entry["accuracy"] for how, entry in found.items() if entry} == dict.fromkeys(
        ("min", "product", "geometric_mean", "mean", "mean_logit", "last"), 100
    ) | {"max": 0}


def test_a_problem_without_its_right_solution_is_an_error(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "direct.json", [direct(1, "rejected", ["x"])])
    with pytest.raises(DataError, match="'1' has 0 chosen and 1 rejected"):
        read_problems(file)
    file = write_lines(tmp_path / "direct.json", [direct(1, "better", ["x"])])
    with pytest.raises(DataError, match=":1: 'solution_type' must be chosen or rejected, got 'better'"):
        read_problems(file)
