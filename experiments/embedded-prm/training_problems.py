"""Labelled training problems as the experiments with process-reward models take them: subsets, costs, truth.

Contract: pure functions of step records. `in_order` is a seeded order of problems whose beginnings are nested
subsets. `completions` counts what labelling sampled: outcomes of steps that did not finish a solution and of
the question itself; a finished step is one of the question's own samples and is not counted again. `truth` is
what the task's own checker knows: for countdown whether the target can still be reached, for maths whether no
step so far is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from truth import countdown_labels, wrong_in_maths

from prm.labels import StepRecord
from prm.training import StepRow
from tasks.base import Problem
from tasks.countdown.task import CountdownTask
from tasks.errors import UsageError
from treesearch.seeds import derive

Records = Mapping[str, Sequence[StepRecord]]
"""The records of each problem, by id."""


def in_order(problems: Iterable[str], seed: int) -> list[str]:
    """Problem ids in the order of a seeded hash."""
    return sorted(problems, key=lambda problem: (derive(seed, "problems", problem), problem))


def completions(records: Iterable[StepRecord]) -> int:
    """Solutions and completions that were sampled for `records`."""
    return sum(record.completions for record in records if not record.finished)


def tokens(rows: Iterable[StepRow]) -> int:
    """Tokens of rows that have ids."""
    return sum(len(row.prompt_ids or ()) + sum(map(len, row.step_ids or ())) for row in rows)


@lru_cache(maxsize=100_000)
def puzzle(question: str) -> Problem | None:
    """The countdown problem that a question is; None for maths."""
    try:
        return CountdownTask().problem(question)
    except UsageError:
        return None


@lru_cache(maxsize=100_000)
def truth(problem: str, question: str, steps: tuple[str, ...]) -> tuple[bool, ...]:
    """For each step whether it is right: see the module. Maths problems are told by their id."""
    asked = puzzle(question)
    if asked is None:
        wrong = wrong_in_maths(problem, question, steps, "train")
        return tuple(wrong is None or index < wrong for index in range(len(steps)))
    return tuple(label > 0 for label in countdown_labels(CountdownTask(), asked, steps))
