"""The stepwise format of public data sets: `prompt`, `completions`, `labels`.

Contract: `read_stepwise` reads JSON lines or an array; labels are true or false, numbers in [0, 1] or null,
one a completion. A record's `id` is kept, else the prompt is the id, so that solutions of one question stay
together. Other keys are data the format does not define and are left alone. `write_stepwise` writes the
three keys alone; labels that are all 0, 1 or null are written as true, false and null, others as numbers.
Reading what was written gives the same rows, but for ids, counts and token ids, which the format does not
have.

Source: the "stepwise supervision" data sets of TRL's removed PRM trainer. Steps there are without their
separator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from prm.evaluation.steps import read_labelled
from prm.training.rows import StepRow
from treesearch.atomic import write_text


def read_stepwise(path: Path) -> list[StepRow]:
    """The rows of a file; `DataError` with file and line for a broken record."""
    return [
        StepRow(id=each.id, prompt=each.question, steps=each.steps, labels=each.labels)
        for each in read_labelled(path)
    ]


def write_stepwise(path: Path, rows: Iterable[StepRow]) -> None:
    """Replace `path` by rows of the format."""
    lines: list[str] = []
    for row in rows:
        plain = all(label in (None, 0.0, 1.0) for label in row.labels)
        labels = [label if label is None or not plain else bool(label) for label in row.labels]
        content = {"prompt": row.prompt, "completions": list(row.steps), "labels": labels}
        lines.append(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(path, "".join(lines))
