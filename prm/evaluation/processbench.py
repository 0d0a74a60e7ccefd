"""ProcessBench: does a model find the first wrong step.

Contract: a solution with scores is predicted wrong at the first step whose score is below the threshold, or
right (-1) if none is. `acc_err` is the share of wrong solutions whose first error is named exactly, `acc_cor`
that of right solutions predicted right; F1 is their harmonic mean, 0 where either is 0. All in [0, 1].

`choose_threshold` finds the threshold of largest F1 exactly, by sweeping all of them; `evaluate` takes it
from one part of the data and applies it, frozen, to the others, which alone enter the average. With a single
part it is chosen on the solutions of one half of the problems and the figures are of the other half
(`halves`). A threshold given by the caller is used everywhere; whether it saw these data is the caller's to
know (`held_out` is then None). A critic's predictions need none.

Beside F1 the report holds, for every aggregate, the AUROC of solutions without a wrong step against others.

Source: Zheng et al. 2024, arXiv 2412.06559, section 3; code QwenLM/ProcessBench. Deviation: F1 has an
interval, made of simultaneous Wilson intervals of its two independent parts, between which it is monotone;
it holds with at least 95 %.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.aggregates import Aggregate, aggregate, applicable
from prm.evaluation.discrimination import discrimination
from prm.evaluation.rows import read_rows
from prm.evaluation.scoring import AS_USUAL, Scoring, score_fitting
from prm.scoring.base import StepScorer
from tasks.errors import DataError, UsageError, unknown_name
from treesearch.run.summary import wilson_interval

ALL_RIGHT = -1
_GIVEN = "given by the caller"
_Z_BOTH = 2.2364774  # two independent intervals of 97.47 % hold together with 95 %


@dataclass(frozen=True, kw_only=True)
class CheckedSolution:
    """A solution whose first wrong step people marked: `label` counts from 0, -1 where every step is right.

    A solution with a right final answer may have a wrong step.
    """

    id: str
    generator: str
    problem: str
    steps: tuple[str, ...]
    final_answer_correct: bool
    label: int


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A solution with the scores of its steps, or with a critic's prediction, -1 for all right."""

    solution: CheckedSolution
    scores: tuple[float, ...] = ()
    prediction: int | None = None


def read_processbench(path: Path) -> list[CheckedSolution]:
    """A part of ProcessBench, as JSON array or lines; `DataError` with file and line for a broken record."""
    found: dict[str, CheckedSolution] = {}
    for row in read_rows(path):
        steps, name = row.texts("steps"), row.name("id")
        if name in found:
            row.fail(f"the id {name!r} occurs twice")
        found[name] = CheckedSolution(
            id=name,
            generator=row.text("generator"),
            problem=row.text("problem"),
            steps=steps,
            final_answer_correct=row.flag("final_answer_correct"),
            label=row.integer("label", ALL_RIGHT, len(steps) - 1),
        )
    if not found:
        raise DataError(f"{path}: no record in the file")
    return list(found.values())


def read_predictions(path: Path, solutions: Sequence[CheckedSolution]) -> list[Predicted]:
    """Published output for `solutions`, one record each: `id`, and `scores` (one a step) or `prediction`.

    Records of other ids are left out, unread: a file may hold all parts of the benchmark, or records behind a
    limit. A mistyped id shows as a solution without a record.

    `DataError` with file and line for a broken record, and for solutions without a record.
    """
    known = {solution.id: solution for solution in solutions}
    found: dict[str, Predicted] = {}
    for row in read_rows(path):
        solution = known.get(name := row.name("id"))
        if solution is None:
            continue
        if name in found:
            row.fail(f"the id {name!r} occurs twice")
        if "scores" in row.content:
            scores = row.scores("scores")
            if len(scores) != len(solution.steps):
                row.fail(f"{len(scores)} scores for the {len(solution.steps)} steps of {name!r}")
            found[name] = Predicted(solution=solution, scores=scores)
        else:
            last = len(solution.steps) - 1
            found[name] = Predicted(solution=solution, prediction=row.integer("prediction", ALL_RIGHT, last))
    if missing := [name for name in known if name not in found]:
        raise DataError(f"{path}: no record for {len(missing)} solutions, the first is {missing[0]!r}")
    return [found[name] for name in known]


async def score_parts(
    parts: Mapping[str, Sequence[CheckedSolution]], scorer: StepScorer, how: Scoring = AS_USUAL
) -> dict[str, list[Predicted]]:
    """Every part with the scores of `scorer`; those that are too long are left out where `how` says so."""
    every = [each for part in parts.values() for each in part]
    asked = [(each.problem, each.steps) for each in every]
    scored = iter(await score_fitting(scorer, asked, [each.id for each in every], how))
    return {
        name: [
            Predicted(solution=each, scores=given.scores)
            for each in part
            if (given := next(scored)) is not None
        ]
        for name, part in parts.items()
    }


def first_below(scores: Sequence[float], threshold: float) -> int:
    """Index of the first score below `threshold`, or -1."""
    return next((index for index, score in enumerate(scores) if score < threshold), ALL_RIGHT)


def harmonic(first: float, second: float) -> float:
    """Harmonic mean of two numbers of at least 0; 0 if either is 0."""
    return 2 * first * second / (first + second) if first > 0 and second > 0 else 0.0


def measure(predicted: Sequence[Predicted], threshold: float | None) -> dict[str, Any]:
    """F1 and its parts, with 95 % intervals and counts; a part is None where its class has no solution.

    `threshold` may be None only where all have a prediction of their own (`UsageError`).
    """
    right = {True: 0, False: 0}
    count = {True: 0, False: 0}
    for each in predicted:
        wrong = each.solution.label != ALL_RIGHT
        count[wrong] += 1
        right[wrong] += _predict(each, threshold) == each.solution.label
    err, cor = (right[kind] / count[kind] if count[kind] else None for kind in (True, False))
    low, high = zip(*(wilson_interval(right[kind], count[kind], z=_Z_BOTH) for kind in right), strict=True)
    return {
        "f1": None if err is None or cor is None else harmonic(err, cor),
        "f1_ci95": [harmonic(*low), harmonic(*high)],
        "acc_err": err,
        "acc_err_ci95": list(wilson_interval(right[True], count[True])),
        "acc_cor": cor,
        "acc_cor_ci95": list(wilson_interval(right[False], count[False])),
        "n_err": count[True],
        "n_cor": count[False],
    }


def _predict(each: Predicted, threshold: float | None) -> int:
    if each.prediction is not None:
        return each.prediction
    if threshold is None:
        raise UsageError(
            f"no threshold for the scores of {each.solution.id!r}; give one or choose it on a part"
        )
    return first_below(each.scores, threshold)


def choose_threshold(predicted: Sequence[Predicted]) -> float:
    """The threshold of largest F1 on `predicted`, in the middle of the range that has it.

    Each solution is predicted exactly for the thresholds of one interval (low, high]: a right one up to its
    smallest score; a wrong one above its first wrong step's score and up to the smallest before it. So F1 is
    constant between neighbouring ends, and the sweep over them is exact. Of equal ranges the widest is taken.
    """
    spans = [(_span(each), each.solution.label != ALL_RIGHT) for each in predicted if each.scores]
    if not spans:
        raise UsageError("no solution with scores to choose a threshold on")
    ends = sorted({end for span, _ in spans for end in span if math.isfinite(end)})
    opens: dict[float, list[int]] = {}
    for (low, high), wrong in spans:
        if low < high:
            opens.setdefault(low, [0, 0])[wrong] += 1
            opens.setdefault(high, [0, 0])[wrong] -= 1
    n = [sum(wrong is kind for _, wrong in spans) or 1 for kind in (False, True)]
    inside = list(opens.get(-math.inf, [0, 0]))
    best = (harmonic(inside[1] / n[1], inside[0] / n[0]), 0.0, ends[0])
    for end, following in zip(ends, [*ends[1:], ends[-1] + 1.0], strict=True):
        inside = [now + change for now, change in zip(inside, opens.get(end, [0, 0]), strict=True)]
        f1 = harmonic(inside[1] / n[1], inside[0] / n[0])
        middle = (end + following) / 2
        best = max(best, (f1, following - end, middle if middle > end else following))
    return best[2]


def _span(each: Predicted) -> tuple[float, float]:
    label = each.solution.label
    if label == ALL_RIGHT:
        return -math.inf, min(each.scores)
    return each.scores[label], min(each.scores[:label], default=math.inf)


def halves(predicted: Sequence[Predicted]) -> tuple[list[Predicted], list[Predicted]]:
    """Two parts by a hash of the problem's text: solutions of one problem are in the same part."""
    parts: tuple[list[Predicted], list[Predicted]] = ([], [])
    for each in predicted:
        parts[hashlib.sha256(each.solution.problem.encode()).digest()[0] % 2].append(each)
    return parts


def evaluate(
    parts: Mapping[str, Sequence[Predicted]],
    *,
    threshold: float | None = None,
    choose_on: str | None = None,
) -> dict[str, Any]:
    """The report on all parts: `threshold`, `chosen_on`, `parts`, and `average_f1` over the held-out ones.

    Raises `UsageError` for an unknown `choose_on`, for both a threshold and a part to choose it on, and for
    several parts with neither.
    """
    if threshold is not None and choose_on is not None:
        raise UsageError("a threshold and a part to choose it on were given; give one of them")
    if choose_on is not None and choose_on not in parts:
        raise unknown_name("part", choose_on, parts)
    threshold, chosen_on, shown = _freeze(parts, threshold, choose_on)
    given = chosen_on == _GIVEN
    found: dict[str, dict[str, Any]] = {
        name: measure(part, threshold)
        | {"held_out": None if given else name != chosen_on, "outcome": _outcome(part)}
        for name, part in shown.items()
    }
    held_out = [
        part["f1"] for part in found.values() if part["held_out"] is not False and part["f1"] is not None
    ]
    return {
        "bench": "processbench",
        "threshold": threshold,
        "chosen_on": chosen_on,
        "parts": found,
        "average_f1": sum(held_out) / len(held_out) if held_out else None,
    }


def _freeze(
    parts: Mapping[str, Sequence[Predicted]], threshold: float | None, choose_on: str | None
) -> tuple[float | None, str | None, Mapping[str, Sequence[Predicted]]]:
    """The threshold, what it was chosen on, and the parts to report with it."""
    if all(each.prediction is not None for part in parts.values() for each in part):
        return None, None, parts
    if threshold is not None:
        return threshold, _GIVEN, parts
    if choose_on is not None:
        return choose_threshold(parts[choose_on]), choose_on, parts
    if len(parts) > 1:
        raise UsageError(f"give a threshold, or the part to choose it on: {', '.join(parts)}")
    ((name, only),) = parts.items()
    first, second = halves(only)
    return choose_threshold(first), f"{name} (one half of its problems)", {name: second}


def _outcome(part: Sequence[Predicted]) -> dict[str, Any] | None:
    """For each aggregate, how well it tells solutions without a wrong step from others."""
    if not all(each.scores for each in part):
        return None
    right = [each.solution.label == ALL_RIGHT for each in part]
    groups = [each.solution.problem for each in part]
    fitting = applicable(each.scores for each in part)
    return {
        how.value: discrimination([aggregate(each.scores, how) for each in part], right, groups)
        if how in fitting
        else None
        for how in Aggregate
    }
