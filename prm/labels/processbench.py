"""ProcessBench records as labels, and labels as ProcessBench records.

Contract: a solution whose first wrong step is known has label 1 before it, 0 at it and None after it
(`prm.labels.judge.judge_labels`). `to_rows` gives rows; `write_processbench` writes the benchmark's own
format, which `prm.evaluation.processbench.read_processbench` reads back equal. It is an evaluation set:
whoever trains on it can no longer be evaluated on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from prm.evaluation.processbench import CheckedSolution
from prm.labels.judge import judge_labels
from prm.training.rows import StepRow
from treesearch.atomic import write_text


def to_rows(solutions: Sequence[CheckedSolution]) -> list[StepRow]:
    """One row a solution, with the problem's text as id, so that its solutions stay together."""
    return [
        StepRow(
            id=each.problem,
            prompt=each.problem,
            steps=each.steps,
            labels=tuple(judge_labels(len(each.steps), each.label)),
        )
        for each in solutions
    ]


def write_processbench(path: Path, solutions: Iterable[CheckedSolution]) -> None:
    """Replace `path` by JSON lines of the benchmark's records."""
    lines: list[str] = []
    for each in solutions:
        content = {
            "id": each.id,
            "generator": each.generator,
            "problem": each.problem,
            "steps": list(each.steps),
            "final_answer_correct": each.final_answer_correct,
            "label": each.label,
        }
        lines.append(json.dumps(content, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))
