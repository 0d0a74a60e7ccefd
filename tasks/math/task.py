"""`MathTask`: mathematics problems with a reference answer, as a `Task`.

Contract: see `tasks.base.Task`. With a path, `load` reads any format that `tasks.readers` knows; without,
the generated sample that ships with the package. The verifier reads the gold, so it is an oracle, for
training and evaluation only.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import ClassVar

from tasks.base import Answer, Grade, Problem, Task
from tasks.errors import UsageError
from tasks.math.canonical import canonical
from tasks.math.extract import extract
from tasks.math.grade import grade
from tasks.readers import read_problems


class MathTask(Task):
    """Mathematics with a short final answer: GSM8K, MATH-500, AIME and files like them."""

    name: ClassVar[str] = "math"
    instructions: ClassVar[str] = (
        "Solve the problem. Reason step by step and write one step per line. Give the final answer in exact "
        "form, alone, on a last line that starts with ####, or inside \\boxed{}."
    )

    def load(self, data: Path | None = None, *, limit: int | None = None, seed: int = 0) -> list[Problem]:
        """Problems of `data`, or of the shipped sample; `DataError` names file and line of broken records.

        The order is the file's: `seed` has no effect.
        """
        del seed
        if data is not None:
            return read_problems(data, task=self.name, limit=limit).require_clean()
        sample = importlib.resources.files("tasks") / "data" / "math_sample.jsonl"
        with importlib.resources.as_file(sample) as path:
            return read_problems(path, task=self.name, limit=limit).require_clean()

    def problem(self, question: str) -> Problem:
        """Wrap a question typed by a person; it has no gold, so its answers are ungradable."""
        if not question.strip():
            raise UsageError("the question is empty; write the problem as text")
        return Problem(id="question", question=question.strip(), task=self.name)

    def extract(self, solution: str) -> Answer | None:
        """See `tasks.math.extract`."""
        return extract(solution)

    def canonical(self, answer: str) -> str:
        """See `tasks.math.canonical`."""
        return canonical(answer)

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        """See `tasks.math.grade`."""
        return grade(problem.gold, answer)
