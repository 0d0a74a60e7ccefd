"""Scoring the solutions of a benchmark with a `StepScorer`, many at once.

Contract: `score_all` returns one `StepScores` a solution, in order, with exactly one finite score a step. At
most `concurrency` requests are in flight; they share batches as far as the scorer can. The first failure, in
the order of the solutions, is raised: a benchmark figure over the part that happened to work is no figure.
`score_until_failure` gives that part and the failure. What comes behind a solution that fails is cancelled.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from prm.scoring.base import StepScorer, StepScores
from tasks.errors import UsageError
from treesearch.engines.base import EngineError

Solution = tuple[str, Sequence[str]]
"""A question and the steps of one solution."""
CONCURRENCY = 64


async def score_all(
    scorer: StepScorer,
    solutions: Sequence[Solution],
    *,
    concurrency: int = CONCURRENCY,
    on_done: Callable[[int], None] = lambda _: None,
) -> list[StepScores]:
    """Scores of all `solutions`; `on_done` gets the number of those finished so far.

    Raises `UsageError` for a concurrency below 1, `EngineError` where the scorer fails or breaks its
    contract.
    """
    found, failure = await score_until_failure(scorer, solutions, concurrency=concurrency, on_done=on_done)
    if failure is not None:
        raise failure
    return found


async def score_until_failure(
    scorer: StepScorer,
    solutions: Sequence[Solution],
    *,
    concurrency: int = CONCURRENCY,
    on_done: Callable[[int], None] = lambda _: None,
) -> tuple[list[StepScores], Exception | None]:
    """Scores of the solutions before the first that fails, and its failure; or of all, and None."""
    if concurrency < 1:
        raise UsageError(f"concurrency must be at least 1, got {concurrency}")
    places = asyncio.Semaphore(concurrency)
    found, failures, tasks = dict[int, StepScores](), dict[int, Exception](), list[asyncio.Task[None]]()

    async def one(index: int) -> None:
        question, steps = solutions[index]
        try:
            async with places:
                found[index] = checked(await scorer.score(question, steps), steps, scorer.name)
        except Exception as error:  # noqa: BLE001 - the caller is told, once those before are done
            failures[index] = error
            for later in tasks[index + 1 :]:
                later.cancel()
            return
        on_done(len(found))

    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(one(index)) for index in range(len(solutions))]
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from raised
    end = min(failures, default=len(solutions))
    return [found[index] for index in range(end)], failures.get(end)


def checked(scores: StepScores, steps: Sequence[str], name: str) -> StepScores:
    """`scores`, if there is one finite score for each of `steps`; `EngineError` otherwise."""
    if len(scores.scores) != len(steps):
        raise EngineError(f"the scorer {name!r} gave {len(scores.scores)} scores for {len(steps)} steps")
    for score in scores.scores:
        if not math.isfinite(score):
            raise EngineError(f"the scorer {name!r} gave the score {score!r}; scores must be finite")
    return scores
