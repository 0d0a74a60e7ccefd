"""Scorers and files that the evaluation tests use: everything is deterministic."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prm.evaluation.processbench import CheckedSolution, Predicted
from prm.scoring.base import StepScores


class TableScorer:
    """A scorer whose scores are a function of question and steps; counts its calls."""

    name = "table"

    def __init__(self, of: Callable[[str, Sequence[str]], Sequence[float]]) -> None:
        self.of = of
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.closed = False

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        self.calls.append((question, tuple(steps)))
        return StepScores(tuple(self.of(question, steps)), tokens=sum(map(len, steps)))

    async def close(self) -> None:
        self.closed = True


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def solution(label: int, *, steps: int = 4, name: str = "a", problem: str = "p", right: bool = False) -> Any:
    return CheckedSolution(
        id=name,
        generator="g",
        problem=problem,
        steps=tuple(f"step {index}" for index in range(steps)),
        final_answer_correct=right,
        label=label,
    )


def predicted(label: int, scores: Sequence[float], *, name: str = "a", problem: str = "p") -> Predicted:
    made = solution(label, steps=len(scores), name=name, problem=problem)
    return Predicted(solution=made, scores=tuple(scores))


def bench_row(name: str, label: int, steps: int = 3, **more: Any) -> dict[str, Any]:
    row = {
        "id": name,
        "generator": "g",
        "problem": f"problem of {name}",
        "steps": [f"step {index}" for index in range(steps)],
        "final_answer_correct": label == -1,
        "label": label,
    }
    return row | more
