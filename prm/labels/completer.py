"""Completing a path several times and grading what comes out: what Monte-Carlo labels are made of.

Contract: a `Completer` gives exactly n outcomes for a path, each with its further steps, whether its answer
was right, and the tokens it took; fewer, or none, only where the path leaves no room for more tokens.
`PolicyCompleter` asks a `treesearch` policy, as one request, and grades the answers by the policy's task; a
solution without an answer is wrong. The same path, n and seed give the same outcomes, up to the arithmetic
of the back end.

Grading reads the gold where the task needs one: this is building data, not solving. A problem whose gold is
missing or not readable is `DataError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tasks.base import Problem, Task, Verdict
from tasks.errors import DataError
from treesearch.events import Step
from treesearch.policy import Policy

Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A completion: the steps that follow the path, whether its answer is right, and its tokens."""

    steps: Steps
    right: bool
    tokens: int


class Completer(Protocol):
    """Completes paths of one problem."""

    async def __call__(self, path: Steps, n: int, *, seed: int) -> list[Outcome]:
        """`n` outcomes of `path`; see the module docstring."""
        ...


@dataclass(kw_only=True)
class Judge:
    """Grades answers of one problem, each distinct one once. `grader` is the version, once it graded."""

    task: Task
    problem: Problem
    grader: str = ""
    _known: dict[str | None, bool] = field(default_factory=dict[str | None, bool], init=False)

    async def right(self, answer: str | None) -> bool:
        """Whether the answer is right; None is wrong."""
        if answer not in self._known:
            grade = await self.task.agrade(self.problem, answer)
            if grade.verdict is Verdict.UNGRADABLE_GOLD:
                raise DataError(f"problem {self.problem.id!r} has no answer to grade against")
            self.grader = grade.grader
            self._known[answer] = grade.verdict is Verdict.CORRECT
        return self._known[answer]


@dataclass(kw_only=True)
class PolicyCompleter:
    """Completes paths of `problem` with `policy` at `temperature` (None: the policy's own)."""

    policy: Policy
    problem: Problem
    temperature: float | None = None
    judge: Judge = field(init=False)
    on_tokens: Callable[[int], None] = lambda _: None
    """Gets the number of tokens generated, request by request."""

    def __post_init__(self) -> None:
        self.judge = Judge(task=self.policy.task, problem=self.problem)

    async def __call__(self, path: Steps, n: int, *, seed: int) -> list[Outcome]:
        """See `Completer`."""
        room = self.policy.room(path, whole=True)
        if room < 1:
            return []
        reply = await self.policy.complete(
            self.problem, path, n, max_tokens=room, seed=seed, temperature=self.temperature
        )
        self.on_tokens(reply.generated_tokens)
        return [
            Outcome(chain, await self.judge.right(chain[-1].answer), token_count(chain))
            for chain in reply.chains
        ]


def token_count(steps: Sequence[Step]) -> int:
    """Tokens of all steps."""
    return sum(len(step.token_ids) for step in steps)


def texts(steps: Sequence[Step]) -> tuple[str, ...]:
    """The texts of steps: a path as records have it."""
    return tuple(step.text for step in steps)
