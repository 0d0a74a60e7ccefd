"""A new calibration of a trained model, on labelled steps that training has not seen.

Contract: scores are taken as they are before calibration, so that calibrating twice is calibrating once.
Problems (by their question) are dealt by a seeded hash: the map is fitted on one half and judged on the
other, and what is written is the map that was judged. Only ``prm.json`` changes, at once; its
`trained.calibration` holds the report. Labels decide what a score means: shares of right completions make it
the policy's chance to succeed from there, verdicts make it the chance that the step is right.

It does not check that the problems were held out from training: that is the caller's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prm.calibration import find_fit
from prm.checkpoint import CARD, Calibration, read_card
from prm.evaluation.scoring import CONCURRENCY, Scoring
from prm.evaluation.steps import LabelledSteps, evaluate, read_labelled, score_labelled
from prm.registry import open_uncalibrated
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_json
from treesearch.seeds import derive

FIGURES = ("auroc", "ece", "brier")


async def calibrate(
    folder: Path,
    data: Path,
    *,
    out: Path | None = None,
    kind: str = "platt",
    settings: Mapping[str, Any] | None = None,
    concurrency: int = CONCURRENCY,
    on_done: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Fit `kind` (platt or isotonic) to the rows of `data` and write it into `folder`.

    With `out` the folder stays as it is, and a copy of it at `out` has the map.

    `data` is what ``search prm eval --bench steps`` reads. Returns kind, numbers of problems, and AUROC,
    calibration error and Brier score before (as the model scored until now) and after, all steps and by
    depth, on the half that nothing was fitted to. Raises `DataError` for a folder that is no model of the
    trainer's, broken rows, or fewer than two problems, `UsageError` for an unknown kind or setting, or an
    `out` that is there.
    """
    if out is not None and out.exists():
        raise UsageError(f"{out} is there already; name another folder with --out")
    fit, card = find_fit(kind), read_card(folder)
    labelled = read_labelled(data)
    problems = sorted({each.question for each in labelled}, key=lambda name: derive(0, "calibrate", name))
    if len(problems) < 2:
        raise DataError(f"{data}: one problem alone cannot be fitted to and judged by; give more problems")
    fitted_on = set(problems[::2])
    scorer = open_uncalibrated(folder, settings)
    try:
        how = Scoring(concurrency=concurrency, on_done=on_done)
        scored = await score_labelled(labelled, scorer, how)
    finally:
        await scorer.close()
    pairs = [pair for each in scored if each.question in fitted_on for pair in _labelled(each)]
    found = fit([score for score, _ in pairs], [label for _, label in pairs])
    judged = [each for each in scored if each.question not in fitted_on]
    report = {
        "kind": kind,
        "problems": {"fitted": len(fitted_on), "judged": len(problems) - len(fitted_on)},
        "before": _figures(judged, card.calibration),
        "after": _figures(judged, found),
    }
    changed = replace(card, calibration=found, trained={**card.trained, "calibration": report})
    if out is not None:
        _copy(folder, out)
    write_json((out or folder) / CARD, changed.to_json())
    return report


def _copy(folder: Path, out: Path) -> None:
    """A copy of a model's folder, there in whole or not at all."""
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(folder, beside)
    beside.rename(out)


def _labelled(each: LabelledSteps) -> list[tuple[float, float]]:
    pairs = zip(each.scores, each.labels, strict=True)
    return [(score, label) for score, label in pairs if label is not None]


def _figures(scored: Sequence[LabelledSteps], calibration: Calibration | None) -> dict[str, Any]:
    """Figures of the scores under a calibration, all steps and by depth from 1."""
    if calibration is not None:
        scored = [replace(each, scores=tuple(map(calibration, each.scores))) for each in scored]
    found = evaluate(scored)
    every = found["steps"]
    figures: dict[str, Any] = {name: every[name] for name in ("n", *FIGURES)}
    depths = {str(part["depth"] + 1): part for part in found["by_depth"]}
    return figures | {
        "by_depth": {depth: {name: part[name] for name in ("n", *FIGURES)} for depth, part in depths.items()}
    }
