"""PRM800K: human ratings of alternative steps, read whole and turned into records or rows.

Contract: `read_prm800k` reads the released JSON lines into `RatedSolution`s, `write_prm800k` writes them
back; what the file says beyond them (labeler, timestamp and the like) is kept as it is in `rest`. A rating
is -1 wrong, 0 neutral, 1 right, or None where it was not given. `neutral` says what 0 counts as: "right"
(the original's reading), "wrong", or "none" (left out).

`to_records` makes a record of every rated alternative, as one outcome; `to_rows` the row of the trajectory:
the chosen alternatives, or the human's step, rated right; where nothing was chosen at a step (the solution
went wrong there) its first wrong alternative ends the row. So where `finish_reason` is found_error the row's
last label is 0.

Its MATH split moves 4,500 test problems into training: only the 500 of MATH-500 are held out. Source:
Lightman et al. 2023, arXiv 2305.20050; format by the README of openai/prm800k.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prm.evaluation.rows import Row, read_rows
from prm.labels.record import StepRecord
from prm.training.rows import StepRow
from tasks.errors import DataError
from treesearch.atomic import write_text

Neutral = Literal["right", "wrong", "none"]
SOURCE = "human:prm800k"
_RATINGS = (-1, 0, 1, None)


@dataclass(frozen=True, slots=True)
class RatedStep:
    """Alternatives for one step as (text, rating, flagged); `chosen` is the index of the one gone on with.

    `human` is a step that a person wrote instead; then `chosen` is None.
    """

    alternatives: tuple[tuple[str, int | None, bool | None], ...]
    chosen: int | None
    human: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RatedSolution:
    """One line of the data. `finish` is solution, found_error, bad_problem or give_up."""

    problem: str
    steps: tuple[RatedStep, ...]
    finish: str
    rest: Mapping[str, Any]


def read_prm800k(path: Path) -> list[RatedSolution]:
    """The solutions of a file; `DataError` with file and line for a broken record."""
    found = [_solution(row) for row in read_rows(path)]
    if not found:
        raise DataError(f"{path}: no record in the file")
    return found


def _solution(row: Row) -> RatedSolution:
    question, label = row.part(row.get("question"), "question"), row.part(row.get("label"), "label")
    return RatedSolution(
        problem=question.text("problem"),
        steps=tuple(_step(row.part(each, "steps")) for each in label.items("steps", empty=True)),
        finish=label.text("finish_reason"),
        rest=row.content,
    )


def _step(row: Row) -> RatedStep:
    found: list[tuple[str, int | None, bool | None]] = []
    for each in row.content.get("completions") or []:
        part = row.part(each, "completions")
        rating: Any = part.get("rating")
        if isinstance(rating, bool) or rating not in _RATINGS:
            row.fail(f"'rating' must be -1, 0, 1 or null, got {rating!r}")
        found.append((part.text("text", empty=True), rating, part.content.get("flagged")))
    chosen = row.get("chosen_completion")
    if chosen is not None and not (type(chosen) is int and 0 <= chosen < len(found)):
        row.fail(f"'chosen_completion' must be an index of {len(found)} completions or null, got {chosen!r}")
    human = row.content.get("human_completion")
    return RatedStep(
        tuple(found), chosen, None if human is None else row.part(human, "human_completion").content
    )


def write_prm800k(path: Path, solutions: Iterable[RatedSolution]) -> None:
    """Replace `path` by the released format."""
    write_text(path, "".join(json.dumps(_content(each), ensure_ascii=False) + "\n" for each in solutions))


def _content(each: RatedSolution) -> dict[str, Any]:
    steps = [
        {
            "completions": [
                {"text": text, "rating": rating, "flagged": flagged}
                for text, rating, flagged in step.alternatives
            ],
            "human_completion": step.human,
            "chosen_completion": step.chosen,
        }
        for step in each.steps
    ]
    question = dict(each.rest.get("question") or {}) | {"problem": each.problem}
    label = dict(each.rest.get("label") or {}) | {"steps": steps, "finish_reason": each.finish}
    return dict(each.rest) | {"question": question, "label": label}


def to_records(solutions: Sequence[RatedSolution], *, neutral: Neutral = "right") -> list[StepRecord]:
    """A record of every rated alternative and human step, with the trajectory before it as prefix."""
    records: list[StepRecord] = []
    for each in solutions:
        prefix: tuple[str, ...] = ()
        for step in each.steps:
            rated = [(text, _label(rating, neutral)) for text, rating, _ in step.alternatives]
            if step.human is not None:
                rated.append((str(step.human.get("text", "")), 1.0))
            records += [_record(each, prefix, text, label) for text, label in rated if label is not None]
            text = _went_on(step)
            if text is None:
                break
            prefix = (*prefix, text)
    return records


def to_rows(solutions: Sequence[RatedSolution], *, neutral: Neutral = "right") -> list[StepRow]:
    """The trajectories with their labels; solutions without a rated step are left out."""
    rows: list[StepRow] = []
    for each in solutions:
        steps, labels = list[str](), list[float | None]()
        for step in each.steps:
            text = _went_on(step)
            if text is None:
                wrong = next((t for t, rating, _ in step.alternatives if rating == -1), None)
                if wrong is not None:
                    steps.append(wrong)
                    labels.append(0.0)
                break
            steps.append(text)
            rating = 1 if step.chosen is None else step.alternatives[step.chosen][1]
            labels.append(_label(rating, neutral))
        if any(label is not None for label in labels):
            rows.append(
                StepRow(id=each.problem, prompt=each.problem, steps=tuple(steps), labels=tuple(labels))
            )
    return rows


def _went_on(step: RatedStep) -> str | None:
    """The text that the trajectory goes on with; None where nothing was chosen."""
    if step.chosen is not None:
        return step.alternatives[step.chosen][0]
    return None if step.human is None else str(step.human.get("text", ""))


def _label(rating: int | None, neutral: Neutral) -> float | None:
    if rating is None or (rating == 0 and neutral == "none"):
        return None
    return float(rating == 1 or (rating == 0 and neutral == "right"))


def _record(each: RatedSolution, prefix: tuple[str, ...], text: str, label: float) -> StepRecord:
    return StepRecord(
        problem=each.problem,
        question=each.problem,
        prefix=prefix,
        step=text,
        completions=1,
        right=int(label),
        model="",
        grader="prm800k",
        source=SOURCE,
    )
