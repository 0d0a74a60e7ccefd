"""Running a label builder over many problems: all in flight at once, resumable, failures kept apart.

Contract: `build` runs `one` for every problem that is not done, at most `concurrency` at a time; there is no
barrier between problems. A problem is done when its record of the question itself (`step` None) is in the
file: builders write that last. A problem that fails is reported in `Progress.failed` and does not stop the
others; its records so far stay, and running again tries the rest. Cancelling flushes the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from prm.labels.record import Ids, StepRecord
from prm.labels.store import RecordFile
from tasks.base import Problem
from treesearch.events import Step
from treesearch.policy import Policy
from treesearch.together import together


@dataclass(kw_only=True)
class Progress:
    """How far labelling is. `tokens` and `completions` are this part's; `failed` maps problems to reasons."""

    total: int
    done: int = 0
    records: int = 0
    completions: int = 0
    tokens: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])

    def spend(self, tokens: int) -> None:
        """Count tokens that were generated."""
        self.tokens += tokens


OnChange = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The display of labelling that nobody watches."""


@dataclass(kw_only=True)
class Output:
    """Where one builder writes: turns paths and counts into records of its model and source."""

    file: RecordFile
    policy: Policy
    model: str
    source: str
    progress: Progress
    on_change: OnChange = ignore

    def has(self, problem: Problem, path: Sequence[Step]) -> bool:
        """Whether the file has the record of a path; an empty path is the question itself."""
        steps = tuple(step.text for step in path)
        return (problem.id, steps, self.model, self.source) in self.file.keys

    def write(
        self,
        problem: Problem,
        path: Sequence[Step],
        *,
        completions: int,
        right: int,
        grader: str,
        finished: bool = False,
        shortest: int | None = None,
    ) -> None:
        """Append the record of `path`; an empty path is the question itself."""
        ids: tuple[Ids, ...] = tuple(step.token_ids for step in path)
        self.file.append(
            StepRecord(
                problem=problem.id,
                question=problem.question,
                prefix=tuple(step.text for step in path[:-1]),
                step=path[-1].text if path else None,
                completions=completions,
                right=right,
                model=self.model,
                grader=grader,
                source=self.source,
                finished=finished,
                shortest=shortest,
                prompt_ids=tuple(self.policy.prompt_ids(problem)),
                step_ids=ids,
            )
        )
        self.progress.records += 1
        self.progress.completions += 0 if finished else completions
        self.on_change(self.progress)


async def build(
    problems: Sequence[Problem],
    one: Callable[[Problem], Awaitable[None]],
    output: Output,
    *,
    concurrency: int,
) -> Progress:
    """Label `problems`; returns the progress at the end. See the module docstring."""
    places = asyncio.Semaphore(concurrency)
    progress = output.progress

    async def attempt(problem: Problem) -> None:
        async with places:
            if not output.has(problem, ()):
                try:
                    await one(problem)
                except Exception as error:  # noqa: BLE001 - one problem's failure is its result
                    progress.failed[problem.id] = f"{type(error).__name__}: {error}"
        progress.done += 1
        output.on_change(progress)

    try:
        await together([attempt(problem) for problem in problems])
    finally:
        output.file.flush()
    return progress
