"""The vocabulary of problems and grading: `Problem`, `Answer`, `Verdict`, `Grade`, `Task`.

Contract: a `Task` is stateless and cheap to build. `extract`, `canonical` and `grade` never raise on
model-written text, however hostile; what cannot be read is `None` or an *ungradable* verdict. Loading is
the only part that raises (`tasks.errors.DataError`, with file and line).
"""

from __future__ import annotations

import asyncio
import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One question. `gold` is the reference answer, `None` where there is none or none is needed.

    `meta` holds what the task needs beyond the text (countdown: `numbers` and `target`) and what the data
    file said (level, subject); it is plain JSON data.
    """

    id: str
    question: str
    gold: str | None = None
    task: str = "math"
    meta: Mapping[str, Any] = field(default_factory=dict)


class Verdict(enum.StrEnum):
    """What grading found. Only `CORRECT` counts as right; the ungradable ones are counted apart."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNGRADABLE_ANSWER = "ungradable_answer"
    """The answer was too large, too slow or not readable: nothing was shown about it."""
    UNGRADABLE_GOLD = "ungradable_gold"
    """The reference itself is missing or not readable."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer found in a solution. `source` says by which rule (`boxed`, `hash`, `phrase`, `steps`);
    `fallback` marks a guess, such as the last number of the text."""

    text: str
    source: str
    fallback: bool = False


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A verdict, what decided it (`decided_by`), the grader's version and the seconds taken."""

    verdict: Verdict
    decided_by: str
    grader: str
    seconds: float
    detail: str = ""


class Task(ABC):
    """A kind of problem: loads problems, extracts, canonicalises and grades answers."""

    name: ClassVar[str]
    verifies_without_gold: ClassVar[bool] = False
    """True where an answer can be checked from the question alone, so that the verifier is legitimate
    at test time. Where False, a verifier reads the gold: it is an oracle."""
    instructions: ClassVar[str] = ""
    """What a general instruction-tuned model must be told about the form of its answer."""

    @abstractmethod
    def load(self, data: Path | None = None, *, limit: int | None = None, seed: int = 0) -> list[Problem]:
        """Problems of the file `data`, or of the task's own held-out set when `data` is None.

        Raises `DataError` naming file and line of every broken record. `limit` takes the first ones.
        """

    @abstractmethod
    def problem(self, question: str) -> Problem:
        """Wrap a question typed by a person; `UsageError` if the task cannot read it."""

    @abstractmethod
    def extract(self, solution: str) -> Answer | None:
        """The answer that a whole solution text gives, or None."""

    @abstractmethod
    def canonical(self, answer: str) -> str:
        """A key such that equal answers vote together; cheap, in process, never raises."""

    @abstractmethod
    def grade(self, problem: Problem, answer: str | None) -> Grade:
        """Compare `answer` with the problem. None (no answer found) is incorrect. Blocking; at most 2.5 s."""

    async def agrade(self, problem: Problem, answer: str | None) -> Grade:
        """`grade` for event loops: in a thread, unless the task's grading is instant."""
        return await asyncio.to_thread(self.grade, problem, answer)

    def check_steps(self, problem: Problem, steps: Sequence[str]) -> int | None:
        """Index of the first step that is provably wrong, or None if no step is. Default: knows nothing."""
        del problem, steps
        return None
