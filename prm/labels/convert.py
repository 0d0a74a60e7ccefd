"""Step labels from one file format to another: what `search prm convert` does.

Contract: `convert` reads a file in a format of `READERS` into rows (a solution, a label a step) and writes it
in one of `WRITERS`, replacing `out` when all is there. Every record is read and checked before anything is
written. A broken one is `DataError` with file and line, a row that the format to be written cannot hold is
`UsageError` with its number and id. Nothing is rounded unless `threshold` says how: then a label of at least
`threshold` is 1, any other 0.

What a format cannot hold is left out: ids beside `rows`, counts and token ids; alternatives of PRM800K that
were not chosen (`prm.labels.prm800k.to_records` has them); whether a solution's answer is right, which
ProcessBench wants and which is written as "no step is wrong".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from prm.evaluation.processbench import ALL_RIGHT, CheckedSolution, read_processbench
from prm.labels import prm800k, processbench
from prm.labels.math_shepherd import read_math_shepherd, write_math_shepherd
from prm.labels.rows import write_rows
from prm.labels.stepwise import read_stepwise, write_stepwise
from prm.training.rows import StepRow
from tasks.errors import UsageError, unknown_name


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """`neutral`: what a rating of 0 in PRM800K counts as: right, wrong or none (no label). `threshold`: from
    which label on a step is right, for formats with hard labels; None: only 0 and 1 are taken. `task`: the
    field `task` of Math-Shepherd records.
    """

    neutral: prm800k.Neutral = "right"
    threshold: float | None = None
    task: str = ""

    def __post_init__(self) -> None:
        if self.neutral not in get_args(prm800k.Neutral):
            raise unknown_name("reading of neutral", self.neutral, get_args(prm800k.Neutral))
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UsageError(f"threshold must be above 0 and at most 1, got {self.threshold:g}")


@dataclass(frozen=True, kw_only=True)
class Converted:
    """How many solutions were converted, their steps, and how many of these have a label."""

    n_solutions: int
    n_steps: int
    n_labels: int


Rows = list[StepRow]
READERS: Mapping[str, Callable[[Path, ConvertOptions], Rows]] = {
    "stepwise": lambda path, _: read_stepwise(path),
    "math-shepherd": lambda path, _: read_math_shepherd(path),
    "prm800k": lambda path, options: prm800k.to_rows(prm800k.read_prm800k(path), neutral=options.neutral),
    "processbench": lambda path, _: processbench.to_rows(read_processbench(path)),
}
WRITERS: Mapping[str, Callable[[Path, Rows, ConvertOptions], object]] = {
    "rows": lambda path, rows, _: write_rows(path, rows),
    "stepwise": lambda path, rows, _: write_stepwise(path, rows),
    "math-shepherd": lambda path, rows, options: write_math_shepherd(path, rows, task=options.task),
    "prm800k": lambda path, rows, _: prm800k.write_prm800k(path, _rated(rows)),
    "processbench": lambda path, rows, _: processbench.write_processbench(path, _checked(path.stem, rows)),
}
_HARD = ("math-shepherd", "prm800k", "processbench")


def convert(
    data: Path, out: Path, *, source: str, target: str, options: ConvertOptions | None = None
) -> Converted:
    """Write the labels of `data`, in the format `source`, to `out` in the format `target`; see the module."""
    options = options or ConvertOptions()
    if source not in READERS:
        raise unknown_name("format to read", source, READERS)
    if target not in WRITERS:
        raise unknown_name("format to write", target, WRITERS)
    rows = READERS[source](data, options)
    if not rows:
        raise UsageError(f"no solution of {data} has a label; nothing is written")
    if target in _HARD or options.threshold is not None:
        rows = [_hardened(number, row, options.threshold, target) for number, row in enumerate(rows, 1)]
    try:
        WRITERS[target](out, rows, options)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}; name another file with --out") from error
    labels = [label for row in rows for label in row.labels]
    return Converted(
        n_solutions=len(rows), n_steps=len(labels), n_labels=sum(label is not None for label in labels)
    )


def _hardened(number: int, row: StepRow, threshold: float | None, target: str) -> StepRow:
    """The row with labels 0, 1 and None; `UsageError` where that takes a threshold that was not given."""
    if threshold is not None:
        hard = tuple(None if label is None else float(label >= threshold) for label in row.labels)
        return replace(row, labels=hard, counts=())
    for label in row.labels:
        if label not in (0.0, 1.0, None):
            raise UsageError(
                f"{_place(number, row)} has the label {label:g}, and {target} holds 0 and 1 only; say from "
                "where on a step is right with --threshold X"
            )
    return row


def _first_error(number: int, row: StepRow) -> int:
    """Index of the first step with label 0, -1 where all are 1; `UsageError` for a step before it without."""
    for index, label in enumerate(row.labels):
        if label == 0:
            return index
        if label is None:
            raise UsageError(
                f"{_place(number, row)}: step {index + 1} has no label and no wrong step is before it, so "
                "that the first wrong step is not known; leave the solution out"
            )
    return ALL_RIGHT


def _checked(stem: str, rows: Sequence[StepRow]) -> list[CheckedSolution]:
    found: list[CheckedSolution] = []
    for number, row in enumerate(rows, 1):
        error = _first_error(number, row)
        found.append(
            CheckedSolution(
                id=f"{stem}-{number - 1}",
                generator="unknown",
                problem=row.prompt,
                steps=row.steps,
                final_answer_correct=error == ALL_RIGHT,
                label=error,
            )
        )
    return found


def _rated(rows: Sequence[StepRow]) -> list[prm800k.RatedSolution]:
    """One rated alternative a step; the trajectory ends at the first wrong one, as the released data does."""
    found: list[prm800k.RatedSolution] = []
    for row in rows:
        steps: list[prm800k.RatedStep] = []
        for text, label in zip(row.steps, row.labels, strict=True):
            rating = None if label is None else 1 if label else -1
            steps.append(prm800k.RatedStep(((text, rating, None),), chosen=None if rating == -1 else 0))
            if rating == -1:
                break
        wrong = bool(steps) and steps[-1].chosen is None
        found.append(
            prm800k.RatedSolution(
                problem=row.prompt,
                steps=tuple(steps),
                finish="found_error" if wrong else "solution",
                rest={},
            )
        )
    return found


def _place(number: int, row: StepRow) -> str:
    name = row.id if len(row.id) <= 60 else f"{row.id[:60]}..."
    return f"solution {number} ({name!r})"
