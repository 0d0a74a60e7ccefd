"""Scoring the solutions of a benchmark with a `StepScorer`, many at once.

Contract: `score_all` returns one `StepScores` a solution, in order, with exactly one finite score a step. At
most `concurrency` requests are in flight; they share batches as far as the scorer can. The first failure, in
the order of the solutions, is raised with the solution's name: a benchmark figure over the part that happened
to work is no figure. `score_until_failure` gives that part and the failure. What comes behind a solution that
fails is cancelled.

`score_fitting` does the same, but leaves solutions out that the model's context does not hold, where the
caller chose that (`TooLong`); how many those are is the report's to say.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from prm.scoring.base import StepScorer, StepScores, TooLongError
from tasks.errors import DataError, SearchError, UsageError
from treesearch.engines.base import EngineError

Solution = tuple[str, Sequence[str]]
"""A question and the steps of one solution."""
CONCURRENCY = 64
TooLong = Literal["refuse", "drop"]
"""What becomes of a solution that does not fit the model's context: an error, or it is left out."""


def _ignore(_: int) -> None:
    """The display of a scoring that nobody watches."""


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How solutions are scored: requests at once, who watches, and what becomes of those too long.

    `on_done` gets the number of solutions finished so far. Raises `UsageError` for a concurrency below 1.
    """

    concurrency: int = CONCURRENCY
    on_done: Callable[[int], None] = _ignore
    too_long: TooLong = "refuse"

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise UsageError(f"concurrency must be at least 1, got {self.concurrency}")


AS_USUAL = Scoring()


async def score_all(
    scorer: StepScorer,
    solutions: Sequence[Solution],
    *,
    names: Sequence[str] = (),
    concurrency: int = CONCURRENCY,
    on_done: Callable[[int], None] = _ignore,
) -> list[StepScores]:
    """Scores of all `solutions`; `names`, one each, are what errors call them.

    Raises `UsageError` for a concurrency below 1, `DataError` for a solution longer than the model's context,
    `EngineError` where the scorer fails or breaks its contract.
    """
    found, failure = await score_until_failure(scorer, solutions, concurrency=concurrency, on_done=on_done)
    if failure is not None:
        raise named(failure, _place(names, len(found))) from failure
    return found


async def score_fitting(
    scorer: StepScorer, solutions: Sequence[Solution], names: Sequence[str], how: Scoring
) -> list[StepScores | None]:
    """Scores of all `solutions`, None for one that is too long where `how` drops those; errors as above."""
    found, failure = await _score(scorer, solutions, how)
    if failure is None:
        return found
    if isinstance(failure, TooLongError):
        error = named(failure, _place(names, len(found)))
        raise DataError(f"{error}. Or leave such solutions out, and have them counted: --too-long drop")
    raise named(failure, _place(names, len(found))) from failure


async def score_until_failure(
    scorer: StepScorer,
    solutions: Sequence[Solution],
    *,
    concurrency: int = CONCURRENCY,
    on_done: Callable[[int], None] = _ignore,
) -> tuple[list[StepScores], Exception | None]:
    """Scores of the solutions before the first that fails, and its failure; or of all, and None."""
    found, failure = await _score(scorer, solutions, Scoring(concurrency=concurrency, on_done=on_done))
    return [scores for scores in found if scores is not None], failure


async def _score(
    scorer: StepScorer, solutions: Sequence[Solution], how: Scoring
) -> tuple[list[StepScores | None], Exception | None]:
    places = asyncio.Semaphore(how.concurrency)
    found, failures = dict[int, StepScores | None](), dict[int, Exception]()
    tasks = list[asyncio.Task[None]]()

    async def one(index: int) -> None:
        question, steps = solutions[index]
        try:
            async with places:
                found[index] = checked(await scorer.score(question, steps), steps, scorer.name)
        except Exception as error:  # noqa: BLE001 - the caller is told, once those before are done
            if how.too_long == "drop" and isinstance(error, TooLongError):
                found[index] = None
            else:
                failures[index] = error
                for later in tasks[index + 1 :]:
                    later.cancel()
                return
        how.on_done(len(found))

    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(one(index)) for index in range(len(solutions))]
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from raised
    end = min(failures, default=len(solutions))
    return [found[index] for index in range(end)], failures.get(end)


def named(failure: Exception, place: str) -> Exception:
    """The failure of a solution with its place in front; one that is too long is a fault of the data."""
    if not place:
        return failure
    if isinstance(failure, TooLongError):
        return DataError(f"{place}: {failure}")
    if isinstance(failure, SearchError):
        return type(failure)(f"{place}: {failure}")
    failure.add_note(place)
    return failure


def _place(names: Sequence[str], index: int) -> str:
    return f"the solution {names[index]!r}" if names else ""


def checked(scores: StepScores, steps: Sequence[str], name: str) -> StepScores:
    """`scores`, if there is one finite score for each of `steps`; `EngineError` otherwise."""
    if len(scores.scores) != len(steps):
        raise EngineError(f"the scorer {name!r} gave {len(scores.scores)} scores for {len(steps)} steps")
    for score in scores.scores:
        if not math.isfinite(score):
            raise EngineError(f"the scorer {name!r} gave the score {score!r}; scores must be finite")
    return scores
