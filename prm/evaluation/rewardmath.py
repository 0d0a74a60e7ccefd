"""RewardMATH: one right solution against nine wrong ones, under every aggregate.

Contract: for each problem the right solution has a rank, 1 + the number of wrong solutions with a score at
least as high, so that ties count against the model. Accuracy is the share of rank 1, MRR the mean of 1 /
rank, both in percent. With ten solutions, independent random scores give 10 % and H(10) / 10 = 29.29 %; a
constant score gives 0 % and 10 %. Intervals are Wilson's for the accuracy.

`read_scores` reads published step scores (`problem`, `score`: lists of step scores, the right solution's
first); `read_problems` reads the benchmark's direct file (one solution a record, `solution_type` chosen or
rejected), which `score_problems` scores with a model. It does not choose an aggregate.

Source: Kim et al. 2024, arXiv 2410.01729, sections 3 and 4; code kimsh0507/RewardMATH_official. Deviation:
the repository does not say how ties rank; here they count against the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.aggregates import Aggregate, aggregate, applicable
from prm.evaluation.rows import read_rows
from prm.evaluation.scoring import AS_USUAL, Scoring, score_fitting
from prm.scoring.base import StepScorer
from tasks.errors import DataError, UsageError
from treesearch.run.summary import wilson_interval

Scores = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RankedProblem:
    """Step scores of the right solution and of each wrong one (at least one)."""

    problem: str
    right: Scores
    wrong: tuple[Scores, ...]


@dataclass(frozen=True, slots=True)
class ChoiceProblem:
    """Steps of the right solution and of each wrong one (at least one)."""

    problem: str
    right: tuple[str, ...]
    wrong: tuple[tuple[str, ...], ...]


def read_scores(path: Path) -> list[RankedProblem]:
    """Published scores; `DataError` with file and line for a record that is none."""
    problems: list[RankedProblem] = []
    for row in read_rows(path):
        solutions = [row.numbers(scores, "score") for scores in row.items("score")]
        if len(solutions) < 2:
            row.fail(f"'score' must hold a right and at least one wrong solution, got {len(solutions)}")
        problems.append(RankedProblem(row.text("problem"), solutions[0], tuple(solutions[1:])))
    if not problems:
        raise DataError(f"{path}: no record in the file")
    return problems


def read_problems(path: Path) -> list[ChoiceProblem]:
    """The benchmark's direct file; `DataError` with file and line for a broken record.

    Records of one problem have the same `problem_id`, else the same `problem`.
    """
    texts: dict[str, str] = {}
    solutions: dict[str, dict[str, list[tuple[str, ...]]]] = {}
    for row in read_rows(path):
        problem = row.text("problem")
        key = row.name("problem_id") if "problem_id" in row.content else problem
        kind = row.text("solution_type")
        if kind not in ("chosen", "rejected"):
            row.fail(f"'solution_type' must be chosen or rejected, got {kind!r}")
        texts.setdefault(key, problem)
        solutions.setdefault(key, {"chosen": [], "rejected": []})[kind].append(row.texts("eval_solution"))
    for key, kinds in solutions.items():
        if len(kinds["chosen"]) != 1 or not kinds["rejected"]:
            counts = f"{len(kinds['chosen'])} chosen and {len(kinds['rejected'])} rejected"
            raise DataError(
                f"{path}: problem {key[:60]!r} has {counts} solutions; it needs one and at least one"
            )
    return [
        ChoiceProblem(texts[key], kinds["chosen"][0], tuple(kinds["rejected"]))
        for key, kinds in solutions.items()
    ]


async def score_problems(
    problems: Sequence[ChoiceProblem],
    scorer: StepScorer,
    how: Scoring = AS_USUAL,
) -> list[RankedProblem]:
    """The problems with the step scores of `scorer`.

    A problem with a solution that is too long is left out where `how` says so.
    """
    every = [(each.problem, steps) for each in problems for steps in (each.right, *each.wrong)]
    scored = iter(await score_fitting(scorer, every, [problem[:60] for problem, _ in every], how))
    found: list[RankedProblem] = []
    for each in problems:
        given = [next(scored) for _ in (each.right, *each.wrong)]
        scores = [one.scores for one in given if one is not None]
        if len(scores) == len(given):
            found.append(RankedProblem(each.problem, scores[0], tuple(scores[1:])))
    return found


def rank(right: float, wrong: Sequence[float]) -> int:
    """1 + the number of wrong solutions that score at least as high as the right one."""
    return 1 + sum(score >= right for score in wrong)


def evaluate(problems: Sequence[RankedProblem]) -> dict[str, dict[str, Any] | None]:
    """One entry an aggregate: `accuracy`, `accuracy_ci95`, `mrr` (percent) and `n`.

    None for an aggregate in whose domain the scores are not. Raises `UsageError` without a problem.
    """
    if not problems:
        raise UsageError("no problem to evaluate")
    fitting = applicable(scores for each in problems for scores in (each.right, *each.wrong))
    return {how.value: _entry(problems, how) if how in fitting else None for how in Aggregate}


def _entry(problems: Sequence[RankedProblem], how: Aggregate) -> dict[str, Any]:
    ranks = [
        rank(aggregate(each.right, how), [aggregate(scores, how) for scores in each.wrong])
        for each in problems
    ]
    first, n = sum(each == 1 for each in ranks), len(ranks)
    return {
        "accuracy": 100 * first / n,
        "accuracy_ci95": [100 * bound for bound in wilson_interval(first, n)],
        "mrr": 100 * sum(1 / each for each in ranks) / n,
        "n": n,
    }
