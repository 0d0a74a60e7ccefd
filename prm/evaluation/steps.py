"""Step scores against step labels: AUROC and calibration error, over all steps and by depth.

Contract: every labelled step is an item: its score, its label, its depth (0 the first step) and its problem.
A label above `RIGHT_ABOVE` makes the step right for AUROC, as in training; calibration compares scores with
the labels as they are, so that soft labels (shares of right completions) are met by their own value. Steps
without a label are left out. Steps of one problem are one group of the intervals. By depth, those of `depths`
or more are put together. For whole solutions there is the AUROC of every aggregate against "every labelled
step is right".

Input are the rows that training reads (`prm.labels`), with `scores` beside `labels` where a model's output is
published. It fits nothing: scores are judged as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.aggregates import Aggregate, aggregate, applicable
from prm.evaluation.calibration import BINS, calibration
from prm.evaluation.discrimination import RIGHT_ABOVE, discrimination
from prm.evaluation.rows import Row, read_rows
from prm.evaluation.scoring import AS_USUAL, Scoring, score_fitting
from prm.scoring.base import StepScorer
from tasks.errors import DataError, UsageError

DEPTHS = 16


@dataclass(frozen=True, kw_only=True)
class LabelledSteps:
    """A solution, a label in [0, 1] or None for each step, and scores once there are some."""

    id: str
    question: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    scores: tuple[float, ...] = ()


def read_labelled(path: Path, *, scored: bool = False) -> list[LabelledSteps]:
    """Rows `prompt`, `completions`, `labels`, perhaps `id` (else the prompt), and `scores` if `scored`.

    `DataError` with file and line for a broken record.
    """
    found: list[LabelledSteps] = []
    for row in read_rows(path):
        steps, labels = row.texts("completions"), row.items("labels")
        scores = row.scores("scores") if scored else ()
        for name, values in (("labels", labels), ("scores", scores)):
            if len(values) != len(steps) and (scored or name == "labels"):
                row.fail(f"{len(values)} {name} for {len(steps)} completions; there must be one each")
        found.append(
            LabelledSteps(
                id=row.name("id") if "id" in row.content else row.text("prompt"),
                question=row.text("prompt"),
                steps=steps,
                labels=tuple(_label(row, value) for value in labels),
                scores=scores,
            )
        )
    if not found:
        raise DataError(f"{path}: no record in the file")
    return found


def _label(row: Row, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
        row.fail(f"'labels' must hold numbers in [0, 1], true, false or null, got {value!r} in it")
    return float(value)


async def score_labelled(
    solutions: Sequence[LabelledSteps],
    scorer: StepScorer,
    how: Scoring = AS_USUAL,
) -> list[LabelledSteps]:
    """The solutions with the scores of `scorer`; those that are too long are left out where `how` says so."""
    pairs = [(each.question, each.steps) for each in solutions]
    scored = await score_fitting(scorer, pairs, [each.id for each in solutions], how)
    return [
        replace(each, scores=given.scores)
        for each, given in zip(solutions, scored, strict=True)
        if given is not None
    ]


@dataclass(frozen=True, slots=True)
class _Item:
    score: float
    label: float
    depth: int
    problem: str


def evaluate(solutions: Sequence[LabelledSteps], *, bins: int = BINS, depths: int = DEPTHS) -> dict[str, Any]:
    """The report: `steps`, `by_depth` and `solutions`. `UsageError` without a labelled step with a score."""
    items = [
        _Item(score, label, min(depth, depths), each.question)
        for each in solutions
        for depth, (score, label) in enumerate(zip(each.scores, each.labels, strict=False))
        if label is not None
    ]
    if not items:
        raise UsageError("no step with a label and a score to evaluate")
    by_depth = {
        depth: [item for item in items if item.depth == depth] for depth in sorted({i.depth for i in items})
    }
    return {
        "bench": "steps",
        "n_solutions": len(solutions),
        "steps": _measure(items, bins),
        "by_depth": [
            {"depth": depth, "or_more": depth == depths} | _measure(found, bins)
            for depth, found in by_depth.items()
        ],
        "solutions": _solutions(solutions),
    }


def _measure(items: Sequence[_Item], bins: int) -> dict[str, Any]:
    scores = [item.score for item in items]
    found = discrimination(
        scores, [item.label > RIGHT_ABOVE for item in items], [item.problem for item in items]
    )
    return found | calibration(scores, [item.label for item in items], bins=bins)


def _solutions(solutions: Sequence[LabelledSteps]) -> dict[str, Any]:
    """AUROC of each aggregate against "every labelled step is right", over solutions with a label."""
    judged = [each for each in solutions if each.scores and any(label is not None for label in each.labels)]
    right = [all(label is None or label > RIGHT_ABOVE for label in each.labels) for each in judged]
    groups = [each.question for each in judged]
    fitting = applicable(each.scores for each in judged)
    return {
        how.value: discrimination([aggregate(each.scores, how) for each in judged], right, groups)
        if how in fitting
        else None
        for how in Aggregate
    }
