"""Labels of judges, and the consensus of two labellings.

Contract: a judge says where the first wrong step of a solution is (`ALL_RIGHT`, -1: nowhere).
`judge_records` turns k such verdicts into step records: a step has as many outcomes as verdicts reach it
(those that find no error before it), and as many right ones as do not name it; so verdicts are counts as
completions are. `judge_labels` is the plain form for one verdict: 1 before the error, 0 at it, None after it.

`consensus` keeps the solutions of one labelling whose first error is the same in another, and says how many
it kept. With independent labellings that name a wrong place with chance e1 and e2, each of the other M
places alike, the share of wrong places among those kept is a / (a + (1 - e1)(1 - e2)) with a = e1 e2 / M.

Source: consensus filtering by Zhang et al. 2025, "Lessons of Developing PRMs", arXiv 2501.07301, section 3.1
(Monte-Carlo labels with threshold 0 and a judge; about 40 % kept). Deviation: none known; the paper's text
was read in summaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prm.labels.derive import first_error
from prm.labels.record import StepRecord
from prm.training.rows import StepRow
from tasks.errors import UsageError

ALL_RIGHT = -1


def judge_labels(n_steps: int, error: int) -> list[float | None]:
    """Labels of a solution of `n_steps` whose first wrong step is `error` (-1: none)."""
    _check(n_steps, error)
    if error == ALL_RIGHT:
        return [1.0] * n_steps
    return [1.0] * error + [0.0] + [None] * (n_steps - error - 1)


def judge_records(
    problem: str,
    question: str,
    steps: Sequence[str],
    errors: Sequence[int],
    *,
    judge: str,
    grader: str = "",
) -> list[StepRecord]:
    """One record for each step that a verdict reaches; `errors` are the verdicts, at least one."""
    if not errors:
        raise UsageError(f"no verdict on a solution of {problem!r}; leave the solution out")
    for error in errors:
        _check(len(steps), error)
    records: list[StepRecord] = []
    for index, step in enumerate(steps):
        reached = [error for error in errors if error == ALL_RIGHT or error >= index]
        if reached:
            records.append(
                StepRecord(
                    problem=problem,
                    question=question,
                    prefix=tuple(steps[:index]),
                    step=step,
                    completions=len(reached),
                    right=sum(error != index for error in reached),
                    model=judge,
                    grader=grader,
                    source=f"judge:{judge}",
                )
            )
    return records


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Rows of the first labelling that the second agrees with, and how many were compared.

    `unmatched` are rows without a counterpart; they are not kept.
    """

    kept: tuple[StepRow, ...]
    compared: int
    unmatched: int

    @property
    def ratio(self) -> float | None:
        """Share of the compared rows that were kept; None without one."""
        return len(self.kept) / self.compared if self.compared else None


def consensus(first: Sequence[StepRow], second: Sequence[StepRow], *, threshold: float = 0.0) -> Consensus:
    """The intersection of two labellings of the same solutions, matched by prompt and steps.

    A label of at most `threshold` is an error. `UsageError` where `second` has a solution twice with
    different first errors.
    """
    errors: dict[tuple[str, tuple[str, ...]], int | None] = {}
    for row in second:
        key, error = (row.prompt, row.steps), first_error(row.labels, threshold=threshold)
        if errors.setdefault(key, error) != error:
            raise UsageError(f"a solution of {row.id!r} is labelled twice, with different first errors")
    matched = [row for row in first if (row.prompt, row.steps) in errors]
    kept = [
        row
        for row in matched
        if first_error(row.labels, threshold=threshold) == errors[row.prompt, row.steps]
    ]
    return Consensus(kept=tuple(kept), compared=len(matched), unmatched=len(first) - len(matched))


def _check(n_steps: int, error: int) -> None:
    if not ALL_RIGHT <= error < n_steps:
        raise UsageError(f"a first error must be from -1 to {n_steps - 1} in {n_steps} steps, got {error}")
