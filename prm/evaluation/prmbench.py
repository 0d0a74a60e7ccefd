"""PRMBench: step-level verdicts on solutions with errors of nine kinds put into them.

Contract: a step is predicted right where its score is at least the threshold. With right steps as the
positive class, PRMScore = (F1 + negative F1) / 2, where negative F1 has the wrong steps as its class; for
`multi_solutions`, whose solutions have no wrong step, it is F1 alone. Besides: accuracy on right, on wrong
and on all steps, and on the first wrong step. The totals pool the steps of all kinds; `simplicity`,
`soundness` and `sensitivity` are means of their kinds' PRMScores. `similarity` is the mean absolute
difference between the share of steps called right in a solution and in its original, where the original is
known (the file's `redundency` records carry it). What is undefined is None, never -1. All in [0, 1].

The threshold is given, or chosen on the solutions of one half of the questions to maximise the PRMScore and
applied to the other half; the report says which. Besides stands the threshold-free AUROC over all steps.

Source: Song et al. 2025, arXiv 2501.03124; metrics, kinds and record format read in the repository
ssmisya/PRMBench (`mr_eval/tasks/prmtest_classified`, `docs/data_format.md`); the spelling `redundency` is the
data's. Deviations: undefined figures are None; similarity keeps solutions whose original has no step called
right, which the code drops; models with a redundancy output of their own are not read.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.evaluation.discrimination import discrimination
from prm.evaluation.rows import Row, read_rows
from prm.evaluation.scoring import AS_USUAL, Scoring, score_fitting
from prm.scoring.base import StepScorer
from tasks.errors import DataError, UsageError

KINDS: Mapping[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
ORIGINAL = "correct"
"""The kind of unmodified solutions; they enter nothing but the similarity."""
_HAS_ORIGINAL = "redundency"
_NO_ERRORS = "multi_solutions"


@dataclass(frozen=True, kw_only=True)
class ModifiedSolution:
    """A solution with errors of one kind: `errors` are indices of its wrong steps, from 0."""

    id: str
    kind: str
    question: str
    steps: tuple[str, ...]
    errors: frozenset[int]
    scores: tuple[float, ...] = ()


def read_prmbench(path: Path) -> list[ModifiedSolution]:
    """The benchmark's JSON lines; `DataError` with file and line for a broken record.

    Ids become ``KIND_IDX``, as in the repository, where IDX is without a kind in front, so that it is the
    same for all modifications of one solution. Of records with the same id the first counts.
    """
    valid = [kind for kinds in KINDS.values() for kind in kinds]
    found: dict[str, ModifiedSolution] = {}
    for row in read_rows(path):
        kind = row.text("classification")
        name = row.name("idx").removeprefix(f"{kind}_")
        if kind not in valid:
            row.fail(f"unknown classification {kind!r}; valid: {', '.join(valid)}")
        if kind == _HAS_ORIGINAL:
            original = _solution(row, ORIGINAL, name, "original_question", "original_process", ())
            found.setdefault(original.id, original)
        errors = row.items("error_steps", empty=True)
        made = _solution(row, kind, name, "modified_question", "modified_process", errors)
        found.setdefault(made.id, made)
    if not found:
        raise DataError(f"{path}: no record in the file")
    return list(found.values())


def _solution(
    row: Row, kind: str, name: str, question: str, process: str, errors: Sequence[Any]
) -> ModifiedSolution:
    steps = row.texts(process)
    for error in errors:
        if type(error) is not int or not 1 <= error <= len(steps):
            row.fail(f"'error_steps' must be whole numbers from 1 to {len(steps)}, got {error!r} in it")
    return ModifiedSolution(
        id=f"{kind}_{name}",
        kind=kind,
        question=row.text(question),
        steps=steps,
        errors=frozenset(error - 1 for error in errors),
    )


def read_prmbench_scores(path: Path, solutions: Sequence[ModifiedSolution]) -> list[ModifiedSolution]:
    """`solutions` with published scores: records `id` (``KIND_IDX``) and `scores`, one a step."""
    scores: dict[str, tuple[float, ...]] = {}
    known = {each.id: each for each in solutions}
    for row in read_rows(path):
        name = row.name("id")
        if name in known:
            scores[name] = row.scores("scores")
            if len(scores[name]) != len(known[name].steps):
                row.fail(f"{len(scores[name])} scores for the {len(known[name].steps)} steps of {name!r}")
    if missing := [name for name in known if name not in scores]:
        raise DataError(
            f"{path}: no record for {len(missing)} solutions, the first is {missing[0]!r}; ids are "
            f"KIND_IDX, and {ORIGINAL}_IDX for the original solutions, which {_HAS_ORIGINAL} records have too"
        )
    return [replace(each, scores=scores[each.id]) for each in solutions]


async def score_modified(
    solutions: Sequence[ModifiedSolution],
    scorer: StepScorer,
    how: Scoring = AS_USUAL,
) -> list[ModifiedSolution]:
    """The solutions with the scores of `scorer`; those that are too long are left out where `how` says so."""
    pairs = [(each.question, each.steps) for each in solutions]
    scored = await score_fitting(scorer, pairs, [each.id for each in solutions], how)
    return [
        replace(each, scores=given.scores)
        for each, given in zip(solutions, scored, strict=True)
        if given is not None
    ]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of steps: right or wrong, and called so."""

    right_right: int = 0
    right_wrong: int = 0
    """Right steps called wrong."""
    wrong_right: int = 0
    """Wrong steps called right."""
    wrong_wrong: int = 0

    @property
    def f1(self) -> float | None:
        """F1 of the right steps, 2 TP / (2 TP + FP + FN); None where none is right or called so."""
        return _share(2 * self.right_right, 2 * self.right_right + self.wrong_right + self.right_wrong)

    @property
    def negative_f1(self) -> float | None:
        """F1 of the wrong steps; None where none is wrong or called so."""
        return _share(2 * self.wrong_wrong, 2 * self.wrong_wrong + self.wrong_right + self.right_wrong)

    def prm_score(self, *, errors: bool = True) -> float | None:
        """(F1 + negative F1) / 2, or F1 alone for solutions without errors."""
        if not errors:
            return self.f1
        return None if self.f1 is None or self.negative_f1 is None else (self.f1 + self.negative_f1) / 2


def confusion(solutions: Iterable[ModifiedSolution], threshold: float) -> Confusion:
    """The counts over all steps of `solutions`."""
    counts = {(wrong, called): 0 for wrong in (False, True) for called in (False, True)}
    for each in solutions:
        for index, score in enumerate(each.scores):
            counts[index in each.errors, score >= threshold] += 1
    return Confusion(
        right_right=counts[False, True],
        right_wrong=counts[False, False],
        wrong_right=counts[True, True],
        wrong_wrong=counts[True, False],
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def evaluate(solutions: Sequence[ModifiedSolution], *, threshold: float | None = None) -> dict[str, Any]:
    """The report; without a threshold it is chosen on one half of the questions (see the module docstring).

    Raises `UsageError` without a modified solution with scores.
    """
    chosen_on = "given by the caller"
    if threshold is None:
        first, solutions = _halves(solutions)
        threshold, chosen_on = choose_threshold(first), "one half of the questions"
    modified = [each for each in solutions if each.kind != ORIGINAL and each.scores]
    if not modified:
        raise UsageError("no modified solution with scores to evaluate")
    by_kind = {
        kind: _measure([each for each in modified if each.kind == kind], solutions, threshold)
        for kinds in KINDS.values()
        for kind in kinds
    }
    groups = {group: _mean([by_kind[kind]["prm_score"] for kind in kinds]) for group, kinds in KINDS.items()}
    return {
        "bench": "prmbench",
        "threshold": threshold,
        "chosen_on": chosen_on,
        "total": _measure(modified, solutions, threshold),
        "groups": groups,
        "kinds": by_kind,
    }


def choose_threshold(solutions: Sequence[ModifiedSolution]) -> float:
    """The score that as threshold has the largest PRMScore over all kinds; of equals the smallest."""
    modified = [each for each in solutions if each.kind != ORIGINAL]
    ordered: dict[bool, list[float]] = {False: [], True: []}
    for each in modified:
        for index, score in enumerate(each.scores):
            ordered[index in each.errors].append(score)
    right, wrong = sorted(ordered[False]), sorted(ordered[True])
    if not right and not wrong:
        raise UsageError("no solution with scores to choose a threshold on; give one")

    def value(threshold: float) -> float:
        right_wrong, wrong_wrong = bisect_left(right, threshold), bisect_left(wrong, threshold)
        counts = Confusion(len(right) - right_wrong, right_wrong, len(wrong) - wrong_wrong, wrong_wrong)
        return counts.prm_score() or 0.0

    return max(sorted({*right, *wrong}), key=value)


def _halves(
    solutions: Sequence[ModifiedSolution],
) -> tuple[list[ModifiedSolution], list[ModifiedSolution]]:
    parts: tuple[list[ModifiedSolution], list[ModifiedSolution]] = ([], [])
    for each in solutions:
        key = each.id.removeprefix(f"{each.kind}_")
        parts[hashlib.sha256(key.encode()).digest()[0] % 2].append(each)
    return parts


def _measure(
    found: Sequence[ModifiedSolution], everything: Sequence[ModifiedSolution], threshold: float
) -> dict[str, Any]:
    counts = confusion(found, threshold)
    right, wrong = counts.right_right + counts.right_wrong, counts.wrong_right + counts.wrong_wrong
    firsts = [each.scores[min(each.errors)] < threshold for each in found if each.errors]
    originals = {each.id.removeprefix(f"{ORIGINAL}_"): each for each in everything if each.kind == ORIGINAL}
    gaps = [
        abs(_called_right(each, threshold) - _called_right(originals[key], threshold))
        for each in found
        if (key := each.id.removeprefix(f"{each.kind}_")) in originals
    ]
    only_right = bool(found) and all(each.kind == _NO_ERRORS for each in found)
    told = discrimination(
        [score for each in found for score in each.scores],
        [index not in each.errors for each in found for index in range(len(each.scores))],
        [each.id.removeprefix(f"{each.kind}_") for each in found for _ in each.scores],
    )
    return {
        "n": len(found),
        "prm_score": counts.prm_score(errors=not only_right),
        "f1": counts.f1,
        "negative_f1": counts.negative_f1,
        "right_step_accuracy": _share(counts.right_right, right),
        "wrong_step_accuracy": _share(counts.wrong_wrong, wrong),
        "step_accuracy": _share(counts.right_right + counts.wrong_wrong, right + wrong),
        "first_error_accuracy": _share(sum(firsts), len(firsts)),
        "similarity": _mean(gaps),
        "auroc": told["auroc"],
        "auroc_ci95": told["auroc_ci95"],
    }


def _called_right(solution: ModifiedSolution, threshold: float) -> float:
    return sum(score >= threshold for score in solution.scores) / len(solution.scores)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
