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
from typing import Protocol, runtime_checkable

from treesearch.engines.base import EngineError


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


class NoRoomError(EngineError):
    """A step does not fit the context of a model that writes; `spent` has the tokens, and no scores."""

    def __init__(self, message: str, spent: StepScores) -> None:
        super().__init__(message)
        self.spent = spent


@runtime_checkable
class StepScorer(Protocol):
    """A model that scores steps."""

    name: str

    async def score(self, question: str, steps: Sequence[str]) -> StepScores:
        """Score each step of a solution; `UsageError` for no steps, `EngineError` where the model fails."""
        ...

    async def close(self) -> None:
        """Free the model."""
        ...
