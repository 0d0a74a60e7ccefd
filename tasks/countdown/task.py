"""The countdown task: problems, extraction of one expression, exact verification from the question alone."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import ClassVar

from tasks.arithmetic import evaluate
from tasks.base import Answer, Grade, Problem, Task, Verdict
from tasks.countdown.normal import normal_form
from tasks.countdown.puzzle import compose, first_wrong_step, question_text
from tasks.errors import DataError, UsageError
from tasks.readers import read_problems

GRADER = "countdown/2"
_MAX_SOLUTION_CHARS = 100_000
_PHRASE = re.compile(r"(?:answer(?: is)?|solution)\s*[:=]?\s*([-+*/() \d×·÷−]{3,200})", re.IGNORECASE)
_QUESTION = re.compile(
    r"\s*(?:make|reach)\s+(-?\d{1,9})\s+(?:from|with|using)((?:[\s,]+\d{1,9})+)\s*\.?\s*", re.IGNORECASE
)


class CountdownTask(Task):
    """Reach a target from given numbers, each used exactly once, with + - * / (fractions allowed)."""

    name: ClassVar[str] = "countdown"
    verifies_without_gold: ClassVar[bool] = True
    instructions: ClassVar[str] = (
        "Use every given number exactly once with + - * / to reach the target. Write one step a line in the "
        "form `11+3=14 (left: 5 8 14)`: an operation on two of the numbers that are left, its value, and the "
        "numbers that are left then. Stop when only the target is left."
    )

    def load(self, data: Path | None = None, *, limit: int | None = None, seed: int = 0) -> list[Problem]:
        """Puzzles of a file (`game24.csv` or countdown JSONL), or the shipped held-out sample.

        A record with a question in place of numbers and target is a puzzle if `problem` can read it, and a
        `DataError` if not.
        """
        del seed
        if data is None:
            with resources.as_file(resources.files("tasks") / "data" / "countdown_sample.jsonl") as path:
                return read_problems(path, task=self.name, limit=limit).require_clean()
        problems = read_problems(data, task=self.name, limit=limit).require_clean()
        return [problem if _is_puzzle(problem) else self._typed(problem, data) for problem in problems]

    def problem(self, question: str) -> Problem:
        """Read a typed puzzle such as ``Make 24 from 3 5 8 11.``."""
        match = _QUESTION.fullmatch(question)
        if match is None:
            raise UsageError(f"not a countdown puzzle: {question!r}; write it like 'Make 24 from 3 5 8 11.'")
        numbers = [int(number) for number in re.findall(r"\d+", match[2])]
        return puzzle_problem(id="question", numbers=numbers, target=int(match[1]))

    def extract(self, solution: str) -> Answer | None:
        """The expression that the step lines make, else one behind "answer:", marked as a fallback.

        Lines that go back to earlier numbers start another attempt; the last one that ends is the answer.
        """
        solution = solution[-_MAX_SOLUTION_CHARS:]
        if (made := compose(solution)) is not None:
            return Answer(text=made, source="steps")
        phrases = _PHRASE.findall(solution)
        return Answer(text=phrases[-1].strip(), source="phrase", fallback=True) if phrases else None

    def canonical(self, answer: str) -> str:
        """The expression's normal form: plays that differ in order or brackets alone vote together."""
        answer = answer[:_MAX_SOLUTION_CHARS]
        return normal_form(answer.split("=")[0]) or re.sub(r"\s+", "", answer)

    def grade(self, problem: Problem, answer: str | None) -> Grade:
        """Exact check: legal expression, every number used exactly once, the value is the target."""
        started = time.perf_counter()
        verdict, decided_by = self._verdict(problem, answer)
        return Grade(
            verdict=verdict, decided_by=decided_by, grader=GRADER, seconds=time.perf_counter() - started
        )

    async def agrade(self, problem: Problem, answer: str | None) -> Grade:
        """`grade`: it takes microseconds."""
        return self.grade(problem, answer)

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> int | None:
        """Index of the first illegal step or of a last step that misses the target; None without a puzzle."""
        if not _is_puzzle(problem):
            return None
        return first_wrong_step(problem.meta["numbers"], problem.meta["target"], steps)

    def _typed(self, problem: Problem, data: Path) -> Problem:
        """The puzzle that a question of a file writes out, under the record's own id."""
        try:
            return replace(self.problem(problem.question), id=problem.id)
        except UsageError as error:
            raise DataError(
                f"{data}: the problem {problem.id!r} is {error}, or give `numbers` and `target`; "
                "for maths name --task math"
            ) from error

    def _verdict(self, problem: Problem, answer: str | None) -> tuple[Verdict, str]:
        if not _is_puzzle(problem):
            return Verdict.UNGRADABLE_GOLD, "problem without numbers and target"
        if answer is None:
            return Verdict.INCORRECT, "no answer"
        found = evaluate(answer.split("=")[0])
        if found is None:
            return Verdict.INCORRECT, "not an expression"
        if sorted(found.numbers) != sorted(Fraction(number) for number in problem.meta["numbers"]):
            return Verdict.INCORRECT, "other numbers than given"
        if found.value != problem.meta["target"]:
            return Verdict.INCORRECT, f"value {found.value}"
        return Verdict.CORRECT, "exact value"


def _is_puzzle(problem: Problem) -> bool:
    return "numbers" in problem.meta and "target" in problem.meta


def puzzle_problem(*, id: str, numbers: Sequence[int], target: int) -> Problem:
    """A `Problem` for a puzzle; `meta` carries `numbers` and `target`."""
    return Problem(
        id=id,
        question=question_text(numbers, target),
        task="countdown",
        meta={"numbers": list(numbers), "target": target},
    )
