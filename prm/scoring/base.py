"""The scoring seam: a question and its steps in, one score a step out.

Contract: `StepScorer.score` gives exactly one score for each step, in order, in the range of its convention
(usually [0, 1], the probability that the step is right or that the solution can still be finished well), and
says how many tokens the model read for it. It is a function of its arguments. Requests that are made at the
same time share batches; cancelling the awaiting task frees the request's place.

It does not aggregate steps into one number for a solution: that is `prm.aggregates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tasks.errors import UsageError
from treesearch.engines.base import EngineError

if TYPE_CHECKING:
    from prm.conventions.base import Convention


@dataclass(frozen=True, slots=True)
class StepScores:
    """One score a step, and the tokens that the model read or wrote for them.

    `members[i]` are the scores of step i by each member of an ensemble, before calibration; empty where the
    model has one head. `written[i]` are the tokens that a model which writes wrote about step i, with the
    verdict words that were read, and `prompted[i]` those of its prompts: the same for the same request, also
    where the judgement was remembered and `tokens` holds nothing for it. Both are empty for other models.
    """

    scores: tuple[float, ...]
    tokens: int
    members: tuple[tuple[float, ...], ...] = ()
    written: tuple[int, ...] = ()
    prompted: tuple[int, ...] = ()


class TooLongError(EngineError):
    """Question and steps do not fit the model's context."""


class NoRoomError(TooLongError):
    """A step does not fit the context of a model that writes; `spent` has the tokens, and no scores."""

    def __init__(self, message: str, spent: StepScores) -> None:
        super().__init__(message)
        self.spent = spent


@runtime_checkable
class StepScorer(Protocol):
    """A model that scores steps."""

    name: str

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution; `UsageError` for no steps, `EngineError` where the model fails.

        Of the latter, `TooLongError` says that the solution does not fit the context.
        """
        ...

    async def close(self) -> None:
        """Free the model."""
        ...


def usual_threshold(scorer: StepScorer) -> tuple[float, str]:
    """From which score a step counts as right where nobody says otherwise, and who says so.

    The threshold of the scorer's convention, else 0.5 where scores are probabilities, as they are taken to be
    of a scorer without a convention. `UsageError` for others: no number would mean anything.
    """
    convention = convention_of(scorer)
    if convention is not None and convention.threshold.value is not None:
        return convention.threshold.value, convention.threshold.source
    if convention is not None and not convention.probabilities:
        raise UsageError(
            f"the convention {convention.name!r} names no threshold, and its scores are not probabilities; "
            "give --threshold X"
        )
    return 0.5, "more likely right than not"


def split_solution(scorer: StepScorer, solution: str) -> list[str]:
    """A whole solution as the steps of the scorer's convention; `UsageError` for a scorer without one."""
    convention = convention_of(scorer)
    if convention is None:
        raise UsageError(
            f"the scorer {scorer.name!r} does not say how a solution is cut; give its steps one by one"
        )
    return convention.splitter.split(solution)


def convention_of(scorer: StepScorer) -> Convention | None:
    """The convention that a scorer follows; None for a scorer that has none (one of a user's own)."""
    return getattr(scorer, "convention", None) or getattr(getattr(scorer, "bound", None), "convention", None)
