"""Math-Shepherd's text format: numbered steps, each closed by a tag in `input` and by its label in `label`.

Contract: a record has `input`, ``QUESTION Step 1: ... ки\\nStep 2: ... ки``, `label`, the same text with
``+`` or ``-`` in place of every tag, and `task`. Reading gives a row with the steps as written, "Step n:"
included and the tag taken off, labels 1 for ``+`` and 0 for ``-``; text after the last tag belongs to no
step and must be blank. The question ends before the first "Step 1:". `task` goes in front of the id, which
is the question.

Writing needs hard labels: 1, 0; a step without a label, or with another one, is `UsageError`, because the
format cannot hold it. Steps that do not begin with "Step n:" are numbered. What was read is written byte for
byte.

Source: Wang et al. 2023, arXiv 2312.08935; data set peiyi9979/Math-Shepherd (fields by its users' code).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from prm.evaluation.rows import Row, read_rows
from prm.training.rows import StepRow
from tasks.errors import DataError, UsageError
from treesearch.atomic import write_text

TAG = "ки"
_MARKS = {"+": 1.0, "-": 0.0}
_FIRST = re.compile(r"Step 1:")
_NUMBERED = re.compile(r"Step \d+:")


def read_math_shepherd(path: Path) -> list[StepRow]:
    """The rows of a file; `DataError` with file and line for a broken record."""
    rows = [_row(row) for row in read_rows(path)]
    if not rows:
        raise DataError(f"{path}: no record in the file")
    return rows


def _row(row: Row) -> StepRow:
    text, labelled = row.text("input"), row.text("label")
    start = _FIRST.search(text)
    if start is None:
        row.fail("'input' has no 'Step 1:'")
    question, *parts = text[: start.start()], *text[start.start() :].split(TAG)
    if len(parts) < 2 or parts[-1].strip():
        row.fail(f"'input' must end every step with {TAG!r}, the last too")
    labels: list[float | None] = []
    place = len(question)
    if labelled[:place] != question:
        row.fail("'label' does not begin with the question of 'input'")
    for part in parts[:-1]:
        place += len(part)
        mark = labelled[place : place + 1]
        if labelled[place - len(part) : place] != part or mark not in _MARKS:
            near = labelled[max(0, place - 20) : place + 5]
            row.fail(f"'label' is not 'input' with + or - for its tags, at {near!r}")
        labels.append(_MARKS[mark])
        place += 1
    if labelled[place:].strip():
        row.fail(f"'label' goes on after its last step: {labelled[place : place + 20]!r}")
    return StepRow(
        id=question.strip(),
        prompt=question.removesuffix(" "),
        steps=tuple(_clean(part, index) for index, part in enumerate(parts[:-1])),
        labels=tuple(labels),
    )


def _clean(part: str, index: int) -> str:
    """A step without the line break that separates it from the one before and the space before its tag."""
    return (part.removeprefix("\n") if index else part).removesuffix(" ")


def write_math_shepherd(path: Path, rows: Iterable[StepRow], *, task: str) -> None:
    """Replace `path` by rows with hard labels; see the module docstring for errors."""
    lines: list[str] = []
    for row in rows:
        texts: dict[str, list[str]] = {TAG: [], "": []}
        for number, (step, label) in enumerate(zip(row.steps, row.labels, strict=True), 1):
            if label not in (0.0, 1.0):
                raise UsageError(
                    f"the Math-Shepherd format has the labels 0 and 1, got {label} in {row.id!r}"
                )
            if TAG in step:
                raise UsageError(f"a step of {row.id!r} holds the tag {TAG!r}, which the format cannot hold")
            shown = step if _NUMBERED.match(step) else f"Step {number}: {step.strip()}"
            texts[TAG].append(f"{shown} {TAG}")
            texts[""].append(f"{shown} {'+' if label else '-'}")
        content = {
            "input": f"{row.prompt} " + "\n".join(texts[TAG]),
            "label": f"{row.prompt} " + "\n".join(texts[""]),
            "task": task,
        }
        lines.append(json.dumps(content, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))
